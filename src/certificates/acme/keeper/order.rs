//! The order, with the lock in hand: one challenge after the other, and what becomes of it.

use std::time::Duration as StdDuration;

use time::OffsetDateTime;
use tracing::{info, warn};

use super::look::{Look, lifetime};
use super::random;
use crate::certificates::acme::ari;
use crate::certificates::acme::directory::ours;
use crate::certificates::acme::ledger::{Ledger, ProvenBy};
use crate::certificates::acme::order::{Issued, Job, word_of};
use crate::certificates::acme::problem::{Failure, Kind};
use crate::certificates::acme::schedule::{Decision, Wish};
use crate::certificates::acme::webhook::Event;
use crate::certificates::acme::words::{self, shown};
use crate::certificates::pair::Pair;
use crate::config::Challenge;

impl Look<'_> {
    /// Orders, with the lock in hand, if that is still due; says when to look again.
    pub(super) async fn order(&self) -> StdDuration {
        let name = &self.keeper.name;
        // Another instance may have ordered before it let go of the lock.
        let current = match self.current().await {
            Ok(current) => current,
            Err(error) => return self.rest_unread(&error),
        };
        let mut ledger = self.ledger().await;
        let begun = {
            // From the count of what was ordered until this order is counted, nobody else counts.
            let _counting = self.shared.counting.lock().await;
            self.begin(current.as_ref(), &mut ledger).await
        };
        let outcome = match begun {
            Ok(Some(rest)) => return rest,
            Ok(None) => self.tried(current.as_ref(), &mut ledger).await,
            Err(failure) => Err(failure),
        };
        match outcome {
            Ok(pair) => {
                ledger.issued(&pair.facts().serial, lifetime(&pair));
                if let Err(failure) = self.save(&ledger).await {
                    self.note_error(&failure.words);
                }
                info!(
                    "{name}: got a certificate from {}, serial {}, valid until {}",
                    pair.facts().issuer,
                    pair.facts().serial,
                    shown(pair.facts().not_after)
                );
                self.keeper.status.lock().last_error = None;
                let facts = pair.facts();
                let event = Event::Issued {
                    serial: facts.serial.clone(),
                    issuer: facts.issuer.clone(),
                    not_after: facts.not_after,
                };
                self.shared.tell(name, event);
            }
            Err(failure) => self.fail(&mut ledger, &failure, current.as_ref()).await,
        }
        StdDuration::ZERO
    }

    /// Writes the order down before the CA hears of it; answers when to look again if it is not due.
    async fn begin(
        &self,
        current: Option<&Pair>,
        ledger: &mut Ledger,
    ) -> Result<Option<StdDuration>, Failure> {
        let name = &self.keeper.name;
        let now = OffsetDateTime::now_utc();
        let decision = self.decide_among_all(now, current, ledger).await;
        let reason = match decision.map_err(ours)? {
            Decision::Order(reason) => reason,
            rest => {
                self.tell(rest, ledger);
                return Ok(Some(self.rest(now, rest, ledger)));
            }
        };
        *self.keeper.wish.lock() = Wish::None;
        info!(
            "{name}: ordering a certificate from {} ({})",
            self.shared.directory.client.host(),
            words::reason(reason)
        );
        match current {
            Some(_) => ledger.begin_renewal(now),
            None => ledger.begin(now),
        }
        // Nothing is asked of the CA before what it answers can be kept.
        self.shared.storage.probe(name).await.map_err(ours)?;
        self.save(ledger).await?;
        Ok(None)
    }

    /// Tries the challenges one after the other, as far as the next one may help, and stores what is issued.
    async fn tried(&self, current: Option<&Pair>, ledger: &mut Ledger) -> Result<Pair, Failure> {
        let shared = self.shared;
        let directory = shared.directory.apart();
        let job = Job {
            directory: &directory,
            storage: &*shared.storage,
            challenges: &shared.challenges,
            name: &self.keeper.name,
            profile: shared.settings.profile.as_deref(),
            replaces: current
                .and_then(|pair| pair.certified().cert.first())
                .and_then(ari::identifier),
        };
        let challenges = in_order(&shared.settings.challenges, ledger.proven_by);
        let mut failures: Vec<Failure> = Vec::new();
        for challenge in challenges {
            match job.run(challenge).await {
                Ok(issued) => {
                    ledger.proven_by = Some(challenge.into());
                    return self.keep(&job, &issued).await;
                }
                Err(failure) => {
                    let unproven = matches!(failure.kind, Kind::Unproven | Kind::Hopeless);
                    if unproven {
                        ledger.validation_failed(OffsetDateTime::now_utc());
                        // Counted even if this process dies before the end.
                        self.save(ledger).await?;
                    }
                    let other_may_help = failure.kind == Kind::Unproven;
                    failures.push(Failure {
                        words: if unproven {
                            format!("{}: {}", word_of(challenge), failure.words)
                        } else {
                            failure.words
                        },
                        ..failure
                    });
                    if !other_may_help {
                        break;
                    }
                }
            }
        }
        Err(joined(failures))
    }

    async fn keep(&self, job: &Job<'_>, issued: &Issued) -> Result<Pair, Failure> {
        let stored = self
            .shared
            .storage
            .save_certificate(&self.keeper.name, &issued.chain, &issued.key)
            .await;
        // The running order stays in storage when this fails: the next attempt fetches the same
        // certificate again.
        let pair = stored.map_err(|error| Failure::ours(format!("{error:#}")))?;
        job.forget().await?;
        Ok(pair)
    }

    pub(super) async fn fail(
        &self,
        ledger: &mut Ledger,
        failure: &Failure,
        current: Option<&Pair>,
    ) {
        let now = OffsetDateTime::now_utc();
        let certificate = current.map(lifetime);
        let next = ledger.failed(
            &failure.words,
            now,
            certificate,
            failure.retry_after,
            random(),
        );
        let left = certificate.filter(|certificate| certificate.not_after > now);
        warn!(
            "{}: {}; the next attempt is at {}, {}",
            self.keeper.name,
            failure.words,
            shown(next),
            words::consequence(left.map(|certificate| certificate.not_after))
        );
        self.keeper.status.lock().last_error = Some(failure.words.clone());
        let event = Event::Failed {
            error: failure.words.clone(),
            next_attempt: next,
            not_after: left.map(|certificate| certificate.not_after),
        };
        self.shared.tell(&self.keeper.name, event);
        // It is kept in memory when it cannot be saved; why not is what failed above, or comes next.
        let _ = self.save(ledger).await;
    }
}

/// The challenges as configured, but first the one that went well the last time.
fn in_order(configured: &[Challenge], proven_by: Option<ProvenBy>) -> Vec<Challenge> {
    let mut challenges = configured.to_vec();
    challenges.sort_by_key(|challenge| Some(ProvenBy::from(*challenge)) != proven_by);
    challenges
}

/// One failure of all: the words of each, and what follows from the last.
fn joined(failures: Vec<Failure>) -> Failure {
    let words: Vec<_> = failures
        .iter()
        .map(|failure| failure.words.as_str())
        .collect();
    let words = words.join("; and ");
    match failures.into_iter().next_back() {
        Some(last) => Failure { words, ..last },
        None => Failure::ours("no challenge is configured"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_well_comes_first_the_next_time() {
        use Challenge::{Http01, TlsAlpn01};
        let both = [TlsAlpn01, Http01];
        let table = [
            (None, vec![TlsAlpn01, Http01]),
            (Some(ProvenBy::TlsAlpn01), vec![TlsAlpn01, Http01]),
            (Some(ProvenBy::Http01), vec![Http01, TlsAlpn01]),
        ];
        for (proven_by, expected) in table {
            assert_eq!(in_order(&both, proven_by), expected, "{proven_by:?}");
        }
        assert_eq!(in_order(&[TlsAlpn01], Some(ProvenBy::Http01)), [TlsAlpn01]);
    }

    #[test]
    fn every_failed_challenge_is_told_of() {
        let all = joined(vec![Failure::ours("one"), Failure::ours("two")]);
        assert_eq!(all.words, "one; and two");
    }
}
