//! What this process takes over from the one before it.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, bail};

use super::database::DatabaseSide;
use crate::config::Config;
use crate::edge::bound::{AtHand, Bound};
use crate::handover::arriving::{self, Caller, Predecessor};
use crate::handover::notify::Systemd;
use crate::handover::{Passed, activation};

/// What a process begins with besides its configuration.
pub(super) struct Gifts {
    caller: Option<Caller>,
    activated: Vec<Passed>,
}

/// How this process comes into its place.
pub(super) struct Arrival {
    predecessor: Option<Predecessor>,
    /// Sockets that are bound already.
    pub(super) sockets: AtHand,
    /// The lock of the embedded database.
    pub(super) lock: Option<OwnedFd>,
    is_activated: bool,
}

impl Gifts {
    /// Takes what this process was started with. To be called before there is another thread.
    pub(super) fn take() -> anyhow::Result<Self> {
        Ok(Self {
            caller: arriving::caller()?,
            activated: activation::sockets()?,
        })
    }

    /// Tells whoever has started this process that it won't serve.
    pub(super) fn failed(self, reason: &str) {
        if let Some(caller) = self.caller {
            caller.failed(reason);
        }
    }
}

impl Arrival {
    /// Takes what the process before this one hands over, where there is one: it has started this one,
    /// or is to be found (`serve --take-over`).
    pub(super) async fn begin(
        gifts: Gifts,
        config: &Config,
        take_over: bool,
    ) -> anyhow::Result<Self> {
        let predecessor = match gifts.caller {
            Some(caller) => Some(caller.listen()?),
            None if take_over => arriving::find(&config.server.data_dir).await?,
            None => None,
        };
        let mut arrival = Self {
            predecessor,
            sockets: AtHand::nothing(),
            lock: None,
            is_activated: !gifts.activated.is_empty(),
        };
        match arrival.take(gifts.activated).await {
            Ok(()) => Ok(arrival),
            Err(error) => {
                arrival.failed(Some(&error)).await;
                Err(error)
            }
        }
    }

    async fn take(&mut self, activated: Vec<Passed>) -> anyhow::Result<()> {
        let mut passed = activated;
        if let Some(predecessor) = &mut self.predecessor {
            let belongings = predecessor.belongings().await?;
            passed.extend(belongings.sockets);
            self.lock = belongings.lock;
        }
        let adopt = |passed: Passed| {
            Bound::adopt(passed.asked, passed.socket)
                .with_context(|| format!("the socket of {} can't be taken over", passed.asked))
        };
        let sockets = passed.into_iter().map(adopt);
        self.sockets = AtHand::of(sockets.collect::<anyhow::Result<_>>()?);
        Ok(())
    }

    /// Lets go of sockets that this configuration has no use for.
    pub(super) fn settle(&mut self) -> anyhow::Result<()> {
        let sockets = std::mem::take(&mut self.sockets);
        let left: Vec<_> = sockets.left().map(|address| address.to_string()).collect();
        // Another configuration than the last process had may well listen elsewhere; but systemd would
        // hold the port, and clients would wait for ever.
        if self.is_activated && self.predecessor.is_none() && !left.is_empty() {
            bail!(
                "systemd passes a socket for {}, where this configuration doesn't listen: name the same address in server.http, server.https or server.admin, or take ListenStream= out of the .socket unit",
                left.join(" and for ")
            );
        }
        Ok(())
    }

    /// Whether another process serves until this one does.
    pub(super) fn is_awaited(&self) -> bool {
        self.predecessor.is_some()
    }

    /// Waits until this process may serve: at once, where there is none before it.
    pub(super) async fn ready(&self, database: &DatabaseSide) -> anyhow::Result<()> {
        match &self.predecessor {
            Some(predecessor) => predecessor.ready(database.is_taken_over()).await,
            None => Ok(()),
        }
    }

    /// Tells the process before this one that its work is done, and returns when it has left: until then
    /// it would go on if this one did not.
    ///
    /// # Errors
    /// It does go on.
    pub(super) async fn serving(&mut self, systemd: &Systemd) -> anyhow::Result<()> {
        match &self.predecessor {
            Some(predecessor) => predecessor.serving().await?,
            None => systemd.ready(),
        }
        self.predecessor = None;
        Ok(())
    }

    /// Tells the process before this one, if it still waits, that it has to go on.
    pub(super) async fn failed(&mut self, error: Option<&anyhow::Error>) {
        if let Some(predecessor) = self.predecessor.take() {
            let reason = match error {
                Some(error) => format!("{error:#}"),
                None => "the new process was asked to stop".to_owned(),
            };
            predecessor.failed(&reason).await;
        }
    }
}
