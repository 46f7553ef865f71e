//! One ledger of two: what an instance saves, and what others have saved since it read.
//!
//! No attempt is ever lost, because the CA counts them all. What follows from the last attempt
//! (failures, next attempt, suggestion) is taken from whoever knows more of it.

use super::{Ledger, Outcome};

impl Ledger {
    /// This ledger, which is about to be saved, with what `stored` knows beyond it.
    #[must_use]
    pub fn merged(self, stored: Self) -> Self {
        let stored_knows_more = stored.knowledge() > self.knowledge();
        let (mut ledger, other) = if stored_knows_more {
            (stored, self)
        } else {
            (self, stored)
        };
        for attempt in other.attempts {
            if !ledger.attempts.iter().any(|known| known.at == attempt.at) {
                ledger.attempts.push(attempt);
            }
        }
        ledger.attempts.sort_by_key(|attempt| attempt.at);
        ledger
    }

    /// Grows with every step of an order: when the last one began, whether it has ended, and how many
    /// proofs of it have failed.
    fn knowledge(&self) -> Option<(time::OffsetDateTime, bool, usize)> {
        let last = self.attempts.last()?;
        let ended = last.outcome != Outcome::Begun;
        Some((last.at, ended, last.failed_validations.len()))
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::certificates::acme::schedule::Lifetime;

    const NOW: time::OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

    #[test]
    fn an_order_that_ended_meanwhile_stays_ended() {
        let mut begun = Ledger::new();
        begun.begin(NOW);
        let mut ended = begun.clone();
        let lifetime = Lifetime {
            not_before: NOW,
            not_after: NOW + Duration::days(90),
        };
        ended.issued("AB", lifetime);
        assert_eq!(begun.clone().merged(ended.clone()), ended);
        assert_eq!(ended.clone().merged(begun), ended);
    }

    #[test]
    fn orders_of_several_instances_all_count() {
        let (mut one, mut two) = (Ledger::new(), Ledger::new());
        one.begin(NOW);
        one.failed("one", NOW, None, None, 0.5);
        two.begin(NOW + Duration::minutes(1));
        two.failed("two", NOW, None, None, 0.5);
        for merged in [one.clone().merged(two.clone()), two.merged(one)] {
            assert_eq!(merged.attempts().len(), 2);
            assert_eq!(merged.attempts()[0].at, NOW);
            assert_eq!(merged.last_error(), Some("two"), "the last one's");
        }
    }

    #[test]
    fn where_nothing_was_begun_what_is_saved_holds() {
        let saved = Ledger {
            last_error: Some("new".into()),
            ..Ledger::new()
        };
        assert_eq!(saved.clone().merged(Ledger::new()), saved);
    }
}
