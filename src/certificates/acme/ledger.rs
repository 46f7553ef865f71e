//! What was ordered for a name, how it ended, and when the next attempt may be.
//!
//! It is written before the CA hears of an order and again when the order has ended, so that
//! neither a crash nor a restart loop makes the same mistake faster than the CA allows.

mod merge;
mod neighbours;

use std::time::Duration as StdDuration;

use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

pub(super) use self::neighbours::neighbours;
use super::ari::Suggestion;
use super::schedule::{self, History, Lifetime};
use crate::config::Challenge;

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

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whether there was a certificate for the name before: some limits leave renewals out.
    #[serde(default)]
    pub renewal: bool,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When the CA found the name unproven, once for each challenge.
    #[serde(default)]
    pub failed_validations: Vec<Moment>,
}

/// A time, as JSON writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs, or this program ended in the middle of it.
    Begun,
    /// With a certificate.
    Issued {
        /// Its serial number in upper-case hexadecimal.
        serial: String,
        /// Whether it counts towards the CA's limit for the same names.
        counts: bool,
    },
    /// Without.
    Failed {
        /// What a person is told.
        error: String,
    },
}

/// A challenge's name in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProvenBy {
    /// `http-01`.
    #[serde(rename = "http-01")]
    Http01,
    /// `tls-alpn-01`.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
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

impl From<Challenge> for ProvenBy {
    fn from(challenge: Challenge) -> Self {
        match challenge {
            Challenge::Http01 => Self::Http01,
            Challenge::TlsAlpn01 => Self::TlsAlpn01,
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);
    const QUARTER: Lifetime = Lifetime {
        not_before: START,
        not_after: datetime!(2027-04-01 00:00 UTC),
    };

    fn eventful() -> Ledger {
        let mut ledger = Ledger::new();
        ledger.begin(START);
        ledger.issued("0A1B", QUARTER);
        ledger.begin(START + Duration::days(1));
        ledger.validation_failed(START + Duration::days(1));
        ledger.failed(
            "no \"way\"",
            START + Duration::days(1),
            Some(QUARTER),
            None,
            0.5,
        );
        ledger.proven_by = Some(ProvenBy::Http01);
        ledger
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for ledger in [Ledger::new(), eventful()] {
            assert_eq!(Ledger::parse(ledger.to_json().as_bytes()).unwrap(), ledger);
        }
    }

    #[test]
    fn a_ledger_cut_off_anywhere_is_damaged_and_never_another_ledger() {
        let json = eventful().to_json();
        for length in 0..json.trim_end().len() {
            let cut = Ledger::parse(&json.as_bytes()[..length]);
            assert!(
                matches!(cut, Err(Unreadable::Damaged(_))),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn a_newer_ledger_is_not_misread() {
        let newer = br#"{"version":2,"attempts":{"another":"shape"}}"#;
        assert_eq!(Ledger::parse(newer), Err(Unreadable::Newer));
    }

    #[test]
    fn issued_and_failed_are_told_apart() {
        let ledger = eventful();
        let history = ledger.history(START + Duration::days(1));
        assert_eq!(history.issued, [START]);
        assert_eq!(history.failed_validations, [START + Duration::days(1)]);
        let retry = START + Duration::days(1) + Duration::minutes(1);
        assert_eq!(history.next_attempt, Some(retry));
        assert_eq!(ledger.last_error(), Some("no \"way\""));
    }

    #[test]
    fn one_crash_costs_nothing_and_a_crash_loop_slows_down() {
        let mut ledger = Ledger::new();
        let waits: Vec<_> = (0..4)
            .map(|_| {
                ledger.begin(START);
                let next = ledger.history(START).next_attempt;
                next.map(|next| (next - START).whole_minutes())
            })
            .collect();
        assert_eq!(waits, [None, Some(10), Some(100), Some(24 * 60)]);
        ledger.issued("01", QUARTER);
        ledger.begin(START);
        assert_eq!(ledger.history(START).next_attempt, None, "success forgives");
    }

    #[test]
    fn a_pause_of_a_clock_that_was_ahead_is_none() {
        let mut ledger = Ledger::new();
        let (ahead, minute) = (Duration::days(3650), Duration::minutes(1));
        ledger.begin(START + ahead);
        let next = ledger.failed(
            "the CA's certificate has expired",
            START + ahead,
            None,
            None,
            0.5,
        );
        let table = [
            (next - minute, Some(next), "the clock goes on"),
            (START, None, "it was put right"),
        ];
        for (now, expected, why) in table {
            assert_eq!(ledger.history(now).next_attempt, expected, "{why}");
        }
        ledger.begin(START);
        let next = ledger.failed("no", START, None, None, 0.5);
        assert_eq!(
            ledger.history(START).next_attempt,
            Some(next),
            "a pause of now"
        );
    }

    #[test]
    fn first_certificates_are_told_from_renewals() {
        let at = |hours| START + Duration::hours(hours);
        let mut ledger = Ledger::new();
        ledger.begin(at(0));
        ledger.validation_failed(at(0) + Duration::minutes(1));
        ledger.issued("01", QUARTER);
        ledger.begin_renewal(at(1));
        ledger.issued("02", QUARTER);
        ledger.begin(at(2));
        ledger.failed("no", at(2), None, None, 0.5);
        ledger.begin(at(3));
        let orders: Vec<_> = ledger.first_orders().collect();
        assert_eq!(orders, [at(0), at(0) + Duration::minutes(1), at(2), at(3)]);
        let table = [
            (at(3), vec![at(0), at(3)], "one runs"),
            (at(5), vec![at(0)], "and never ended"),
        ];
        for (now, expected, why) in table {
            let found: Vec<_> = ledger.first_certificates(now).collect();
            assert_eq!(found, expected, "{why}");
        }
    }

    #[test]
    fn a_ledger_of_before_reads_as_it_was_meant() {
        let before = br#"{"version":1,"attempts":[{"at":"2027-01-01T00:00:00Z","outcome":"begun"}],
            "failures":1,"next_attempt":null,"last_error":null,"suggestion":null,"proven_by":null}"#;
        let ledger = Ledger::parse(before).unwrap();
        assert_eq!(ledger.first_orders().collect::<Vec<_>>(), [START]);
    }

    #[test]
    fn what_no_limit_asks_for_is_forgotten() {
        let mut ledger = Ledger::new();
        for day in 0..40 {
            ledger.begin(START + Duration::days(day));
            ledger.issued("01", QUARTER);
        }
        assert_eq!(ledger.attempts().len(), 16, "of 15 days, and of today");
        let mut failing = Ledger::new();
        for day in 0..40 {
            failing.begin(START + Duration::days(day));
            failing.failed("no", START, None, None, 0.5);
        }
        assert_eq!(failing.attempts().len(), KEPT);
        let mut busy = Ledger::new();
        for minute in 0..40 {
            busy.begin(START + Duration::minutes(minute));
            busy.issued("01", QUARTER);
        }
        assert_eq!(busy.attempts().len(), 40, "all of them count still");
    }

    #[test]
    fn certificates_of_a_day_count_towards_no_limit() {
        let mut ledger = Ledger::new();
        ledger.begin(START);
        let day = Lifetime {
            not_before: START,
            not_after: START + Duration::days(1),
        };
        ledger.issued("01", day);
        assert!(ledger.history(START).issued.is_empty());
    }
}
