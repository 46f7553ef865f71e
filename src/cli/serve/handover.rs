//! What this process takes over from the one before it, and how it hands over to the one after it.

use std::future::pending;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, oneshot};

use super::database::DatabaseSide;
use super::live::Live;
use crate::admin::upgrade::{self, Wish};
use crate::config::Config;
use crate::edge::Running;
use crate::edge::listeners::{AtHand, Bound};
use crate::handover::arriving::{self, Caller, Predecessor};
use crate::handover::leaving::{self, Candidate, Place};
use crate::handover::notify::Systemd;
use crate::handover::{Belongings, Passed, Program, activation};

/// For orders of certificates that run when another process is about to take over: a CA that comes back
/// then must meet the process that it has answered.
const FOR_ORDERS: Duration = Duration::from_mins(1);

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

/// From where another process comes that takes over from this one.
pub(super) struct Succession {
    wishes: mpsc::Receiver<Wish>,
    place: Option<Place>,
    admin: Option<Bound>,
    systemd: Systemd,
}

/// A process that might take over, and who wants to know how that goes.
pub(super) struct Request {
    candidate: anyhow::Result<Candidate>,
    patience: Duration,
    watch: Duration,
    reply: Option<oneshot::Sender<Result<Program, String>>>,
}

/// How this process was relieved.
pub(super) struct Relieved {
    pub(super) by: Program,
    /// The embedded database is the other process's, too.
    pub(super) of_database: bool,
}

impl Request {
    /// The program is to be started anew.
    pub(super) fn by_signal() -> Self {
        Self {
            candidate: start_candidate(),
            patience: upgrade::PATIENCE,
            watch: upgrade::WATCH,
            reply: None,
        }
    }
}

impl Succession {
    /// `admin` is the socket of the admin listener.
    pub(super) fn new(
        wishes: mpsc::Receiver<Wish>,
        admin: Option<&Bound>,
        systemd: &Systemd,
    ) -> anyhow::Result<Self> {
        let admin = admin.map(Bound::share).transpose();
        Ok(Self {
            wishes,
            place: None,
            admin: admin.context("the admin listener's socket can't be shared")?,
            systemd: systemd.clone(),
        })
    }

    /// Lets processes that somebody else starts find this one. Without that it can still start its own
    /// successor.
    pub(super) fn be_found(&mut self, data_dir: &Path) {
        match leaving::be_found(data_dir) {
            Ok(place) => self.place = Some(place),
            Err(error) => tracing::warn!("{error:#}"),
        }
    }

    /// The next process that might take over.
    pub(super) async fn asked(&mut self) -> Request {
        let found = async {
            match &self.place {
                Some(place) => place.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(Wish { patience, watch, reply }) = self.wishes.recv() => Request {
                candidate: start_candidate(),
                patience,
                watch,
                reply: Some(reply),
            },
            candidate = found => Request {
                candidate: Ok(candidate),
                patience: upgrade::PATIENCE,
                watch: upgrade::WATCH,
                reply: None,
            },
        }
    }

    /// Has the process take over; `None` when this one goes on, as if nothing had been. `hurry` resolves
    /// when this one should not stay longer than it must.
    pub(super) async fn hand_over(
        &self,
        request: Request,
        live: &Live,
        database: &DatabaseSide,
        hurry: impl Future<Output = ()>,
    ) -> Option<Relieved> {
        tracing::info!("another process prepares to take over");
        self.systemd.status("another process prepares to take over");
        let Request {
            candidate,
            patience,
            watch,
            reply,
        } = request;
        let relieved = async {
            let belongings = belongings(&live.edge, self.admin.as_ref(), database)?;
            let successor = candidate?.prepare(&belongings, patience, watch).await?;
            // It goes on with what isn't finished in time.
            let certificates = &live.certificates.certificates;
            let _orders = certificates.pause_orders(FOR_ORDERS).await;
            let of_database = successor.keeps_database();
            let by = successor.begin(hurry).await?;
            live.edge.say_farewell();
            anyhow::Ok(Relieved { by, of_database })
        };
        let relieved = relieved.await;
        match &relieved {
            Ok(relieved) => {
                let Program { pid, version } = &relieved.by;
                tracing::info!(pid, version, "another process has taken over");
                self.systemd.handed_over(*pid);
            }
            Err(error) => {
                tracing::error!("not handed over, this process goes on: {error:#}");
                self.systemd.status("serving; the last upgrade failed");
            }
        }
        if let Some(reply) = reply {
            let told = match &relieved {
                Ok(relieved) => Ok(relieved.by.clone()),
                Err(error) => Err(format!("{error:#}")),
            };
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(told);
        }
        relieved.ok()
    }
}

/// Starts the program anew, as the process that is to take over.
fn start_candidate() -> anyhow::Result<Candidate> {
    if ends_its_container() {
        bail!(
            "the container ends with this process. On the host's network start a container of the new image beside it, with `serve --take-over`, otherwise replace this one (docs/upgrade.md, \"Containers\")"
        );
    }
    Candidate::start()
}

/// Whether a container ends with this process: it is the first there, or the child of a small init that
/// ends with its child.
fn ends_its_container() -> bool {
    std::process::id() == 1
        || std::os::unix::process::parent_id() == 1
            && std::fs::read_to_string("/proc/1/comm").is_ok_and(|name| is_small_init(name.trim()))
}

fn is_small_init(name: &str) -> bool {
    [
        "docker-init",
        "podman-init",
        "catatonit",
        "tini",
        "dumb-init",
    ]
    .contains(&name)
}

fn belongings(
    running: &Running,
    admin: Option<&Bound>,
    database: &DatabaseSide,
) -> anyhow::Result<Belongings> {
    let share = |bound: &Bound| {
        Ok(Passed {
            asked: bound.asked,
            socket: bound.as_fd().try_clone_to_owned()?.into(),
        })
    };
    let sockets = running.sockets().chain(admin).map(share);
    let sockets = sockets
        .collect::<std::io::Result<_>>()
        .context("the sockets can't be shared: is the limit of open files (ulimit -n) too low?")?;
    Ok(Belongings {
        sockets,
        lock: database.share_lock()?,
    })
}
