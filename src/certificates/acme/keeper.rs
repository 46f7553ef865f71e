//! One name's certificate, from the first order to the last renewal.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::time::Duration as StdDuration;

use futures_util::FutureExt;
use parking_lot::Mutex;
use time::{Duration, OffsetDateTime};
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};
use uuid::Uuid;

use super::ari::{self, Suggestion};
use super::ledger::{Ledger, ProvenBy};
use super::order::{Issued, Job, word_of};
use super::problem::{Failure, Kind};
use super::schedule::{Decision, Lifetime, Situation, Wish, decide};
use super::verify::{self, Seen};
use super::webhook::Event;
use super::words::{self, shown};
use super::{Shared, Status, serve};
use crate::certificates::pair::Pair;
use crate::certificates::{Certificates, Source};
use crate::config::Challenge;

/// How often storage, schedule and listener are looked at, give or take a tenth: another
/// instance may have renewed, and while a machine sleeps a long timer means nothing.
const LOOK: StdDuration = StdDuration::from_mins(10);
/// How soon to look again while another instance orders, or after a panic.
const SOON: StdDuration = StdDuration::from_secs(10);
/// No pause is shorter, so that no mistake of ours becomes a busy loop.
const SHORTEST: StdDuration = StdDuration::from_millis(100);

/// What keeps one name's certificate fresh.
pub(super) struct Keeper {
    /// Among the served certificates.
    index: usize,
    name: String,
    status: Mutex<Status>,
    wish: Mutex<Wish>,
    wake: Notify,
    /// How many looks have ended without an order, which is when a wish has been answered.
    settled: watch::Sender<u64>,
    /// What could not be written; it counts all the same until this process ends.
    unsaved: Mutex<Option<Ledger>>,
    /// What was said of a refused order, which is said once.
    refused: Mutex<Option<String>>,
}

/// Everything that one look needs.
struct Look<'a> {
    keeper: &'a Keeper,
    shared: &'a Shared,
    certificates: &'a Certificates,
    https: &'a [SocketAddr],
}

impl Keeper {
    pub(super) fn new(index: usize, name: String, stored: Option<Seen>) -> Self {
        Self {
            index,
            name,
            status: Mutex::new(Status {
                stored,
                ..Status::default()
            }),
            wish: Mutex::default(),
            wake: Notify::new(),
            settled: watch::Sender::default(),
            unsaved: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Wishes, and waits until that has led to something. It does so, too, when nobody waits.
    pub(super) async fn fulfil(&self, wish: Wish) {
        let mut settled = self.settled.subscribe();
        {
            let mut wished = self.wish.lock();
            *wished = wish.max(*wished);
        }
        self.wake.notify_one();
        // A look that was under way may end before it has heard of the wish. The sender lives
        // as long as this.
        while settled.changed().await.is_ok() {
            if *self.wish.lock() == Wish::None {
                return;
            }
        }
    }

    /// Tells those who wait that there is nothing more to wait for.
    fn settle(&self) {
        self.settled.send_modify(|looks| *looks += 1);
    }

    /// Has the next look come at once.
    pub(super) fn look_soon(&self) {
        self.wake.notify_one();
    }

    /// Looks again and again, and goes on after a panic.
    pub(super) async fn supervised(
        &self,
        shared: &Shared,
        certificates: &Certificates,
        https: &[SocketAddr],
    ) {
        let look = Look {
            keeper: self,
            shared,
            certificates,
            https,
        };
        loop {
            // Nothing is left half done by a panic that the next look would trust: what counts
            // is in storage, and the locks here hold plain values.
            let pause = AssertUnwindSafe(look.look()).catch_unwind().await;
            let pause = pause.unwrap_or_else(|_| {
                error!(
                    "{}: keeping the certificate fresh failed inside; it goes on",
                    self.name
                );
                SOON
            });
            tokio::select! {
                () = tokio::time::sleep(pause.max(SHORTEST)) => {}
                () = self.wake.notified() => {}
            }
        }
    }
}

impl Look<'_> {
    /// Looks once, and orders if that is due; answers when to look again.
    async fn look(&self) -> StdDuration {
        let name = &self.keeper.name;
        let current = match self.current().await {
            Ok(current) => current,
            Err(error) => {
                self.note_error(&format!("{error:#}"));
                // What cannot be read cannot be replaced either: that answers a wish.
                *self.keeper.wish.lock() = Wish::None;
                self.keeper.settle();
                return LOOK;
            }
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
            Decision::Wait(until) => {
                self.keeper.settle();
                pause(now, until, &ledger)
            }
            Decision::Refuse(_, until) => {
                // A wish that a limit refuses is answered by the refusal.
                *self.keeper.wish.lock() = Wish::None;
                self.keeper.settle();
                pause(now, until, &ledger)
            }
            Decision::Order(_) => {
                // The semaphore is never closed.
                let _permit = self.shared.orders.acquire().await;
                match self.shared.storage.try_lock(name).await {
                    Ok(Some(lock)) => {
                        self.order().await;
                        drop(lock);
                        StdDuration::ZERO
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
        }
    }

    /// The certificate in storage, served if it is not yet: another instance may have got it.
    async fn current(&self) -> anyhow::Result<Option<Pair>> {
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

    async fn ledger(&self) -> Ledger {
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

    async fn save(&self, ledger: &Ledger) -> Result<(), Failure> {
        let saved = self
            .shared
            .storage
            .save_ledger(&self.keeper.name, ledger)
            .await;
        *self.keeper.unsaved.lock() = saved.is_err().then(|| ledger.clone());
        saved.map_err(|error| Failure::ours(format!("{error:#}")))
    }

    fn decide(&self, now: OffsetDateTime, current: Option<&Pair>, ledger: &Ledger) -> Decision {
        let history = ledger.history();
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
                validations: self.shared.settings.challenges.len(),
                wish: *self.keeper.wish.lock(),
            },
        )
    }

    /// Asks the CA when it would like the renewal, if it is time to ask.
    async fn ask_the_ca(&self, current: Option<&Pair>, ledger: &mut Ledger) {
        let Some(leaf) = current.and_then(|pair| pair.certified().cert.first()) else {
            return;
        };
        let Some(identifier) = ari::identifier(leaf) else {
            return;
        };
        let certificate = identifier.to_string();
        let now = OffsetDateTime::now_utc();
        let before = ledger.suggestion.take();
        let fresh = before
            .as_ref()
            .is_some_and(|before| before.certificate == certificate && now < before.ask_again);
        if fresh {
            ledger.suggestion = before;
            return;
        }
        let answer = self.shared.directory.renewal_info(&identifier).await;
        let suggestion = match answer {
            Ok(Some((info, retry_after))) => {
                let suggestion = Suggestion::of(
                    certificate,
                    before.as_ref(),
                    info.window,
                    retry_after,
                    now,
                    random(),
                );
                self.tell_of_suggestion(before.as_ref(), &suggestion, info.explanation.as_deref());
                suggestion
            }
            // No opinion, or no answer: not worth a line; the lifetime says when.
            Ok(None) | Err(_) => Suggestion::unanswered(certificate, before.as_ref(), now),
        };
        ledger.suggestion = Some(suggestion);
        // Lost, it is asked again.
        let _ = self.save(ledger).await;
    }

    fn tell_of_suggestion(
        &self,
        before: Option<&Suggestion>,
        suggestion: &Suggestion,
        explanation: Option<&str>,
    ) {
        let moved = before.is_some_and(|before| {
            before.certificate == suggestion.certificate
                && before.window.is_some()
                && before.window != suggestion.window
        });
        if let (true, Some(chosen)) = (moved, suggestion.chosen) {
            warn!(
                "{}: the CA has moved the time of renewal to {}{}",
                self.keeper.name,
                shown(chosen),
                explanation.map_or(String::new(), |url| format!("; it explains why at {url}"))
            );
        }
    }

    /// Orders, with the lock in hand, if that is still due.
    async fn order(&self) {
        let name = &self.keeper.name;
        let mut ledger = self.ledger().await;
        let current = self.current().await.unwrap_or_default();
        let now = OffsetDateTime::now_utc();
        let Decision::Order(reason) = self.decide(now, current.as_ref(), &ledger) else {
            return;
        };
        *self.keeper.wish.lock() = Wish::None;
        info!(
            "{name}: ordering a certificate from {} ({})",
            self.shared.directory.client.host(),
            words::reason(reason)
        );
        ledger.begin(now);
        let outcome = match self.prepared(&ledger).await {
            Ok(()) => self.tried(current.as_ref(), &mut ledger).await,
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
    }

    /// Nothing is asked of the CA before what it answers can be kept.
    async fn prepared(&self, ledger: &Ledger) -> Result<(), Failure> {
        let storage = &self.shared.storage;
        storage
            .probe(&self.keeper.name)
            .await
            .map_err(|error| Failure::ours(format!("{error:#}")))?;
        self.save(ledger).await
    }

    /// Tries the challenges one after the other, as far as the next one may help, and stores what is issued.
    async fn tried(&self, current: Option<&Pair>, ledger: &mut Ledger) -> Result<Pair, Failure> {
        let shared = self.shared;
        let job = Job {
            directory: &shared.directory,
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

    async fn fail(&self, ledger: &mut Ledger, failure: &Failure, current: Option<&Pair>) {
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

    /// Asks our own listener, and says so when it does not serve what is stored.
    async fn verify(&self, stored: Option<&Pair>) {
        let before = self.keeper.status.lock().served.clone();
        let answer = self.observe().await;
        let (Some(stored), Some(answer)) = (stored.map(|pair| Seen::of(pair.facts())), answer)
        else {
            return;
        };
        let name = &self.keeper.name;
        if answer.serial == stored.serial {
            if before.as_ref() != Some(&answer) {
                info!(
                    "{name}: a handshake with this server got the stored certificate, serial {}",
                    answer.serial
                );
            }
        } else {
            error!(
                "{name}: certificate {} is stored, but a handshake with this server got {}; restart it, and report this as a mistake of unibody",
                stored.serial, answer.serial
            );
        }
    }

    /// What a handshake with ourselves gets, noted as served.
    async fn observe(&self) -> Option<Seen> {
        let address = *self.https.first()?;
        match verify::served(address, &self.keeper.name).await {
            Ok(seen) => {
                self.keeper.status.lock().served = Some(seen.clone());
                Some(seen)
            }
            Err(error) => {
                warn!(
                    "{}: a handshake with this server at {address} failed: {error}",
                    self.keeper.name
                );
                self.keeper.status.lock().served = None;
                None
            }
        }
    }

    /// Tells status and log of a decision that leads to no order.
    fn tell(&self, decision: Decision, ledger: &Ledger) {
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
    async fn tell_of_the_end(
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

    fn note_error(&self, words: &str) {
        let mut status = self.keeper.status.lock();
        if status.last_error.as_deref() != Some(words) {
            warn!("{}: {words}", self.keeper.name);
        }
        status.last_error = Some(words.to_owned());
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
fn lifetime(pair: &Pair) -> Lifetime {
    Lifetime {
        not_before: pair.facts().not_before,
        not_after: pair.facts().not_after,
    }
}

fn identifier_of(pair: &Pair) -> Option<String> {
    let leaf = pair.certified().cert.first()?;
    Some(ari::identifier(leaf)?.to_string())
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

/// Uniform in 0..1.
fn random() -> f64 {
    // 32 of the bits that are random in a UUID of version 4.
    let bits = Uuid::new_v4().as_fields().0;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
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

    #[test]
    fn chance_is_spread_over_the_whole_range() {
        let many: Vec<f64> = (0..1000).map(|_| random()).collect();
        assert!(many.iter().all(|random| (0.0..1.0).contains(random)));
        assert!(many.iter().any(|random| *random < 0.1));
        assert!(many.iter().any(|random| *random > 0.9));
    }
}
