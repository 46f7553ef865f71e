//! What status, log and webhook are told of a look that leads to no order.

use time::OffsetDateTime;
use tracing::warn;

use super::look::{Look, lifetime};
use crate::certificates::acme::ledger::Ledger;
use crate::certificates::acme::schedule::{Decision, is_expiring};
use crate::certificates::acme::webhook::Event;
use crate::certificates::acme::words;
use crate::certificates::pair::Pair;

impl Look<'_> {
    /// Tells status and log of a decision that leads to no order.
    pub(super) fn tell(&self, decision: Decision, ledger: &Ledger) {
        let (until, refusal) = match decision {
            Decision::Order(_) => return,
            Decision::Wait(until) => (until, None),
            Decision::Refuse(limit, until) => (until, Some(limit)),
        };
        let name = &self.keeper.name;
        let mut status = self.keeper.status.lock();
        status.next_attempt = Some(until);
        if status.last_error.is_none() {
            status.last_error = ledger.last_error().map(str::to_owned);
        }
        let before = std::mem::replace(&mut *self.keeper.refused.lock(), refusal);
        if let Some(limit) = refusal {
            let words = words::refusal(limit, until, name, ledger.last_error());
            status.last_error = Some(words.clone());
            // Said once: until when may change with every order for another name.
            if before != refusal {
                warn!("{name}: {words}");
                let event = Event::Failed {
                    error: words,
                    next_attempt: until,
                    not_after: status.stored.as_ref().map(|stored| stored.not_after),
                };
                self.shared.tell(name, event);
            }
        } else if before.is_some() {
            status.last_error = ledger.last_error().map(str::to_owned);
        }
    }

    /// Tells `acme.webhook`, once, of a certificate that has come near its end and is not about to be
    /// replaced.
    pub(super) async fn tell_of_the_end(
        &self,
        now: OffsetDateTime,
        decision: Decision,
        current: Option<&Pair>,
        ledger: &mut Ledger,
    ) {
        let Some(pair) = current else {
            return;
        };
        let facts = pair.facts();
        let is_told = ledger.told_of.as_ref() == Some(&facts.serial);
        if self.shared.webhook.is_none() || is_told || !is_expiring(now, lifetime(pair), decision) {
            return;
        }
        let event = Event::Expiring {
            serial: facts.serial.clone(),
            not_after: facts.not_after,
            error: ledger.last_error().map(str::to_owned),
        };
        self.shared.tell(&self.keeper.name, event);
        ledger.told_of = Some(facts.serial.clone());
        // Lost, it is told again.
        let _ = self.save(ledger).await;
    }

    pub(super) fn note_error(&self, words: &str) {
        let mut status = self.keeper.status.lock();
        if status.last_error.as_deref() != Some(words) {
            warn!("{}: {words}", self.keeper.name);
        }
        status.last_error = Some(words.to_owned());
    }
}
