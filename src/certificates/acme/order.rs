//! One order: from the name to the certificate (RFC 8555, section 7.4).
//!
//! 1. Take up the order that a process left behind, or make one and write its URL and the new
//!    certificate's key down before anything else.
//! 2. Offer the proof, tell the CA, and wait for its verdict.
//! 3. Ask for the certificate, wait for it, and check that it is one for this name and key.
//!
//! The offer ends with the order. An order that failed for good is cleaned up at the CA; one that was
//! cut short stays, and is taken up by the next attempt.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeStatus, ChallengeType, Error,
    Identifier, NewOrder, Order, OrderStatus, Problem,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tokio::time::{Instant, sleep};
use tracing::{debug, info};

use super::challenge::{Challenges, Offer, Proof, ProofKind};
use super::directory::{Directory, ours, patiently};
use super::problem::{Failure, Kind};
use super::storage::{RunningOrder, Storage};
use crate::certificates::pair::Pair;
use crate::config::Challenge;

/// For the CA's verdict, and again for the certificate.
const PATIENCE: Duration = Duration::from_mins(2);
/// Between the first two looks; each pause is longer than the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause, whatever the CA asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// What an order needs.
pub(super) struct Job<'a> {
    pub(super) directory: &'a Directory,
    pub(super) storage: &'a dyn Storage,
    pub(super) challenges: &'a Arc<Challenges>,
    /// DNS name or address.
    pub(super) name: &'a str,
    pub(super) profile: Option<&'a str>,
    /// The certificate that the new one takes the place of (RFC 9773, section 5).
    pub(super) replaces: Option<CertificateIdentifier<'static>>,
}

/// What an order gave, checked to belong together.
pub(super) struct Issued {
    pub(super) chain: String,
    pub(super) key: String,
}

impl Job<'_> {
    /// Gets a certificate, proving the name by `challenge`.
    pub(super) async fn run(&self, challenge: Challenge) -> Result<Issued, Failure> {
        let account = self.directory.account(self.storage).await?;
        let ordered = match self.ordered(&account).await {
            // The account is looked up by its key, so a CA that lost it says so here first.
            Err(failure) if failure.kind == Kind::AccountGone => {
                self.directory.forget(self.storage, &account).await?;
                self.forget().await?;
                let account = self.directory.account(self.storage).await?;
                self.ordered(&account).await
            }
            ordered => ordered,
        };
        let (mut order, key) = ordered?;
        match self.see_through(&mut order, &key, challenge).await {
            Ok(issued) => Ok(issued),
            Err(failure) => {
                if failure.kind != Kind::Later {
                    clean_up(&mut order).await;
                    self.forget().await?;
                }
                Err(failure)
            }
        }
    }

    /// Forgets the running order: its certificate is stored, or will never be.
    pub(super) async fn forget(&self) -> Result<(), Failure> {
        self.storage.save_order(self.name, None).await.map_err(ours)
    }

    /// The order to see through, and the key of its certificate.
    async fn ordered(&self, account: &Account) -> Result<(Order, String), Failure> {
        if let Some(running) = self.storage.order(self.name).await.map_err(ours)? {
            if let Some(order) = self.resumed(account, &running).await? {
                return Ok((order, running.key));
            }
            self.forget().await?;
        }
        let key = KeyPair::generate()
            .map_err(|error| Failure::ours(format!("cannot make a P-256 key: {error}")))?
            .serialize_pem();
        let order = self.new_order(account).await?;
        let running = RunningOrder {
            url: order.url().to_owned(),
            key,
        };
        self.storage
            .save_order(self.name, Some(&running))
            .await
            .map_err(ours)?;
        Ok((order, running.key))
    }

    /// The order that was left behind, unless nothing can come of it any more.
    async fn resumed(
        &self,
        account: &Account,
        running: &RunningOrder,
    ) -> Result<Option<Order>, Failure> {
        match patiently!(account.order(running.url.clone())) {
            Ok(mut order) => {
                let usable = order.state().status != OrderStatus::Invalid;
                if usable {
                    info!(
                        "{}: taking up the order that was left unfinished",
                        self.name
                    );
                }
                Ok(usable.then_some(order))
            }
            Err(error) => match self.failure(&error) {
                failure if matches!(failure.kind, Kind::Later | Kind::AccountGone) => Err(failure),
                _ => Ok(None),
            },
        }
    }

    async fn new_order(&self, account: &Account) -> Result<Order, Failure> {
        self.check_profile(account)?;
        let identifiers = [identifier(self.name)];
        let new = || {
            let new = NewOrder::new(&identifiers);
            match self.profile {
                Some(profile) => new.profile(profile),
                None => new,
            }
        };
        if let Some(replaces) = &self.replaces {
            match patiently!(account.new_order(&new().replaces(replaces.clone()))) {
                Ok(order) => return Ok(order),
                Err(error) if may_be_replaces(&error) => {
                    debug!(%error, "the CA wants an order without `replaces`");
                }
                Err(error) => return Err(self.failure(&error)),
            }
        }
        patiently!(account.new_order(&new())).map_err(|error| self.failure(&error))
    }

    /// Only what the directory lists may be asked for, and the list is what helps whoever mistyped it.
    fn check_profile(&self, account: &Account) -> Result<(), Failure> {
        let Some(profile) = self.profile else {
            return Ok(());
        };
        let mut offered: Vec<_> = account.profiles().map(|offer| offer.name).collect();
        if offered.contains(&profile) {
            return Ok(());
        }
        offered.sort_unstable();
        let offered = match offered.as_slice() {
            [] => "it offers no profiles; remove acme.profile".to_owned(),
            some => format!("it offers {}", some.join(", ")),
        };
        let ca = self.directory.client.host();
        Err(refused(format!(
            "the CA ({ca}) has no profile \"{profile}\" (acme.profile); {offered}"
        )))
    }

    async fn see_through(
        &self,
        order: &mut Order,
        key: &str,
        challenge: Challenge,
    ) -> Result<Issued, Failure> {
        let mut wait = Wait::new(self);
        let mut proven = false;
        loop {
            match order.state().status {
                OrderStatus::Pending if !proven => {
                    self.prove(order, challenge).await?;
                    proven = true;
                    wait = Wait::new(self);
                    self.refresh(order).await?;
                }
                OrderStatus::Pending | OrderStatus::Processing => {
                    wait.pause().await?;
                    self.refresh(order).await?;
                }
                OrderStatus::Ready => {
                    let request = signing_request(self.name, key)?;
                    patiently!(order.finalize_csr(&request))
                        .map_err(|error| self.failure(&error))?;
                }
                OrderStatus::Valid => return self.download(order, key).await,
                OrderStatus::Invalid => {
                    let problem = order.state().error.clone();
                    return Err(Failure::unproven(self.name, challenge, problem.as_ref()));
                }
            }
        }
    }

    /// Shows the CA that the name leads here. An order has one name, and so one authorization.
    async fn prove(&self, order: &mut Order, challenge: Challenge) -> Result<(), Failure> {
        patiently!(async {
            match order.authorizations().next().await {
                Some(Err(error)) => Err(error),
                _ => Ok(()),
            }
        })
        .map_err(|error| self.failure(&error))?;
        let Some(offer) = self.offer(order, challenge).await? else {
            return Ok(());
        };
        let verdict = self.verdict(order, challenge).await;
        drop(offer);
        // What cannot be taken back is void soon.
        let _ = self.storage.withdraw(self.name).await;
        verdict
    }

    /// Puts the proof on offer and tells the CA; `None` when the CA needs none.
    async fn offer(
        &self,
        order: &mut Order,
        challenge: Challenge,
    ) -> Result<Option<Offer>, Failure> {
        let mut authorizations = order.authorizations();
        let Some(Ok(mut authorization)) = authorizations.next().await else {
            return Err(Failure::ours("the CA's order has no authorization"));
        };
        if authorization.status == AuthorizationStatus::Valid {
            return Ok(None);
        }
        let Some(mut handle) = authorization.challenge(kind_of(challenge)) else {
            return Err(Failure {
                words: format!(
                    "the CA does not offer {} for {}",
                    word_of(challenge),
                    self.name
                ),
                kind: Kind::Unproven,
                retry_after: None,
            });
        };
        let authorization = handle.key_authorization();
        let offer = match challenge {
            Challenge::Http01 => {
                self.challenges
                    .offer_http(self.name, &handle.token, authorization.as_str())
            }
            Challenge::TlsAlpn01 => self
                .challenges
                .offer_tls(self.name, authorization.digest().as_ref())
                .map_err(ours)?,
        };
        let proof = Proof {
            name: self.name.to_owned(),
            kind: match challenge {
                Challenge::Http01 => ProofKind::Http {
                    token: handle.token.clone(),
                    key_authorization: authorization.as_str().to_owned(),
                },
                Challenge::TlsAlpn01 => ProofKind::Tls {
                    digest: authorization.digest().as_ref().to_vec(),
                },
            },
        };
        // The CA may come to any instance, and from several places at once.
        self.storage.offer(&proof).await.map_err(ours)?;
        // One that was told before a crash is looked at already.
        if handle.status == ChallengeStatus::Pending {
            patiently!(handle.set_ready()).map_err(|error| {
                Failure::of_challenge(&error, &self.directory.client, self.name, challenge)
            })?;
        }
        Ok(Some(offer))
    }

    /// Waits until the CA has made up its mind.
    async fn verdict(&self, order: &mut Order, challenge: Challenge) -> Result<(), Failure> {
        let mut wait = Wait::new(self);
        loop {
            wait.pause().await?;
            let mut authorizations = order.authorizations();
            let Some(Ok(mut authorization)) = authorizations.next().await else {
                return Err(Failure::ours("the CA's order has no authorization"));
            };
            patiently!(async { authorization.refresh().await.map(drop) })
                .map_err(|error| self.failure(&error))?;
            match authorization.status {
                AuthorizationStatus::Valid => return Ok(()),
                AuthorizationStatus::Pending => {}
                _ => {
                    let problem = authorization
                        .challenges
                        .iter()
                        .find_map(|challenge| challenge.error.clone());
                    return Err(Failure::unproven(self.name, challenge, problem.as_ref()));
                }
            }
        }
    }

    async fn download(&self, order: &mut Order, key: &str) -> Result<Issued, Failure> {
        let chain = patiently!(order.certificate()).map_err(|error| self.failure(&error))?;
        let chain =
            chain.ok_or_else(|| refused("the CA's order is valid but has no certificate"))?;
        let pair = Pair::parse(chain.as_bytes(), key.as_bytes())
            .map_err(|error| refused(format!("the CA's certificate cannot be served: {error}")))?;
        if !pair.facts().names.contains(self.name) {
            return Err(refused(format!(
                "the CA's certificate is not for {}",
                self.name
            )));
        }
        Ok(Issued {
            chain,
            key: key.to_owned(),
        })
    }

    async fn refresh(&self, order: &mut Order) -> Result<(), Failure> {
        patiently!(async { order.refresh().await.map(drop) }).map_err(|error| self.failure(&error))
    }

    fn failure(&self, error: &Error) -> Failure {
        Failure::of(error, &self.directory.client)
    }
}

/// Pauses between looks, as the CA asks for them, within limits.
struct Wait<'a> {
    job: &'a Job<'a>,
    pause: Duration,
    deadline: Instant,
}

impl<'a> Wait<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        Self {
            job,
            pause: FIRST_PAUSE,
            deadline: Instant::now() + PATIENCE,
        }
    }

    async fn pause(&mut self) -> Result<(), Failure> {
        if Instant::now() > self.deadline {
            return Err(self.job.failure(&Error::Timeout(None)));
        }
        let asked = self.job.directory.client.retry_after();
        sleep(asked.map_or(self.pause, |asked| asked.clamp(FIRST_PAUSE, LONGEST_PAUSE))).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Ok(())
    }
}

/// How the CA calls `name`.
fn identifier(name: &str) -> Identifier {
    match name.parse::<IpAddr>() {
        Ok(address) => Identifier::Ip(address),
        Err(_) => Identifier::Dns(name.to_owned()),
    }
}

/// A name for people and configuration.
pub(super) fn word_of(challenge: Challenge) -> &'static str {
    match challenge {
        Challenge::Http01 => "http-01",
        Challenge::TlsAlpn01 => "tls-alpn-01",
    }
}

fn kind_of(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}

/// Whether an order may have been refused for its `replaces`: then it is made without. The library
/// tells some of it in other ways than as a problem.
fn may_be_replaces(error: &Error) -> bool {
    match error {
        Error::Api(Problem { status, r#type, .. }) => {
            let limited = r#type
                .as_deref()
                .is_some_and(|kind| kind.ends_with(":rateLimited"));
            let gone = r#type
                .as_deref()
                .is_some_and(|kind| kind.ends_with(":accountDoesNotExist"));
            !limited && !gone && status.is_none_or(|status| status < 500 && status != 429)
        }
        Error::Unsupported(_) => true,
        Error::Other(error) => error.to_string().contains("replaces"),
        _ => false,
    }
}

fn refused(words: impl Into<String>) -> Failure {
    Failure {
        kind: Kind::Refused,
        ..Failure::ours(words)
    }
}

fn signing_request(name: &str, key: &str) -> Result<Vec<u8>, Failure> {
    let make = || {
        let key = KeyPair::from_pem(key)?;
        let mut params = CertificateParams::new([name.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&key)
    };
    let request = make().map_err(|error: rcgen::Error| {
        refused(format!(
            "cannot make a certificate request for {name}: {error}"
        ))
    })?;
    Ok(request.der().to_vec())
}

/// Takes back what is still pending at the CA, so that it counts towards no limit. What fails here
/// expires by itself.
async fn clean_up(order: &mut Order) {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let refreshed = patiently!(async { authorization.refresh().await.map(drop) });
        if refreshed.is_ok() && authorization.status == AuthorizationStatus::Pending {
            let taken_back = patiently!(async { authorization.deactivate().await.map(drop) });
            if let Err(error) = taken_back {
                debug!(%error, "a pending authorization cannot be deactivated");
            }
        }
    }
}
