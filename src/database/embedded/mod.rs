//! The embedded database: a private PostgreSQL in `data_dir/postgres`, for whoever names no other.
//!
//! 1. [`programs`] finds the installed PostgreSQL; [`owner`] decides which user runs it.
//! 2. [`cluster`] makes the cluster at the first start and writes our settings at each.
//! 3. [`process`] takes over a server that an earlier unibody left behind, or starts one as a child.
//! 4. The supervisor here keeps it running: a server that dies is started again, and meanwhile the
//!    pool answers "unavailable".
//! 5. [`Embedded::stop`] shuts it down in order.
//!
//! It listens on a unix socket only ([`socket`]). Two roles share a random password: `postgres`, the
//! superuser, for this module; `unibody`, which owns the database `unibody`, for the app.

mod cluster;
mod files;
mod others;
mod owner;
mod process;
mod programs;
mod running;
mod socket;

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_postgres::Client;
use tracing::{error, info, warn};

use crate::config::Secret;
pub(super) use programs::{PLACES, candidates, major_version};
pub use running::url_of_running;

use cluster::{APP, Cluster};
use process::Postmaster;

/// Between two attempts to restart a server that died: the first, and the longest.
const RESTART_PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Between two looks at the size of the server's log.
const LOG_CHECK: Duration = Duration::from_mins(1);

/// A running private PostgreSQL.
#[derive(Debug)]
pub struct Embedded {
    url: Secret,
    stop: watch::Sender<bool>,
    supervisor: JoinHandle<()>,
}

/// Whether [`start`] will find PostgreSQL's programs.
///
/// # Errors
/// What to install where, or to set instead.
pub fn check_programs(bin_dir: Option<&Path>) -> anyhow::Result<()> {
    programs::find(bin_dir).map(drop)
}

/// Starts the private PostgreSQL of `data_dir`, with the programs in `bin_dir` or wherever they are
/// found, and returns when it accepts connections. The cluster is made at the first call.
///
/// # Errors
/// One line with the remedy: no programs, another version's cluster, a second unibody on the same
/// directory, a user that can't reach it, or the server's own last words.
pub async fn start(data_dir: &Path, bin_dir: Option<&Path>) -> anyhow::Result<Embedded> {
    let (data_dir, bin_dir) = (data_dir.to_owned(), bin_dir.map(Path::to_owned));
    let cluster =
        tokio::task::spawn_blocking(move || Cluster::prepare(&data_dir, bin_dir.as_deref()))
            .await
            .context("preparing the embedded database failed")??;
    let mut postmaster = take_over_or_start(&cluster).await?;
    let client = postmaster.wait_until_ready(&cluster).await?;
    make_database(&client, &cluster).await?;
    drop(client);

    let url = url(&cluster.socket, &cluster.password);
    let (stop, stopping) = watch::channel(false);
    let supervisor = tokio::spawn(supervise(cluster, postmaster, stopping));
    Ok(Embedded {
        url,
        stop,
        supervisor,
    })
}

impl Embedded {
    /// Where it is, for [`Database::open`](super::Database::open).
    #[must_use]
    pub fn url(&self) -> Secret {
        self.url.clone()
    }

    /// Stops it in order: connections end, everything is written. Takes a minute at most.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        // It panics nowhere; were it to, the postmaster is asked to stop on the way out.
        let _ = self.supervisor.await;
    }
}

async fn take_over_or_start(cluster: &Cluster) -> anyhow::Result<Postmaster> {
    if let Some(mut postmaster) = Postmaster::left_behind(cluster).await? {
        if !cluster.settings_changed {
            info!(
                "taking over the running PostgreSQL (process {})",
                postmaster.pid()
            );
            return Ok(postmaster);
        }
        info!(
            "stopping the running PostgreSQL (process {}): its settings changed",
            postmaster.pid()
        );
        postmaster.stop().await;
    }
    let postmaster = Postmaster::start(cluster)?;
    info!(
        "PostgreSQL {} started (process {}) on {}",
        cluster.major(),
        postmaster.pid(),
        cluster.directory.display()
    );
    Ok(postmaster)
}

/// Makes the app's role and database unless they are there. Each step stands alone, so an
/// interruption between them is made good at the next start.
async fn make_database(client: &Client, cluster: &Cluster) -> anyhow::Result<()> {
    let what = "the embedded database can't be set up";
    let role = client
        .query_opt("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&APP])
        .await
        .context(what)?;
    if role.is_none() {
        // The password is hexadecimal: nothing in it needs quoting.
        let password = cluster.password.reveal();
        let statement = format!("CREATE ROLE {APP} LOGIN PASSWORD '{password}'");
        client.batch_execute(&statement).await.context(what)?;
    }
    let database = client
        .query_opt("SELECT 1 FROM pg_database WHERE datname = $1", &[&APP])
        .await
        .context(what)?;
    if database.is_none() {
        let statement = format!("CREATE DATABASE {APP} OWNER {APP}");
        client.batch_execute(&statement).await.context(what)?;
    }
    Ok(())
}

fn url(socket: &Path, password: &Secret) -> Secret {
    let socket = socket.display().to_string();
    let host = utf8_percent_encode(&socket, NON_ALPHANUMERIC);
    let password = password.reveal();
    Secret::new(format!("postgres://{APP}:{password}@{host}/{APP}"))
}

/// Keeps the server running until told to stop, or until the [`Embedded`] is dropped.
async fn supervise(cluster: Cluster, postmaster: Postmaster, mut stop: watch::Receiver<bool>) {
    keep_running(&cluster, postmaster, &mut stop).await;
    socket::remove(&cluster.socket);
}

async fn keep_running(
    cluster: &Cluster,
    mut postmaster: Postmaster,
    stop: &mut watch::Receiver<bool>,
) {
    loop {
        tokio::select! {
            _ = stop.changed() => return postmaster.stop().await,
            () = watch_running(cluster, &mut postmaster) => {}
        }
        warn!(
            "PostgreSQL (process {}) ended unexpectedly: restarting it",
            postmaster.pid()
        );
        match revive(cluster, stop).await {
            Some(revived) => postmaster = revived,
            None => return,
        }
    }
}

/// Starts the server until it stays up; `None` when told to stop meanwhile. The first attempt may
/// well fail: PostgreSQL waits for the last process of the one that died.
async fn revive(cluster: &Cluster, stop: &mut watch::Receiver<bool>) -> Option<Postmaster> {
    let (mut pause, longest) = RESTART_PAUSES;
    loop {
        tokio::select! {
            _ = stop.changed() => return None,
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(longest);
        let problem = match take_over_or_start(cluster).await {
            Err(problem) => problem,
            Ok(mut postmaster) => {
                let ready = tokio::select! {
                    _ = stop.changed() => {
                        postmaster.stop().await;
                        return None;
                    }
                    ready = postmaster.wait_until_ready(cluster) => ready,
                };
                match ready {
                    Ok(_) => return Some(postmaster),
                    Err(problem) => problem,
                }
            }
        };
        error!("PostgreSQL can't be restarted: {problem:#}");
    }
}

async fn watch_running(cluster: &Cluster, postmaster: &mut Postmaster) {
    let keep_log_short = async {
        loop {
            sleep(LOG_CHECK).await;
            if let Err(problem) = files::trim_log(&cluster.log) {
                warn!("{} can't be trimmed: {problem}", cluster.log.display());
            }
        }
    };
    tokio::select! {
        () = postmaster.ended() => {}
        () = keep_log_short => {}
    }
}

/// A command for the server of a prepared data directory; tests add options.
#[cfg(test)]
pub(super) fn server_command(data_dir: &Path) -> anyhow::Result<std::process::Command> {
    let cluster = Cluster::prepare(data_dir, None)?;
    let mut command = cluster::command(&cluster.programs, "postgres", &cluster.owner);
    command.arg("-D").arg(&cluster.directory);
    Ok(command)
}

/// Gives a file in the cluster to the server's user.
#[cfg(test)]
pub(super) fn give_to_owner(data_dir: &Path, file: &Path) -> anyhow::Result<()> {
    let owner = owner::Owner::decide(data_dir, &data_dir.join("postgres"))?;
    Ok(owner.give(file)?)
}

#[cfg(test)]
mod tests;
