//! When to order: pure functions of what is known and what time it is.
//!
//! [`decide`] is asked again and again. It knows the certificate at hand, the moment that the CA
//! suggested ([RFC 9773](https://www.rfc-editor.org/rfc/rfc9773)), and what the ledger remembers;
//! it answers "order now" or "not before". [`retry_at`] says when to try again after a failure.

use std::time::Duration as StdDuration;

use time::{Duration, OffsetDateTime};

/// Certificates that live shorter than this are renewed at half of their life.
const SHORT_LIFETIME: Duration = Duration::days(10);
/// Below this fraction of the lifetime a certificate is renewed even if the CA suggests to wait.
const EMERGENCY: i32 = 20;
/// After the first, second and third failure in a row; then daily.
const BACK_OFF: [Duration; 3] = [
    Duration::minutes(1),
    Duration::minutes(10),
    Duration::minutes(100),
];
const DAILY: Duration = Duration::days(1);
/// A quarter more or less, so that many servers that failed together don't return together.
const JITTER: f64 = 0.25;
/// Towards the end of a certificate attempts come closer to each other, but not closer than this.
const LAST_SECOND: Duration = Duration::seconds(1);
/// What public CAs allow for one set of names, and in what time.
pub(super) const SAME_NAMES: usize = 5;
pub(super) const SAME_NAMES_WINDOW: Duration = Duration::days(7);
/// What public CAs allow one name to fail, and in what time.
pub(super) const FAILED_VALIDATIONS: usize = 5;
pub(super) const FAILED_VALIDATIONS_WINDOW: Duration = Duration::hours(1);

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// Start of validity.
    pub not_before: OffsetDateTime,
    /// End of validity.
    pub not_after: OffsetDateTime,
}

/// What the ledger remembers, as far as it delays an order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    /// Not before this: the back-off after a failure, or what the CA asked for.
    pub next_attempt: Option<OffsetDateTime>,
    /// When certificates for the same names were issued that count towards the CA's limit.
    pub issued: Vec<OffsetDateTime>,
    /// When validations of the name failed.
    pub failed_validations: Vec<OffsetDateTime>,
}

/// Everything a decision rests on.
#[derive(Debug, Clone)]
pub struct Situation<'a> {
    /// The certificate at hand, if it is one for the name at all.
    pub certificate: Option<Lifetime>,
    /// The moment chosen in the CA's suggested window.
    pub suggested: Option<OffsetDateTime>,
    /// What was before.
    pub history: &'a History,
    /// How many validations one attempt may cost.
    pub validations: usize,
    /// A person asked for it.
    pub wish: Wish,
}

/// What a person asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Nothing.
    #[default]
    None,
    /// A new certificate now; the CA's limits are respected.
    Renew,
    /// A new certificate now, whatever the limits say.
    Force,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Order now.
    Order(Reason),
    /// Look again at this time.
    Wait(OffsetDateTime),
    /// An order is due, but would break a limit of the CA until this time.
    Refuse(Limit, OffsetDateTime),
}

/// Why a certificate is ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is none.
    Missing,
    /// It has expired.
    Expired,
    /// Its last twentieth has begun.
    Emergency,
    /// The CA suggests it.
    Suggested,
    /// Its last third (or half) has begun.
    Due,
    /// A person wishes it.
    Wished,
}

/// A limit that public CAs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Certificates for the same names in seven days.
    SameNames,
    /// Failed validations of a name in an hour.
    FailedValidations,
}

/// Whether to order at `now`.
#[must_use]
pub fn decide(now: OffsetDateTime, situation: &Situation<'_>) -> Decision {
    if situation.wish == Wish::Force {
        return Decision::Order(Reason::Wished);
    }
    let (due, reason) = if situation.wish == Wish::Renew {
        (now, Reason::Wished)
    } else {
        due(now, situation)
    };
    if now < due {
        return Decision::Wait(due);
    }
    let history = situation.history;
    if let Some(next) = history.next_attempt
        && now < next
        && situation.wish == Wish::None
    {
        return Decision::Wait(next);
    }
    let full = FAILED_VALIDATIONS + 1 - situation.validations.min(FAILED_VALIDATIONS);
    if let Some(free) = free_at(
        now,
        &history.failed_validations,
        FAILED_VALIDATIONS_WINDOW,
        full,
    ) {
        return Decision::Refuse(Limit::FailedValidations, free);
    }
    // A renewal that the CA itself suggested does not count towards its limits.
    let exempt = matches!(reason, Reason::Suggested);
    if !exempt && let Some(free) = free_at(now, &history.issued, SAME_NAMES_WINDOW, SAME_NAMES - 1)
    {
        return Decision::Refuse(Limit::SameNames, free);
    }
    Decision::Order(reason)
}

/// When a certificate is due without any hindrance, and why.
fn due(now: OffsetDateTime, situation: &Situation<'_>) -> (OffsetDateTime, Reason) {
    let Some(certificate) = situation.certificate else {
        return (now, Reason::Missing);
    };
    if now >= certificate.not_after {
        return (now, Reason::Expired);
    }
    let emergency = certificate.not_after - certificate.length() / EMERGENCY;
    if now >= emergency {
        return (emergency, Reason::Emergency);
    }
    match situation.suggested {
        Some(suggested) if suggested <= emergency => (suggested, Reason::Suggested),
        Some(_) => (emergency, Reason::Emergency),
        None => (certificate.renewal(), Reason::Due),
    }
}

impl Lifetime {
    /// When it is renewed if the CA suggests nothing.
    #[must_use]
    pub fn renewal(self) -> OffsetDateTime {
        let length = self.length();
        let left = if length < SHORT_LIFETIME {
            length / 2
        } else {
            length / 3
        };
        self.not_after - left
    }

    /// How long it is valid in all; never negative.
    #[must_use]
    pub fn length(self) -> Duration {
        (self.not_after - self.not_before).max(Duration::ZERO)
    }

    /// Whether an issuance counts towards [`Limit::SameNames`]. A CA whose certificates live so short
    /// that keeping one takes more than four in seven days cannot have that limit.
    #[must_use]
    pub fn counts(self) -> bool {
        self.length() / 2 * 4 >= SAME_NAMES_WINDOW
    }
}

/// When to try again after the `failures`th failure in a row.
///
/// `retry_after` is what the CA asked for, and wins. `random` is uniform in 0..1. Nothing waits
/// longer than half of what is left of the certificate, so that there is always another attempt
/// before it expires.
#[must_use]
pub fn retry_at(
    now: OffsetDateTime,
    failures: usize,
    certificate: Option<Lifetime>,
    retry_after: Option<StdDuration>,
    random: f64,
) -> OffsetDateTime {
    if let Some(asked) = retry_after.and_then(|asked| Duration::try_from(asked).ok()) {
        // A year is more than any CA means, and keeps a broken header from overflowing.
        return now + asked.clamp(Duration::seconds(1), Duration::days(366));
    }
    let pause = BACK_OFF
        .get(failures.saturating_sub(1))
        .copied()
        .unwrap_or(DAILY);
    let pause = pause * (1.0 - JITTER + 2.0 * JITTER * random);
    let left = certificate.map(|certificate| certificate.not_after - now);
    let pause = match left {
        Some(left) if left.is_positive() => {
            pause.min(Duration::max(left / 2, LAST_SECOND.min(left)))
        }
        _ => pause,
    };
    now + pause
}

/// When fewer than `full` of `events` lie within `window`; `None` if that is so at `now`.
fn free_at(
    now: OffsetDateTime,
    events: &[OffsetDateTime],
    window: Duration,
    full: usize,
) -> Option<OffsetDateTime> {
    let mut recent: Vec<_> = events
        .iter()
        // A time after now is from a clock that was wrong; it would block for ever.
        .filter(|at| **at > now - window && **at <= now)
        .copied()
        .collect();
    recent.sort();
    let surplus = recent.len().checked_sub(full)?;
    Some(recent[surplus] + window)
}

#[cfg(test)]
mod tests;
