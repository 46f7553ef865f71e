//! How this process hands its work over to the one after it.

use std::future::pending;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, oneshot};

use super::database::DatabaseSide;
use super::live::Live;
use crate::admin::upgrade::{self, Wish};
use crate::edge::Running;
use crate::edge::listeners::Bound;
use crate::handover::leaving::{self, Candidate, Place};
use crate::handover::notify::Systemd;
use crate::handover::{Belongings, Passed, Program};

/// For orders of certificates that run when another process is about to take over: a CA that comes back
/// then must meet the process that it has answered.
const FOR_ORDERS: Duration = Duration::from_mins(1);

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
