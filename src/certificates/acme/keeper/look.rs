//! One look: what is there, what is due, and who may do it.

use std::time::Duration as StdDuration;

use time::{Duration, OffsetDateTime};
use tracing::info;

use super::suggestion::identifier_of;
use super::{Keeper, LOOK, SOON, random};
use crate::certificates::acme::ledger::{Ledger, neighbours};
use crate::certificates::acme::problem::Failure;
use crate::certificates::acme::schedule::{
    Decision, Lifetime, Limit, Neighbours, Situation, Wish, decide,
};
use crate::certificates::acme::verify::{Listener, Seen};
use crate::certificates::acme::words::shown;
use crate::certificates::acme::{Shared, serve};
use crate::certificates::pair::Pair;
use crate::certificates::{Certificates, Source};

/// Everything that one look needs.
pub(super) struct Look<'a> {
    pub(super) keeper: &'a Keeper,
    pub(super) shared: &'a Shared,
    pub(super) certificates: &'a Certificates,
    pub(super) https: &'a [Listener],
}

impl Look<'_> {
    /// Looks once, and orders if that is due; answers when to look again.
    pub(super) async fn look(&self) -> StdDuration {
        let name = &self.keeper.name;
        let current = match self.current().await {
            Ok(current) => current,
            Err(error) => return self.rest_unread(&error),
        };
        self.verify(current.as_ref()).await;
        let mut ledger = self.ledger().await;
        self.ask_the_ca(current.as_ref(), &mut ledger).await;
        let now = OffsetDateTime::now_utc();
        let decision = self.decide(now, current.as_ref(), &ledger);
        self.tell(decision, &ledger);
        self.tell_of_the_end(now, decision, current.as_ref(), &mut ledger)
            .await;
        match decision {
            Decision::Order(_) => {
                // The semaphore is never closed.
                let _permit = self.shared.orders.acquire().await;
                match self.shared.storage.try_lock(name).await {
                    Ok(Some(lock)) => {
                        let pause = self.order().await;
                        drop(lock);
                        pause
                    }
                    Ok(None) => SOON,
                    Err(error) => {
                        // Tried once: a wish does not wait for what comes after a failure.
                        *self.keeper.wish.lock() = Wish::None;
                        self.fail(
                            &mut ledger,
                            &Failure::ours(format!("{error:#}")),
                            current.as_ref(),
                        )
                        .await;
                        StdDuration::ZERO
                    }
                }
            }
            Decision::Wait(_) | Decision::Refuse(..) => self.rest(now, decision, &ledger),
        }
    }

    /// Ends a look without an order: whoever wished for one has an answer. Says when to look again.
    pub(super) fn rest(
        &self,
        now: OffsetDateTime,
        decision: Decision,
        ledger: &Ledger,
    ) -> StdDuration {
        let until = match decision {
            Decision::Order(_) => now,
            Decision::Wait(until) => until,
            Decision::Refuse(_, until) => {
                // A wish that a limit refuses is answered by the refusal.
                *self.keeper.wish.lock() = Wish::None;
                until
            }
        };
        self.keeper.settle();
        pause(now, until, ledger)
    }

    /// The same when the certificate in storage cannot be read.
    pub(super) fn rest_unread(&self, error: &anyhow::Error) -> StdDuration {
        self.note_error(&format!("{error:#}"));
        // What cannot be read cannot be replaced either.
        *self.keeper.wish.lock() = Wish::None;
        self.keeper.settle();
        LOOK
    }

    /// The certificate in storage, served if it is not yet: another instance may have got it.
    pub(super) async fn current(&self) -> anyhow::Result<Option<Pair>> {
        let stored = self.shared.storage.certificate(&self.keeper.name).await?;
        self.keeper.status.lock().stored = stored.as_ref().map(|pair| Seen::of(pair.facts()));
        if let Some(pair) = &stored {
            let serving = self.certificates.serving(self.keeper.index);
            let same = serving.source == Source::Acme
                && serving.pair.facts().serial == pair.facts().serial;
            if !same {
                self.certificates
                    .serve(self.keeper.index, serve(&self.keeper.name, pair.clone()));
                info!(
                    "{}: serving a new certificate, serial {}, valid until {}",
                    self.keeper.name,
                    pair.facts().serial,
                    shown(pair.facts().not_after)
                );
            }
        }
        Ok(stored)
    }

    pub(super) async fn ledger(&self) -> Ledger {
        let unsaved = self.keeper.unsaved.lock().clone();
        if let Some(ledger) = unsaved {
            return ledger;
        }
        match self.shared.storage.ledger(&self.keeper.name).await {
            Ok(ledger) => ledger,
            Err(error) => {
                // Nothing was begun, says a new one. The probe stands before any order.
                self.note_error(&format!("{error:#}"));
                Ledger::new()
            }
        }
    }

    pub(super) async fn save(&self, ledger: &Ledger) -> Result<(), Failure> {
        let saved = self
            .shared
            .storage
            .save_ledger(&self.keeper.name, ledger)
            .await;
        *self.keeper.unsaved.lock() = saved.is_err().then(|| ledger.clone());
        saved.map_err(|error| Failure::ours(format!("{error:#}")))
    }

    /// What is due, as far as this name's own ledger tells.
    pub(super) fn decide(
        &self,
        now: OffsetDateTime,
        current: Option<&Pair>,
        ledger: &Ledger,
    ) -> Decision {
        self.decide_beside(now, current, ledger, None)
    }

    /// The same, and whether orders for other names leave room for one where the CA counts those, too.
    pub(super) async fn decide_among_all(
        &self,
        now: OffsetDateTime,
        current: Option<&Pair>,
        ledger: &Ledger,
    ) -> anyhow::Result<Decision> {
        let decision = self.decide(now, current, ledger);
        let is_first = matches!(decision, Decision::Order(_)) && current.is_none();
        if !is_first || !Limit::Domain.is_of(self.shared.settings.ca()) {
            return Ok(decision);
        }
        let all = self.shared.storage.ledgers().await?;
        let neighbours = neighbours(now, &self.keeper.name, ledger, &all);
        Ok(self.decide_beside(now, current, ledger, Some(&neighbours)))
    }

    fn decide_beside(
        &self,
        now: OffsetDateTime,
        current: Option<&Pair>,
        ledger: &Ledger,
        neighbours: Option<&Neighbours>,
    ) -> Decision {
        let history = ledger.history(now);
        let identifier = current.and_then(identifier_of);
        let suggestion = ledger
            .suggestion
            .as_ref()
            .filter(|suggestion| Some(&suggestion.certificate) == identifier.as_ref());
        decide(
            now,
            &Situation {
                certificate: current.map(lifetime),
                suggested: suggestion.and_then(|suggestion| suggestion.chosen),
                history: &history,
                neighbours,
                ca: self.shared.settings.ca(),
                // There are two kinds.
                challenges: u16::try_from(self.shared.settings.challenges.len()).unwrap_or(2),
                wish: *self.keeper.wish.lock(),
            },
        )
    }
}

/// How long to sleep: until the next thing is due, but not past the next look.
fn pause(now: OffsetDateTime, until: OffsetDateTime, ledger: &Ledger) -> StdDuration {
    let jitter = 0.9 + 0.2 * random();
    let ask = ledger
        .suggestion
        .as_ref()
        .map(|suggestion| suggestion.ask_again);
    let next = ask.map_or(until, |ask| ask.min(until));
    // Negative when it has come meanwhile.
    let pause = StdDuration::try_from((next - now).max(Duration::ZERO)).unwrap_or_default();
    pause.min(LOOK.mul_f64(jitter))
}

/// From when to when `pair` is valid.
pub(super) fn lifetime(pair: &Pair) -> Lifetime {
    Lifetime {
        not_before: pair.facts().not_before,
        not_after: pair.facts().not_after,
    }
}
