//! That the name leads here: the proof is put on offer, the CA is told, and its verdict awaited.

use instant_acme::{AuthorizationStatus, ChallengeStatus, ChallengeType, Order};

use super::wait::Wait;
use super::{Job, word_of};
use crate::certificates::acme::challenge::{Offer, Proof, ProofKind};
use crate::certificates::acme::directory::{ours, patiently};
use crate::certificates::acme::problem::{Failure, Kind};
use crate::config::Challenge;

impl Job<'_> {
    /// Shows the CA that the name leads here. An order has one name, and so one authorization.
    pub(super) async fn prove(
        &self,
        order: &mut Order,
        challenge: Challenge,
    ) -> Result<(), Failure> {
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
}

fn kind_of(challenge: Challenge) -> ChallengeType {
    match challenge {
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
    }
}
