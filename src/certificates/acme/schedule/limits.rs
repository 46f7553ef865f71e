//! What CAs allow, and how much of it is left.
//!
//! The figures are Let's Encrypt's, whose limits are leaky buckets
//! ([its own account](https://letsencrypt.org/docs/rate-limits/)): each holds so many drops, an event takes
//! one, and they come back at an even pace. Of what waits for a person to decide otherwise
//! (`certs renew --force`) something is left in the bucket.
//!
//! One more of its limits needs no counting: ten accounts from one address in three hours. There is one
//! account, whose key is kept before the CA hears of it (see [`directory`](super::super::directory)).

use time::{Duration, OffsetDateTime};

use crate::config::Ca;

/// A limit that CAs have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// Certificates for the same names.
    SameNames,
    /// Failed validations of a name.
    FailedValidations,
    /// First certificates for the names of one registered domain.
    Domain,
    /// Orders of one account for first certificates.
    Orders,
}

/// So many at once, and as many again in `period`.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    holds: u16,
    period: Duration,
    /// Drops that are left for a person, or for another program that draws from the same bucket.
    spare: u16,
}

impl Limit {
    /// Whether `ca` has it, as far as anybody knows. A CA of one's own may have a thousand names of one
    /// domain, but a name that is ordered again and again is a mistake everywhere. With Let's
    /// Encrypt's staging one may try things out: its limits are in the thousands.
    #[must_use]
    pub fn is_of(self, ca: Ca) -> bool {
        match self {
            Self::SameNames | Self::FailedValidations => ca != Ca::LetsEncryptStaging,
            Self::Domain | Self::Orders => ca == Ca::LetsEncrypt,
        }
    }

    /// How many the CA allows at once.
    #[must_use]
    pub fn allowed(self) -> u16 {
        self.bucket().holds
    }

    /// In what time as many come back.
    #[must_use]
    pub fn period(self) -> Duration {
        self.bucket().period
    }

    /// How many are left at `now` to be used without asking anybody, after `events`.
    #[must_use]
    pub fn left(self, now: OffsetDateTime, events: &[OffsetDateTime]) -> u16 {
        let bucket = self.bucket();
        let usable = 1..=bucket.holds - bucket.spare;
        let free = |wanted: &u16| self.free_at(now, events, *wanted).is_none();
        usable.take_while(free).last().unwrap_or(0)
    }

    /// When `wanted` of them may be used after `events`; `None` if that is so at `now`.
    #[must_use]
    pub fn free_at(
        self,
        now: OffsetDateTime,
        events: &[OffsetDateTime],
        wanted: u16,
    ) -> Option<OffsetDateTime> {
        let bucket = self.bucket();
        let pace = bucket.period / i32::from(bucket.holds);
        // A time after now is from a clock that was wrong; it would block for ever.
        let mut events: Vec<_> = events.iter().filter(|at| **at <= now).copied().collect();
        events.sort_unstable();
        let mut drops = events.into_iter();
        let first = drops.next()?;
        let full_again = drops.fold(first + pace, |full, at| full.max(at) + pace);
        let may_lack = bucket.holds.saturating_sub(bucket.spare + wanted);
        let free = full_again - pace * i32::from(may_lack);
        (free > now).then_some(free)
    }

    fn bucket(self) -> Bucket {
        let (holds, period, spare) = match self {
            Self::SameNames => (5, Duration::days(7), 1),
            Self::FailedValidations => (5, Duration::hours(1), 0),
            Self::Domain => (50, Duration::days(7), 5),
            Self::Orders => (300, Duration::hours(3), 20),
        };
        Bucket {
            holds,
            period,
            spare,
        }
    }
}

/// The part of `name` that its owner registered, by the [Public Suffix List](https://publicsuffix.org/):
/// `example.co.uk` of `www.example.co.uk`. An address has none.
#[must_use]
pub(in crate::certificates::acme) fn registered_domain(name: &str) -> Option<&str> {
    if name.parse::<std::net::IpAddr>().is_ok() {
        return None;
    }
    psl::domain_str(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

    #[test]
    fn what_was_used_comes_back_at_an_even_pace() {
        let (d, h, m) = (Duration::days(1), Duration::hours(1), Duration::minutes(1));
        let pace = 33 * h + 36 * m;
        let table = [
            (Limit::SameNames, 1, vec![], None, "nothing was"),
            (Limit::SameNames, 1, vec![-m; 3], None, "the fourth"),
            (
                Limit::SameNames,
                1,
                vec![-m; 4],
                Some(pace - m),
                "the fifth: one comes back after 33.6 h",
            ),
            (
                Limit::SameNames,
                1,
                vec![-2 * d, -m, -m, -m],
                None,
                "one has come back",
            ),
            (
                Limit::SameNames,
                1,
                vec![-8 * d, -m, -m, -m],
                None,
                "a full one gets no fuller",
            ),
            (
                Limit::SameNames,
                1,
                vec![-m; 9],
                Some(6 * pace - m),
                "others used more than there was",
            ),
            (
                Limit::SameNames,
                1,
                vec![d; 9],
                None,
                "times to come are a clock's mistake",
            ),
            (
                Limit::FailedValidations,
                2,
                vec![-m; 3],
                None,
                "3 + 2 failures are allowed",
            ),
            (
                Limit::FailedValidations,
                2,
                vec![-m; 4],
                Some(11 * m),
                "6 are not",
            ),
            (Limit::FailedValidations, 1, vec![-m; 4], None, "but 5 are"),
            (
                Limit::Domain,
                1,
                vec![-h; 45],
                Some(h * 2 + m * 21 + m * 3 / 5),
                "5 of 50 are left to others",
            ),
            (Limit::Domain, 1, vec![-h; 44], None, "44 + 1"),
            (
                Limit::Orders,
                2,
                vec![Duration::ZERO; 279],
                Some(m * 3 / 5),
                "20 of 300 are left",
            ),
            (Limit::Orders, 2, vec![Duration::ZERO; 278], None, "278 + 2"),
        ];
        for (limit, wanted, events, expected, why) in table {
            let events: Vec<_> = events.into_iter().map(|at| NOW + at).collect();
            let expected = expected.map(|after| NOW + after);
            let found = limit.free_at(NOW, &events, wanted);
            assert_eq!(found, expected, "{limit:?}: {why}");
        }
    }

    #[test]
    fn what_is_left_is_counted_without_the_spare() {
        let table = [
            (Limit::SameNames, 0, 4),
            (Limit::SameNames, 3, 1),
            (Limit::SameNames, 4, 0),
            (Limit::SameNames, 40, 0),
            (Limit::Domain, 0, 45),
            (Limit::Domain, 40, 5),
        ];
        for (limit, used, left) in table {
            assert_eq!(limit.left(NOW, &vec![NOW; used]), left, "{limit:?} {used}");
        }
    }

    #[test]
    fn each_ca_has_its_own() {
        use Limit::{Domain, FailedValidations, Orders, SameNames};
        let table = [
            (
                Ca::LetsEncrypt,
                vec![SameNames, FailedValidations, Domain, Orders],
            ),
            (Ca::LetsEncryptStaging, vec![]),
            (Ca::Other, vec![SameNames, FailedValidations]),
        ];
        for (ca, expected) in table {
            let mut all = vec![SameNames, FailedValidations, Domain, Orders];
            all.retain(|limit| limit.is_of(ca));
            assert_eq!(all, expected, "{ca:?}");
        }
    }

    #[test]
    fn a_registered_domain_is_what_somebody_bought() {
        let table = [
            ("example.com", Some("example.com")),
            ("a.b.example.com", Some("example.com")),
            ("www.example.co.uk", Some("example.co.uk")),
            ("one.github.io", Some("one.github.io")),
            ("xn--bcher-kva.example.com", Some("example.com")),
            ("com", None),
            ("192.0.2.1", None),
            ("2001:db8::1", None),
        ];
        for (name, expected) in table {
            assert_eq!(registered_domain(name), expected, "{name}");
        }
    }

    proptest! {
        /// The bucket itself, played through: whoever waits as told never finds it empty.
        #[test]
        fn who_waits_as_told_never_asks_for_too_much(
            pauses in prop::collection::vec(0_i64..200_000, 1..60),
        ) {
            let (limit, pace) = (Limit::SameNames, Duration::days(7) / 5);
            let (mut now, mut used, mut level, mut seen) = (NOW, Vec::new(), 5.0_f64, NOW);
            for pause in pauses {
                now += Duration::seconds(pause);
                now = limit.free_at(now, &used, 1).unwrap_or(now);
                level = f64::min(level + (now - seen) / pace, 5.0);
                seen = now;
                // One is spare.
                prop_assert!(level >= 2.0 - 1e-6, "{level}");
                level -= 1.0;
                used.push(now);
            }
        }
    }
}
