//! The order to see through: one that was left behind, or a new one.

use std::net::IpAddr;

use instant_acme::{Account, Error, Identifier, NewOrder, Order, OrderStatus, Problem};
use rcgen::KeyPair;
use tracing::{debug, info};

use super::{Job, refused};
use crate::certificates::acme::directory::{ours, patiently};
use crate::certificates::acme::problem::{Failure, Kind};
use crate::certificates::acme::storage::RunningOrder;

impl Job<'_> {
    /// The order to see through, and the key of its certificate.
    pub(super) async fn ordered(&self, account: &Account) -> Result<(Order, String), Failure> {
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
}

/// How the CA calls `name`.
fn identifier(name: &str) -> Identifier {
    match name.parse::<IpAddr>() {
        Ok(address) => Identifier::Ip(address),
        Err(_) => Identifier::Dns(name.to_owned()),
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
