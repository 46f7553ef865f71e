//! What status, log and webhook are told of a look that leads to no order.

use time::OffsetDateTime;
use tracing::warn;

use super::look::Look;
use crate::certificates::acme::ledger::Ledger;
use crate::certificates::acme::schedule::Decision;
use crate::certificates::acme::webhook::Event;
use crate::certificates::acme::words;
use crate::certificates::pair::Pair;

impl Look<'_> {
    /// Tells status and log of a decision that leads to no order.
    pub(super) fn tell(&self, decision: Decision, ledger: &Ledger) {
        let (until, refusal) = match decision {
            Decision::Order(_) => return,
            Decision::Wait(until) => (until, None),
            Decision::Refuse(limit, until) => {
                let last_error = ledger.last_error();
                let words = words::refusal(limit, until, &self.keeper.name, last_error);
                (until, Some(words))
            }
        };
        let mut status = self.keeper.status.lock();
        status.next_attempt = Some(until);
        if status.last_error.is_none() {
            status.last_error = ledger.last_error().map(str::to_owned);
        }
        let mut refused = self.keeper.refused.lock();
        if let Some(words) = &refusal {
            if refused.as_ref() != Some(words) {
                warn!("{}: {words}", self.keeper.name);
                let event = Event::Failed {
                    error: words.clone(),
                    next_attempt: until,
                    not_after: status.stored.as_ref().map(|stored| stored.not_after),
                };
                self.shared.tell(&self.keeper.name, event);
            }
            status.last_error = Some(words.clone());
        } else if refused.is_some() {
            status.last_error = ledger.last_error().map(str::to_owned);
        }
        *refused = refusal;
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
        let Some(facts) = current.map(Pair::facts) else {
            return;
        };
        let near = (facts.not_after - now) * 3 < facts.not_after - facts.not_before;
        let is_told = ledger.told_of.as_ref() == Some(&facts.serial);
        let is_ordered = matches!(decision, Decision::Order(_));
        if self.shared.webhook.is_none() || !near || is_told || is_ordered {
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
