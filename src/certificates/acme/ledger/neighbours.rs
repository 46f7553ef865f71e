//! What the ledgers of all names say together: some of a CA's limits are for a whole domain, or for
//! everything that an account orders.

use time::OffsetDateTime;

use super::Ledger;
use crate::certificates::acme::schedule::{Neighbours, registered_domain};

/// What counts at `now` when a first certificate for `name` is to be ordered. `all` are the ledgers of
/// all names, in which the one of `name` may be older than `own`.
pub(in crate::certificates::acme) fn neighbours(
    now: OffsetDateTime,
    name: &str,
    own: &Ledger,
    all: &[(String, Ledger)],
) -> Neighbours {
    let others = all.iter().filter(|(other, _)| other != name);
    let ledgers = others.map(|(name, ledger)| (name.as_str(), ledger));
    let domain = registered_domain(name);
    let mut found = Neighbours::default();
    for (other, ledger) in ledgers.chain([(name, own)]) {
        found.orders.extend(ledger.first_orders());
        if domain.is_some() && registered_domain(other) == domain {
            found.in_domain.extend(ledger.first_certificates(now));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::certificates::acme::schedule::Lifetime;

    const NOW: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

    fn issued(minutes: i64) -> Ledger {
        let mut ledger = Ledger::new();
        ledger.begin(NOW - Duration::minutes(minutes));
        let lifetime = Lifetime {
            not_before: NOW,
            not_after: NOW + Duration::days(90),
        };
        ledger.issued("01", lifetime);
        ledger
    }

    #[test]
    fn names_of_one_domain_count_together_and_all_orders_do() {
        let ledger = |name: &str, minutes| (name.to_owned(), issued(minutes));
        let all = [
            ledger("a.example.co.uk", 1),
            ledger("example.co.uk", 2),
            ledger("a.other.co.uk", 3),
            ledger("192.0.2.1", 4),
            ledger("new.example.co.uk", 5),
        ];
        let own = issued(6);
        let table = [
            ("new.example.co.uk", vec![1, 2, 6], vec![1, 2, 3, 4, 6]),
            ("192.0.2.1", vec![], vec![1, 2, 3, 5, 6]),
        ];
        for (name, in_domain, orders) in table {
            let found = neighbours(NOW, name, &own, &all);
            let ago = |times: &[OffsetDateTime]| {
                let mut ago: Vec<_> = times.iter().map(|at| (NOW - *at).whole_minutes()).collect();
                ago.sort_unstable();
                ago
            };
            assert_eq!(ago(&found.in_domain), in_domain, "{name}");
            assert_eq!(ago(&found.orders), orders, "{name}");
        }
    }
}
