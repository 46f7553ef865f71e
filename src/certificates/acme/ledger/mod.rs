//! What was ordered for a name, how it ended, and when the next attempt may be.
//!
//! It is written before the CA hears of an order and again when the order has ended, so that
//! neither a crash nor a restart loop makes the same mistake faster than the CA allows.

mod attempt;
mod merge;
mod neighbours;
#[cfg(test)]
mod tests;

use std::time::Duration as StdDuration;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub use self::attempt::{Attempt, Moment, Outcome, ProvenBy};
pub(super) use self::neighbours::neighbours;
use super::ari::Suggestion;
use super::schedule::{self, History, Lifetime};

/// The shape this version writes.
const VERSION: u32 = 1;
/// Older certificates say nothing about any limit: twice the longest period, because what is drawn from
/// steadily fills up slowly.
const REMEMBERED: Duration = Duration::days(15);
/// The same of what got no certificate that counts.
const ORDERS_REMEMBERED: Duration = Duration::hours(6);
/// An order that began longer ago, and of which nothing more is known, gives no certificate any more.
const UNDECIDED: Duration = Duration::hours(1);
/// Newer entries than these are kept in any case, for people to look at.
const KEPT: usize = 10;

/// The ledger of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    version: u32,
    /// Oldest first.
    attempts: Vec<Attempt>,
    /// Failures since the last certificate.
    failures: usize,
    /// Not before this.
    #[serde(with = "time::serde::rfc3339::option")]
    next_attempt: Option<OffsetDateTime>,
    /// Why the last attempt failed; `None` after one that went well.
    last_error: Option<String>,
    /// What the CA suggests for the certificate at hand.
    pub suggestion: Option<Suggestion>,
    /// The kind of challenge that went well the last time: it comes first the next time.
    pub proven_by: Option<ProvenBy>,
    /// Serial number of the certificate whose nearing end `acme.webhook` has been told of.
    #[serde(default)]
    pub told_of: Option<String>,
}

/// Why a ledger cannot be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Cut off, or not ours.
    #[error("is damaged ({0})")]
    Damaged(String),
    /// After a step back to an older version.
    #[error("was written by a newer version of unibody")]
    Newer,
}

impl Ledger {
    /// One in which nothing was.
    #[must_use]
    pub fn new() -> Self {
        Self {
            version: VERSION,
            attempts: Vec::new(),
            failures: 0,
            next_attempt: None,
            last_error: None,
            suggestion: None,
            proven_by: None,
            told_of: None,
        }
    }

    /// Reads what [`to_json`](Self::to_json) wrote.
    ///
    /// # Errors
    /// See [`Unreadable`].
    pub fn parse(json: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let damaged = |error: serde_json::Error| Unreadable::Damaged(error.to_string());
        let Version { version } = serde_json::from_slice(json).map_err(damaged)?;
        if version > VERSION {
            return Err(Unreadable::Newer);
        }
        serde_json::from_slice(json).map_err(damaged)
    }

    /// As people may read it, too.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Nothing in it can fail to be JSON: strings, numbers, and times of four-digit years.
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }

    /// Notes that an order for a first certificate begins.
    pub fn begin(&mut self, now: OffsetDateTime) {
        self.begin_any(now, false);
    }

    /// Notes that an order begins that takes the place of a certificate.
    pub fn begin_renewal(&mut self, now: OffsetDateTime) {
        self.begin_any(now, true);
    }

    fn begin_any(&mut self, now: OffsetDateTime, renewal: bool) {
        self.attempts.push(Attempt {
            at: now,
            renewal,
            outcome: Outcome::Begun,
            failed_validations: Vec::new(),
        });
        self.prune(now);
        // Until the order has ended nobody knows better: a crash counts as a failure. The first
        // crash costs no time, since most crashes are somebody's restart.
        self.failures += 1;
        self.next_attempt =
            (self.failures > 1).then(|| schedule::retry_at(now, self.failures, None, None, 0.5));
    }

    /// Notes that the CA found the name unproven.
    pub fn validation_failed(&mut self, now: OffsetDateTime) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.failed_validations.push(Moment(now));
        }
    }

    /// Notes a certificate, which ends the order that began last.
    pub fn issued(&mut self, serial: &str, lifetime: Lifetime) {
        self.end(Outcome::Issued {
            serial: serial.to_owned(),
            counts: lifetime.counts(),
        });
        self.failures = 0;
        self.next_attempt = None;
        self.last_error = None;
        self.suggestion = None;
    }

    /// Notes a failure, which ends the order that began last, and when to try again.
    pub fn failed(
        &mut self,
        error: &str,
        now: OffsetDateTime,
        certificate: Option<Lifetime>,
        retry_after: Option<StdDuration>,
        random: f64,
    ) -> OffsetDateTime {
        self.end(Outcome::Failed {
            error: error.to_owned(),
        });
        let next = schedule::retry_at(now, self.failures, certificate, retry_after, random);
        self.next_attempt = Some(next);
        self.last_error = Some(error.to_owned());
        next
    }

    /// What of it delays an order at `now`.
    ///
    /// A pause that begins after `now` was noted by a clock that was ahead and has been put right: whoever
    /// heeded it would wait until that time comes again.
    #[must_use]
    pub fn history(&self, now: OffsetDateTime) -> History {
        let since = self.attempts.last().map(|attempt| attempt.at);
        let counted =
            |attempt: &&Attempt| matches!(attempt.outcome, Outcome::Issued { counts: true, .. });
        let failed = self
            .attempts
            .iter()
            .flat_map(|attempt| &attempt.failed_validations);
        History {
            next_attempt: self.next_attempt.filter(|_| since <= Some(now)),
            issued: self
                .attempts
                .iter()
                .filter(counted)
                .map(|attempt| attempt.at)
                .collect(),
            failed_validations: failed.map(|moment| moment.0).collect(),
        }
    }

    /// When first certificates were issued that count towards a CA's limits; at `now`, running orders
    /// are about to.
    pub fn first_certificates(&self, now: OffsetDateTime) -> impl Iterator<Item = OffsetDateTime> {
        let counts = move |attempt: &&Attempt| match attempt.outcome {
            Outcome::Issued { counts, .. } => counts,
            Outcome::Begun => attempt.at > now - UNDECIDED,
            Outcome::Failed { .. } => false,
        };
        self.first_attempts()
            .filter(counts)
            .map(|attempt| attempt.at)
    }

    /// When a first certificate was ordered: anew for each proof that had failed.
    pub fn first_orders(&self) -> impl Iterator<Item = OffsetDateTime> {
        self.first_attempts().flat_map(|attempt| {
            let again = attempt.failed_validations.iter().map(|moment| moment.0);
            std::iter::once(attempt.at).chain(again)
        })
    }

    fn first_attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|attempt| !attempt.renewal)
    }

    /// Why the last attempt failed; `None` after one that went well.
    #[must_use]
    pub fn last_error(&self) -> Option<&str> {
        self.last_error.as_deref()
    }

    /// Every order remembered, oldest first.
    #[must_use]
    pub fn attempts(&self) -> &[Attempt] {
        &self.attempts
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.outcome = outcome;
        }
    }

    fn prune(&mut self, now: OffsetDateTime) {
        let surplus = self.attempts.len().saturating_sub(KEPT);
        let mut index = 0;
        self.attempts.retain(|attempt| {
            index += 1;
            let counted = matches!(attempt.outcome, Outcome::Issued { counts: true, .. });
            let remembered = if counted {
                REMEMBERED
            } else {
                ORDERS_REMEMBERED
            };
            index > surplus || attempt.at >= now - remembered
        });
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new()
    }
}
