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
use crate::handover::arriving;
use crate::handover::leaving::{self, Candidate, Heir, Place};
use crate::handover::notify::Systemd;
use crate::handover::{Belongings, Passed, Program};

/// For orders of certificates that run when another process is about to take over: a CA that comes back
/// then must meet the process that it has answered.
const FOR_ORDERS: Duration = Duration::from_mins(1);

/// For a process that somebody else has started to be ready: who has done that ends it when it takes too long.
const FOR_STRANGERS: Duration = Duration::from_hours(1);

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
        let request = Self {
            candidate: start_candidate(),
            patience: upgrade::PATIENCE,
            watch: upgrade::WATCH,
        };
        (request, Reply(None))
    }

    /// Somebody else has started it.
    fn by(candidate: Candidate) -> (Self, Reply) {
        let request = Self {
            candidate: Ok(candidate),
            patience: FOR_STRANGERS,
            watch: upgrade::WATCH,
        };
        (request, Reply(None))
    }
}

impl Reply {
    pub(super) fn tell(self, relieved: &anyhow::Result<Relieved>, is_stopping: bool) {
        if let Some(reply) = self.0 {
            let told = match relieved {
                Ok(relieved) => Ok(relieved.by.program.clone()),
                // An error would mean that this process goes on; without a word it has not been upgraded either.
                Err(_) if is_stopping => return,
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
            candidate = found => Request::by(candidate),
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

/// Whether a container ends with this process.
fn ends_its_container() -> bool {
    // Where the one before could leave, this one can; but its parent may be process 1 now.
    if arriving::is_called() {
        return false;
    }
    let first = std::fs::read_to_string("/proc/1/comm");
    let parent = std::os::unix::process::parent_id();
    is_last(std::process::id(), parent, first.ok().as_deref())
}

/// Whether nothing goes on after a process: it is the `first` of its container, or a child of that, and that is none
/// of the programs that run for a machine's whole life. A small init and a script end with their child.
fn is_last(process: u32, parent: u32, first: Option<&str>) -> bool {
    const OF_MACHINES: [&str; 9] = [
        "systemd",
        "init",
        "openrc-init",
        "runit",
        "runit-init",
        "s6-svscan",
        "dinit",
        "finit",
        "shepherd",
    ];
    // What hides its processes from a service is no container's script.
    let is_of_machine = first.is_none_or(|name| OF_MACHINES.contains(&name.trim_end()));
    process == 1 || parent == 1 && !is_of_machine
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_known_by_its_first_process() {
        let table = [
            (1, 0, Some("unibody"), true, "the container's own"),
            (7, 1, Some("tini\n"), true, "ends with its child"),
            (7, 1, Some("docker-init\n"), true, "ends with its child"),
            (7, 1, Some("sh\n"), true, "a script without `exec`"),
            (
                7,
                1,
                Some("entrypoint.sh\n"),
                true,
                "a script without `exec`",
            ),
            (700, 1, Some("systemd\n"), false, "a service"),
            (
                700,
                1,
                Some("init\n"),
                false,
                "a service of an older system",
            ),
            (
                700,
                1,
                None,
                false,
                "a service that may not see others (ProtectProc)",
            ),
            (
                700,
                650,
                Some("sh\n"),
                false,
                "somebody works in a container",
            ),
        ];
        for (process, parent, first, expected, why) in table {
            assert_eq!(is_last(process, parent, first), expected, "{why}");
        }
    }
}
