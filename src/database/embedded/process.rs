//! The postmaster: started, found again after a crash of ours, waited for, stopped.
//!
//! It runs in a process group of its own, so that a terminal's Ctrl-C reaches unibody only, which
//! drains its requests before it stops the database. It outlives a unibody that is killed; the next
//! one then finds its `postmaster.pid` and takes it over, or removes the file if the number has
//! meanwhile gone to another program.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};
use tracing::{info, warn};

use super::cluster::{Cluster, SUPERUSER, command};
use super::others::{anyone_works_in, is_alive, is_zombie, works_in};
use super::{files, socket};
use crate::database::connect::explain;

/// For a server that gives no sign of life at all after it was started.
const START_LIMIT: Duration = Duration::from_mins(1);

/// For a server that says it is recovering from a crash: it reads its log, which takes as long as it
/// takes, but not this long.
const RECOVERY_LIMIT: Duration = Duration::from_mins(15);

/// Between two attempts to connect to a starting server: the first, and the longest.
const START_PAUSES: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(250));

/// For a fast shutdown, which ends with a checkpoint.
const FAST_STOP_LIMIT: Duration = Duration::from_mins(1);

/// For an immediate shutdown, after which the next start recovers.
const IMMEDIATE_STOP_LIMIT: Duration = Duration::from_secs(10);

/// How often a postmaster that is not our child is looked at; the system tells only parents.
const ADOPTED_POLL: Duration = Duration::from_millis(200);

/// A running PostgreSQL. Asked to stop when dropped, if it is ours to stop.
#[derive(Debug)]
pub(super) struct Postmaster {
    process: Process,
    pid: Pid,
    /// It runs, and no other unibody sees to it.
    is_ours: bool,
}

#[derive(Debug)]
enum Process {
    Child(Child),
    Adopted,
}

impl Postmaster {
    /// Starts the server. It is not ready yet: see [`Self::wait_until_ready`].
    pub(super) fn start(cluster: &Cluster) -> anyhow::Result<Self> {
        files::trim_log(&cluster.log).context("postgres.log can't be trimmed")?;
        let log = files::open_to_append(&cluster.log).context("postgres.log can't be opened")?;
        let mut command = command(&cluster.programs, "postgres", &cluster.owner);
        command
            .arg("-D")
            .arg(&cluster.directory)
            .arg("-c")
            .arg(format!("config_file={}", cluster.settings.display()))
            .stdout(Stdio::from(log.try_clone()?))
            .stderr(Stdio::from(log))
            .process_group(0);
        let child = tokio::process::Command::from(command)
            .spawn()
            .context("PostgreSQL can't be started")?;
        let pid = child.id().context("PostgreSQL ended at once")?;
        Ok(Self {
            process: Process::Child(child),
            pid: Pid::from_raw(pid.cast_signed()),
            is_ours: true,
        })
    }

    /// The server that an earlier unibody left running on this cluster, if any.
    ///
    /// # Errors
    /// When a process holds the cluster that can't be told to be a PostgreSQL or not.
    pub(super) async fn left_behind(cluster: &Cluster) -> anyhow::Result<Option<Self>> {
        let path = cluster.directory.join("postmaster.pid");
        let Some(pid) = files::read(&path).ok().as_deref().and_then(first_pid) else {
            return Ok(None);
        };
        // A dead number is PostgreSQL's own business: it also looks whether processes of the dead
        // server still use its shared memory, which must not be skipped.
        if !is_alive(pid) {
            return Ok(None);
        }
        match works_in(pid, &cluster.directory) {
            Some(true) => {}
            Some(false) => {
                remove_stale(&path, pid, cluster).await?;
                return Ok(None);
            }
            None if connect(cluster).await.is_ok() => {}
            None => bail!(
                "{} names process {pid}, which runs but doesn't answer: if it is no PostgreSQL, \
                 remove that file",
                path.display()
            ),
        }
        Ok(Some(Self {
            process: Process::Adopted,
            pid,
            is_ours: true,
        }))
    }

    /// Its process id.
    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns when it has ended.
    pub(super) async fn ended(&mut self) {
        match &mut self.process {
            Process::Child(child) => {
                // An error means that somebody else has reaped it.
                let _ = child.wait().await;
            }
            Process::Adopted => {
                while is_alive(self.pid) && !is_zombie(self.pid) {
                    sleep(ADOPTED_POLL).await;
                }
            }
        }
        self.is_ours = false;
    }

    /// Waits until the server answers; returns a superuser's connection.
    ///
    /// # Errors
    /// When it ends, or is silent for too long: with the end of its log.
    pub(super) async fn wait_until_ready(&mut self, cluster: &Cluster) -> anyhow::Result<Client> {
        tokio::select! {
            client = answer(cluster) => client,
            () = self.ended() => bail!("PostgreSQL ended while starting: {}", last_words(&cluster.log)),
        }
    }

    /// Stops the server: first in order, then at once.
    pub(super) async fn stop(&mut self) {
        let steps = [
            (Signal::SIGINT, FAST_STOP_LIMIT),
            (Signal::SIGQUIT, IMMEDIATE_STOP_LIMIT),
        ];
        for (signal, limit) in steps {
            if !self.is_ours || self.signal(signal).is_err() {
                return;
            }
            if timeout(limit, self.ended()).await.is_ok() {
                return;
            }
            warn!("PostgreSQL (process {}) ignores {signal}", self.pid);
        }
        // Never SIGKILL: the rest of its processes would go on writing without it.
        self.is_ours = false;
    }

    /// Another unibody sees to it: it stays when this is dropped.
    pub(super) fn let_go(&mut self) {
        self.is_ours = false;
    }

    /// No other unibody sees to it any more.
    pub(super) fn make_ours(&mut self) {
        self.is_ours = true;
    }

    /// Has it read its settings anew. Those that need a restart wait for the next one.
    pub(super) fn reload(&self) {
        // One that has ended meanwhile reads them when it is started again.
        let _ = self.signal(Signal::SIGHUP);
    }

    fn signal(&self, signal: Signal) -> nix::Result<()> {
        kill(self.pid, signal)
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = self.signal(Signal::SIGINT);
        }
    }
}

/// A connection of the superuser.
pub(super) async fn connect(cluster: &Cluster) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = Config::new()
        .host_path(&cluster.socket)
        .user(SUPERUSER)
        .dbname(SUPERUSER)
        .password(cluster.password.reveal())
        .application_name("unibody supervisor")
        .connect(NoTls)
        .await?;
    // Ends with the client; what goes wrong, the client's user is told.
    tokio::spawn(connection);
    Ok(client)
}

/// The end of the server's log, on one line.
fn last_words(log: &Path) -> String {
    let tail = files::tail(log, 2000);
    let mut lines: Vec<_> = tail.lines().rev().take(3).collect();
    lines.reverse();
    format!("{} ({})", lines.join("; "), log.display())
}

async fn answer(cluster: &Cluster) -> anyhow::Result<Client> {
    let begin = Instant::now();
    let (mut pause, longest) = START_PAUSES;
    let mut told = false;
    loop {
        let error = match connect(cluster).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let recovering = error.code() == Some(&SqlState::CANNOT_CONNECT_NOW);
        // Any other answer of the server's (a wrong password, say) is final.
        if error.as_db_error().is_some() && !recovering {
            bail!("PostgreSQL refuses us: {}", explain(&error));
        }
        if recovering && !told && begin.elapsed() > Duration::from_secs(2) {
            info!("PostgreSQL is recovering from a crash");
            told = true;
        }
        let limit = if recovering {
            RECOVERY_LIMIT
        } else {
            START_LIMIT
        };
        if begin.elapsed() > limit {
            bail!(
                "PostgreSQL doesn't answer after {} s: {}; its log: {}",
                limit.as_secs(),
                explain(&error),
                last_words(&cluster.log)
            );
        }
        sleep(pause).await;
        pause = (pause * 2).min(longest);
    }
}

/// Removes the pid file of a server that is gone while its number lives on in another program, which
/// PostgreSQL itself would take for a server; and the lock beside its socket, which has the same
/// number. Not before the last process of the old one has ended.
async fn remove_stale(path: &Path, pid: Pid, cluster: &Cluster) -> anyhow::Result<()> {
    let begin = Instant::now();
    while anyone_works_in(&cluster.directory) {
        if begin.elapsed() > IMMEDIATE_STOP_LIMIT {
            bail!(
                "processes of a PostgreSQL that crashed still run in {}: end them",
                cluster.directory.display()
            );
        }
        sleep(ADOPTED_POLL).await;
    }
    info!("removing a stale postmaster.pid: process {pid} is no PostgreSQL of this cluster");
    for file in [&socket::lock(&cluster.socket), path] {
        files::remove(file).with_context(|| format!("{} can't be removed", file.display()))?;
    }
    Ok(())
}

/// The first line of `postmaster.pid`.
fn first_pid(pid_file: &str) -> Option<Pid> {
    let pid = pid_file.lines().next()?.trim().parse::<i32>().ok()?;
    // A standalone backend writes its number negated.
    (pid > 1).then(|| Pid::from_raw(pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pid_is_on_the_first_line() {
        let table = [
            ("4711\n/data/postgres\n1700000000\n5432\n", Some(4711)),
            ("-4711\n/data/postgres\n", None),
            ("1\n", None),
            ("", None),
            ("postgres\n", None),
        ];
        for (content, expected) in table {
            assert_eq!(first_pid(content).map(Pid::as_raw), expected, "{content:?}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn an_orphan_has_ended_though_nobody_takes_note() {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let leave_it_a_zombie = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(pid), leave_it_a_zombie).unwrap();
        assert!(is_alive(pid), "its number is still taken");
        let mut orphan = Postmaster {
            process: Process::Adopted,
            pid,
            is_ours: true,
        };
        timeout(IMMEDIATE_STOP_LIMIT, orphan.ended()).await.unwrap();
        child.wait().unwrap();
        assert!(!is_zombie(Pid::this()));
    }
}
