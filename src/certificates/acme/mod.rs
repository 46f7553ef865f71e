//! `tls.mode = "acme"`: certificates that a CA issues ([RFC 8555](https://www.rfc-editor.org/rfc/rfc8555)),
//! renewed in time and seen to be served.
//!
//! The story of one name; [`keeper`] tells it for each name on its own:
//! 1. At the start the last certificate in [`storage`] is served, or a throwaway self-signed one.
//!    Nothing waits for the CA.
//! 2. [`schedule`] decides, from the certificate, the CA's suggestion ([`ari`]) and the [`ledger`],
//!    whether to order now or when to look again.
//! 3. An order ([`order`]) proves the name through a [`challenge`] that the listeners answer. What goes
//!    wrong gets its words in [`problem`]; the other kind of challenge is tried where it may help.
//! 4. The certificate is stored, served from the next handshake on, and asked for in a handshake
//!    with ourselves ([`verify`]): stored and served are two facts.
//!
//! Where several instances share a database, [`instances`] keeps them together. [`directory`] is the CA and our account there, [`client`] the way to it.

pub mod ari;
pub mod challenge;
mod client;
mod directory;
pub mod inspect;
mod instances;
mod keeper;
pub mod ledger;
mod order;
pub mod problem;
pub mod schedule;
pub mod storage;
pub mod verify;
mod webhook;
mod words;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tokio::sync::watch::Receiver;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::warn;

pub use self::challenge::Challenges;
use self::directory::Directory;
use self::instances::InDatabase;
use self::keeper::Keeper;
use self::ledger::Ledger;
pub use self::schedule::Wish;
pub(super) use self::storage::PLACE;
use self::storage::{Files, Storage};
pub(crate) use self::verify::observing_client;
pub use self::verify::{Listener, Seen};
use self::webhook::{Event, Webhook};
use super::pair::Pair;
use super::{Certificates, Renewed, Served, Source, self_signed};
use crate::config::{Acme, AcmeStorage, Config, HostPattern};
use crate::database::Database;
use crate::supervised::{PAUSES, supervised};

/// Orders that run at once; a server with a thousand names must not fall upon its CA.
const ORDERS_AT_ONCE: usize = 4;

/// How long a person may have to wait for an order: two challenges, each tried for a minute or so.
const LONGEST_WAIT: Duration = Duration::from_mins(3);

/// The certificates of one configuration, and what keeps them fresh. `keepers` and the served
/// certificates have the same order.
pub(super) struct Managed {
    shared: Arc<Shared>,
    keepers: Vec<Arc<Keeper>>,
    /// Of several instances on one database.
    instances: Option<Arc<InDatabase>>,
}

/// As long as it lives, no order begins.
#[derive(Debug)]
pub struct Pause<'a>(#[expect(dead_code, reason = "held")] SemaphorePermit<'a>);

/// What the keepers of all names share.
struct Shared {
    settings: Acme,
    directory: Directory,
    storage: Arc<dyn Storage>,
    challenges: Arc<Challenges>,
    orders: Semaphore,
    /// Held while what was ordered for all names is counted, and a new order added to it.
    counting: tokio::sync::Mutex<()>,
    webhook: Option<Webhook>,
}

impl Shared {
    /// Tells `acme.webhook`, if there is one. Never waits.
    fn tell(&self, name: &str, event: Event) {
        if let Some(webhook) = &self.webhook {
            webhook.tell(name, event);
        }
    }
}

/// What is known of one name's certificate beside what is served.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The certificate in storage.
    pub stored: Option<Seen>,
    /// The certificate that a handshake with ourselves got, the last time it was tried.
    pub served: Option<Seen>,
    /// When the next order is due, or may be tried again.
    pub next_attempt: Option<OffsetDateTime>,
    /// Why the last order failed, or why there is none; `None` when all is well.
    pub last_error: Option<String>,
}

impl Managed {
    /// Loads what is there, without waiting for anybody; takes what is `known` where nothing is to be
    /// read, and makes throwaway certificates for the rest.
    pub(super) fn load<'a>(
        config: &Config,
        challenges: Arc<Challenges>,
        known: impl Iterator<Item = &'a Served>,
    ) -> anyhow::Result<(Self, Vec<Served>)> {
        let known: Vec<_> = known.filter(|known| known.source == Source::Acme).collect();
        let acme = &config.acme;
        let files = Files::new(
            &config.tls.certs_dir,
            &acme.directory,
            acme.email.as_deref(),
        );
        let mut keepers = Vec::new();
        let mut served = Vec::new();
        for (index, name) in config.acme_hosts().into_iter().enumerate() {
            let stored = files.load(&name).unwrap_or_else(|error| {
                warn!("{name}: the stored certificate cannot be read: {error:#}");
                None
            });
            let seen = stored.as_ref().map(|pair| Seen::of(pair.facts()));
            let hosts = [HostPattern::Exact(name.clone())];
            let known = || known.iter().find(|known| known.hosts == hosts);
            served.push(match (stored, known()) {
                (Some(pair), _) => serve(&name, pair),
                (None, Some(&known)) => known.clone(),
                (None, None) => throwaway(&name)?,
            });
            keepers.push(Arc::new(Keeper::new(index, name, seen)));
        }
        let instances = (acme.storage == AcmeStorage::Database).then(|| {
            let (files, challenges) = (files.clone(), Arc::clone(&challenges));
            let email = acme.email.as_deref();
            Arc::new(InDatabase::new(files, &acme.directory, email, challenges))
        });
        let storage: Arc<dyn Storage> = match &instances {
            Some(instances) => Arc::clone(instances) as _,
            None => Arc::new(files),
        };
        let shared = Shared {
            settings: acme.clone(),
            directory: Directory::new(acme)?,
            storage,
            challenges,
            orders: Semaphore::new(ORDERS_AT_ONCE),
            counting: tokio::sync::Mutex::default(),
            webhook: acme
                .webhook
                .as_ref()
                .map(|url| Webhook::new(url, acme.ca_file.as_deref()))
                .transpose()?,
        };
        let shared = Arc::new(shared);
        let managed = Self {
            shared,
            keepers,
            instances,
        };
        Ok((managed, served))
    }

    /// Whether it is the CA, and the storage, that `acme` names.
    pub(super) fn asks_the_same(&self, acme: &Acme) -> bool {
        let settings = &self.shared.settings;
        (&settings.directory, settings.storage) == (&acme.directory, acme.storage)
    }

    /// Keeps every name's certificate fresh until `shutdown` says true or its sender is gone, or until
    /// all orders are at their end after these certificates were retired; then it
    /// tells `acme.webhook` what is left to tell, however long that takes. `https` is where our own
    /// listeners are.
    pub(super) async fn run(
        &self,
        certificates: &Arc<Certificates>,
        https: Vec<Listener>,
        mut shutdown: Receiver<bool>,
    ) {
        let https: Arc<[Listener]> = https.into();
        let mut tasks = JoinSet::new();
        let mut others = JoinSet::new();
        for keeper in &self.keepers {
            let (keeper, shared) = (Arc::clone(keeper), Arc::clone(&self.shared));
            let (certificates, https) = (Arc::clone(certificates), Arc::clone(&https));
            let retired = certificates.is_retired.subscribe();
            tasks.spawn(async move {
                let keep = || keeper.run(&shared, &certificates, &https, retired.clone());
                supervised(keeper.name(), &certificates.panics, PAUSES, keep).await;
            });
        }
        if let Some(instances) = &self.instances {
            let (instances, keepers) = (Arc::clone(instances), self.keepers.clone());
            let certificates = Arc::clone(certificates);
            others.spawn(async move {
                let look = |name: Option<&str>| {
                    for keeper in &keepers {
                        if name.is_none_or(|name| name == keeper.name()) {
                            keeper.look_soon();
                        }
                    }
                };
                let what = "following the other instances";
                let follow = || instances.follow(look);
                supervised(what, &certificates.panics, PAUSES, follow).await;
            });
        }
        let telling = supervised("acme.webhook", &certificates.panics, PAUSES, async || {
            if let Some(webhook) = &self.shared.webhook {
                webhook.run().await;
            }
        });
        let stopped = async {
            tokio::select! {
                _ = shutdown.wait_for(|stop| *stop) => {}
                // Each ends when it is retired.
                () = async { while tasks.join_next().await.is_some() {} } => {}
            }
            // No order goes on; what runs is taken up at the next start.
            tasks.shutdown().await;
            others.shutdown().await;
            if let Some(webhook) = &self.shared.webhook {
                webhook.close();
            }
        };
        tokio::join!(telling, stopped);
    }

    /// Where instances meet, if they do.
    pub(super) fn use_database(&self, database: Database) {
        if let Some(instances) = &self.instances {
            instances.use_database(database);
        }
    }

    /// Lets no order begin, and waits until none runs, for at most `patience`; `None` when that wasn't
    /// enough.
    pub(super) async fn pause_orders(&self, patience: Duration) -> Option<Pause<'_>> {
        let all = u32::try_from(ORDERS_AT_ONCE).unwrap_or(u32::MAX);
        let permits = timeout(patience, self.shared.orders.acquire_many(all)).await;
        // The semaphore is never closed.
        permits.ok()?.ok().map(Pause)
    }

    /// What is known of the certificate at `index`.
    pub(super) fn status(&self, index: usize) -> Status {
        self.keepers[index].status()
    }

    /// Has a new certificate ordered for `name`, and waits for the end of it.
    pub(super) async fn renew(&self, name: &str, wish: Wish) -> Renewed {
        let keeper = self.keepers.iter().find(|keeper| keeper.name() == name);
        let Some(keeper) = keeper else {
            return Renewed::Unknown;
        };
        let before = keeper.status().stored;
        if timeout(LONGEST_WAIT, keeper.fulfil(wish)).await.is_err() {
            return Renewed::Running;
        }
        let status = keeper.status();
        match status.stored {
            Some(stored) if Some(&stored) != before.as_ref() => Renewed::Issued(stored),
            _ => Renewed::Failed(
                status
                    .last_error
                    .unwrap_or_else(|| "there is no new certificate; the log tells why".to_owned()),
            ),
        }
    }
}

impl fmt::Debug for Managed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Managed")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// What lies on disk for `name`, read and nothing else: a server may be at work there.
pub(super) fn look(
    certs_dir: &Path,
    acme: &Acme,
    name: &str,
) -> (anyhow::Result<Option<Pair>>, Ledger) {
    Files::new(certs_dir, &acme.directory, acme.email.as_deref()).look(name)
}

/// A certificate of the CA, ready to serve.
fn serve(name: &str, pair: Pair) -> Served {
    Served {
        hosts: vec![HostPattern::Exact(name.to_owned())],
        pair,
        source: Source::Acme,
        last_error: None,
    }
}

/// A certificate that nobody trusts, so that there is HTTPS at all: clients may insist on it,
/// and the CA's proof needs a listener.
fn throwaway(name: &str) -> anyhow::Result<Served> {
    let names = [name.to_owned()].into();
    let (chain, key) = self_signed::issue(&names, OffsetDateTime::now_utc())?;
    Ok(Served {
        source: Source::SelfSigned,
        ..serve(name, Pair::parse(chain.as_bytes(), key.as_bytes())?)
    })
}
