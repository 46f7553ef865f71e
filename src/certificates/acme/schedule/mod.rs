//! When to order: pure functions of what is known and what time it is.
//!
//! [`decide`] is asked again and again. It knows the certificate at hand, the moment that the CA
//! suggested ([RFC 9773](https://www.rfc-editor.org/rfc/rfc9773)), and what the ledger remembers;
//! it answers "order now" or "not before". [`retry_at`] says when to try again after a failure.

mod limits;

use std::time::Duration as StdDuration;

use time::{Duration, OffsetDateTime};

pub use self::limits::Limit;
pub(super) use self::limits::registered_domain;
use crate::config::Ca;

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
/// A certificate that would take more than this many in [`Limit::SameNames`]'s period to be kept counts
/// towards no limit: a CA whose certificates live so short cannot have that one.
const KEPT_WITH: i32 = 4;

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

/// What the ledgers of all names remember together. Renewals are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Neighbours {
    /// When names of the same registered domain got a certificate.
    pub in_domain: Vec<OffsetDateTime>,
    /// When anything was ordered.
    pub orders: Vec<OffsetDateTime>,
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
    /// What was before with other names; `None` where nobody has looked, which delays nothing.
    pub neighbours: Option<&'a Neighbours>,
    /// Who is asked.
    pub ca: Ca,
    /// How many ways to prove the name one attempt may try: each costs an order, and may cost a failed
    /// validation.
    pub challenges: u16,
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
    match refusal(now, situation, reason) {
        Some((limit, free)) => Decision::Refuse(limit, free),
        None => Decision::Order(reason),
    }
}

/// The limit that an order for this reason would break, and until when. The last to yield counts.
fn refusal(
    now: OffsetDateTime,
    situation: &Situation<'_>,
    reason: Reason,
) -> Option<(Limit, OffsetDateTime)> {
    let Situation {
        history,
        challenges,
        ..
    } = *situation;
    let mut limits = vec![(
        Limit::FailedValidations,
        &history.failed_validations,
        challenges,
    )];
    // A renewal that the CA itself suggested counts towards none of its limits for orders. But if it
    // suggests the next one a day after the last, its clock or ours is wrong, and so would be all others.
    let is_odd = history
        .issued
        .iter()
        .any(|&at| at <= now && now - at < DAILY);
    if reason != Reason::Suggested || is_odd {
        limits.push((Limit::SameNames, &history.issued, 1));
    }
    // A renewal, whoever thought of it, counts towards none for first certificates.
    if let (None, Some(neighbours)) = (situation.certificate, situation.neighbours) {
        limits.push((Limit::Domain, &neighbours.in_domain, 1));
        limits.push((Limit::Orders, &neighbours.orders, challenges));
    }
    limits
        .into_iter()
        .filter(|(limit, ..)| limit.is_of(situation.ca))
        .filter_map(|(limit, events, wanted)| Some((limit, limit.free_at(now, events, wanted)?)))
        .max_by_key(|(_, free)| *free)
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

    /// Whether an issuance counts towards the CA's limits.
    #[must_use]
    pub fn counts(self) -> bool {
        self.length() / 2 * KEPT_WITH >= Limit::SameNames.period()
    }
}

/// Whether somebody should be told that `certificate` nears its end: less than a third of its lifetime
/// is left, and nobody is about to replace it.
#[must_use]
pub fn is_expiring(now: OffsetDateTime, certificate: Lifetime, decision: Decision) -> bool {
    let near = (certificate.not_after - now) * 3 < certificate.length();
    near && !matches!(decision, Decision::Order(_))
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

#[cfg(test)]
mod tests;
