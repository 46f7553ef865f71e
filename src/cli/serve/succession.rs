//! How this process hands its work over to the one after it.

use std::future::pending;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::database::DatabaseSide;
use super::live::Live;
use crate::admin::upgrade::{self, Wish};
use crate::edge::Running;
use crate::edge::bound::Bound;
use crate::handover::leaving::{self, Candidate, Heir, Place};
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
    /// Processes that have begun to serve, and are not to go on.
    departing: JoinSet<()>,
}

/// A process that might take over.
pub(super) struct Request {
    candidate: anyhow::Result<Candidate>,
    patience: Duration,
    watch: Duration,
}

/// Where to say how it went, if anybody asked.
pub(super) struct Reply(Option<oneshot::Sender<Result<Program, String>>>);

/// How this process was relieved.
pub(super) struct Relieved {
    pub(super) by: Heir,
    /// The embedded database is the other process's, too.
    pub(super) of_database: bool,
}

impl Request {
    /// The program is to be started anew; nobody waits for how that goes.
    pub(super) fn by_signal() -> (Self, Reply) {
        (Self::usual(start_candidate()), Reply(None))
    }

    fn usual(candidate: anyhow::Result<Candidate>) -> Self {
        Self {
            candidate,
            patience: upgrade::PATIENCE,
            watch: upgrade::WATCH,
        }
    }
}

impl Reply {
    pub(super) fn tell(self, relieved: &anyhow::Result<Relieved>) {
        if let Some(reply) = self.0 {
            let told = match relieved {
                Ok(relieved) => Ok(relieved.by.program.clone()),
                Err(error) => Err(format!("{error:#}")),
            };
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(told);
        }
    }
}

impl Relieved {
    /// Passes on that a reload is asked for; `false` where this process can't.
    pub(super) fn pass_on_reload(&self) -> bool {
        let pid = self.by.program.pid;
        let is_told = self.by.reload();
        if is_told {
            tracing::info!(
                pid,
                "a reload is asked for: passed on to the process that serves now"
            );
        } else {
            tracing::warn!(
                pid,
                "a reload is asked for, and another process serves now that this one can't tell: ask for it again"
            );
        }
        is_told
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
            departing: JoinSet::new(),
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
    pub(super) async fn asked(&mut self) -> (Request, Reply) {
        let found = async {
            match &self.place {
                Some(place) => place.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            Some(Wish { patience, watch, reply }) = self.wishes.recv() => {
                let candidate = start_candidate();
                (Request { candidate, patience, watch }, Reply(Some(reply)))
            }
            candidate = found => (Request::usual(Ok(candidate)), Reply(None)),
        }
    }

    /// Has the process take over. `hurried` turns true when this one is to stop, and should not stay longer
    /// than it must.
    ///
    /// # Errors
    /// Why this process goes on, as if nothing had been.
    pub(super) async fn hand_over(
        &mut self,
        request: Request,
        live: &Live,
        database: &DatabaseSide,
        mut hurried: watch::Receiver<bool>,
    ) -> anyhow::Result<Relieved> {
        tracing::info!("another process prepares to take over");
        self.systemd.status("another process prepares to take over");
        let Request {
            candidate,
            patience,
            watch,
        } = request;
        let prepare = async {
            let belongings = belongings(&live.edge, self.admin.as_ref(), database)?;
            let successor = candidate?.prepare(&belongings, patience, watch).await?;
            // It goes on with what isn't finished in time.
            let certificates = &live.certificates.certificates;
            anyhow::Ok((successor, certificates.pause_orders(FOR_ORDERS).await))
        };
        let (successor, _orders) = tokio::select! {
            prepared = prepare => prepared?,
            // It serves nobody yet: dropped, it is sent away.
            () = hurry(&mut hurried) => bail!("the server was stopped before it could be upgraded"),
        };
        let of_database = successor.keeps_database();
        match successor.begin(hurry(&mut hurried)).await {
            Ok(by) => {
                live.edge.say_farewell();
                Ok(Relieved { by, of_database })
            }
            Err(relapse) => {
                if let Some(departing) = relapse.departing {
                    self.departing
                        .spawn(departing.gone(live.config.server.drain));
                }
                Err(relapse.reason)
            }
        }
    }

    /// Lets nobody take over any more; returns what waits for processes that still finish what they have
    /// begun. It has an end.
    pub(super) fn close(self) -> JoinSet<()> {
        self.departing
    }
}

/// Resolves when there is hurry.
async fn hurry(hurried: &mut watch::Receiver<bool>) {
    if hurried.wait_for(|hurried| *hurried).await.is_err() {
        // Nobody is left who could be in a hurry.
        pending::<()>().await;
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
