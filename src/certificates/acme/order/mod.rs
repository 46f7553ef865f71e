//! One order: from the name to the certificate (RFC 8555, section 7.4).
//!
//! 1. [`begin`]: take up the order that a process left behind, or make one and write its URL and the new
//!    certificate's key down before anything else.
//! 2. [`proof`]: offer the proof, tell the CA, and wait for its verdict.
//! 3. Ask for the certificate, wait for it, and check that it is one for this name and key.
//!
//! The offer ends with the order. An order that failed for good is cleaned up at the CA; one that was
//! cut short stays, and is taken up by the next attempt.

mod begin;
mod proof;
mod wait;

use std::sync::Arc;

use instant_acme::{AuthorizationStatus, CertificateIdentifier, Error, Order, OrderStatus};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use tracing::debug;

use self::wait::Wait;
use super::challenge::Challenges;
use super::directory::{Directory, ours, patiently};
use super::problem::{Failure, Kind};
use super::storage::Storage;
use crate::certificates::pair::Pair;
use crate::config::Challenge;

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

/// A name for people and configuration.
pub(super) fn word_of(challenge: Challenge) -> &'static str {
    match challenge {
        Challenge::Http01 => "http-01",
        Challenge::TlsAlpn01 => "tls-alpn-01",
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
