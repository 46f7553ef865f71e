//! The embedded database: a private PostgreSQL in `data_dir/postgres`, for whoever names no other.
//!
//! 1. [`programs`] finds the installed PostgreSQL; [`owner`] decides which user runs it.
//! 2. [`cluster`] makes the cluster at the first start and writes our settings at each.
//! 3. [`process`] takes over a server that an earlier unibody left behind, or starts one as a child.
//! 4. The supervisor here keeps it running: a server that dies is started again, and meanwhile the
//!    pool answers "unavailable".
//! 5. [`Embedded::stop`] shuts it down in order.
//!
//! Another unibody may [take over](take_over) while it runs. Then both hold the lock, the server stays,
//! and who looks after it changes when the new one [keeps](Embedded::keep) it and the old one
//! [lets go](Embedded::let_go).
//!
//! It listens on a unix socket only ([`socket`]). Two roles share a random password: `postgres`, the
//! superuser, for this module; `unibody`, which owns the database `unibody`, for the app.

mod cluster;
mod files;
mod lock;
mod others;
mod owner;
mod process;
mod programs;
mod running;
mod socket;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
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
    lock: File,
    order: watch::Sender<Order>,
    supervisor: JoinHandle<()>,
}

/// What the supervisor is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Another unibody keeps the server running, for now.
    Wait,
    /// Keep it running.
    Keep,
    /// Stop it. As long as another unibody has it, that is to leave it alone.
    Stop,
    /// Another unibody keeps it from now on.
    LetGo,
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
    let postmaster = take_over_or_start(&cluster).await?;
    look_after(cluster, postmaster, Order::Keep).await
}

/// Uses the private PostgreSQL of `data_dir` beside the unibody that keeps it running and shares its
/// `lock`, until [`Embedded::keep`] makes it ours. `None` when the lock is that of another directory.
///
/// # Errors
/// As [`start`]; and the server doesn't run just now.
pub async fn take_over(
    data_dir: &Path,
    bin_dir: Option<&Path>,
    lock: OwnedFd,
) -> anyhow::Result<Option<Embedded>> {
    let (data_dir, bin_dir) = (data_dir.to_owned(), bin_dir.map(Path::to_owned));
    let lock = File::from(lock);
    if !lock::is_lock_of(&lock, &data_dir) {
        return Ok(None);
    }
    let cluster =
        tokio::task::spawn_blocking(move || Cluster::share(&data_dir, bin_dir.as_deref(), lock));
    let cluster = cluster
        .await
        .context("preparing the embedded database failed")??;
    let mut postmaster = Postmaster::left_behind(&cluster)
        .await?
        .context("the embedded PostgreSQL doesn't run just now: try again when it is back")?;
    postmaster.let_go();
    look_after(cluster, postmaster, Order::Wait).await.map(Some)
}

impl Embedded {
    /// Where it is, for [`Database::open`](super::Database::open).
    #[must_use]
    pub fn url(&self) -> Secret {
        self.url.clone()
    }

    /// Another handle to the lock, for the unibody that is to take over.
    ///
    /// # Errors
    /// The process has no more handles.
    pub fn share_lock(&self) -> io::Result<OwnedFd> {
        Ok(self.lock.try_clone()?.into())
    }

    /// Makes it ours, after [`take_over`]: the other unibody lets go of it now.
    pub fn keep(&self) {
        self.order.send_replace(Order::Keep);
    }

    /// Leaves it to the unibody that keeps it from now on.
    pub async fn let_go(self) {
        self.end(Order::LetGo).await;
    }

    /// Stops it in order: connections end, everything is written. Takes a minute at most. One that was
    /// never [made ours](Self::keep) goes on running.
    pub async fn stop(self) {
        self.end(Order::Stop).await;
    }

    async fn end(self, order: Order) {
        self.order.send_replace(order);
        // It panics nowhere; were it to, the postmaster is asked to stop on the way out.
        let _ = self.supervisor.await;
    }
}

/// Waits until the server answers, and has it looked after.
async fn look_after(
    cluster: Cluster,
    mut postmaster: Postmaster,
    order: Order,
) -> anyhow::Result<Embedded> {
    let client = postmaster.wait_until_ready(&cluster).await?;
    make_database(&client, &cluster).await?;
    drop(client);

    let url = url(&cluster.socket, &cluster.password);
    let lock = cluster.lock.try_clone();
    let lock = lock.context("postgres.lock can't be shared")?;
    let (order, orders) = watch::channel(order);
    let supervisor = tokio::spawn(supervise(cluster, postmaster, orders));
    Ok(Embedded {
        url,
        lock,
        order,
        supervisor,
    })
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

/// Keeps the server running until told otherwise, or until the [`Embedded`] is dropped.
async fn supervise(
    cluster: Cluster,
    mut postmaster: Postmaster,
    mut orders: watch::Receiver<Order>,
) {
    if *orders.borrow() == Order::Wait {
        if other_than(&mut orders, Order::Wait).await != Order::Keep {
            return;
        }
        postmaster.make_ours();
        if let Err(problem) = cluster.sign() {
            warn!("postgres.lock names another process than this: {problem}");
        }
        if cluster.settings_changed {
            info!(
                "PostgreSQL's settings changed: it reads them anew; some wait for its next start"
            );
            postmaster.reload();
        }
    }
    if keep_running(&cluster, postmaster, &mut orders).await == Order::Stop {
        socket::remove(&cluster.socket);
    }
}

/// What is asked for next, other than `order`.
async fn other_than(orders: &mut watch::Receiver<Order>, order: Order) -> Order {
    // Without anybody who could ask for more, there is nothing more to do.
    let other = orders.wait_for(|next| *next != order).await;
    other.map_or(Order::Stop, |other| *other)
}

/// Returns what ended it.
async fn keep_running(
    cluster: &Cluster,
    mut postmaster: Postmaster,
    orders: &mut watch::Receiver<Order>,
) -> Order {
    loop {
        tokio::select! {
            order = other_than(orders, Order::Keep) => {
                obey(order, &mut postmaster).await;
                return order;
            }
            () = watch_running(cluster, &mut postmaster) => {}
        }
        warn!(
            "PostgreSQL (process {}) ended unexpectedly: restarting it",
            postmaster.pid()
        );
        match revive(cluster, orders).await {
            Ok(revived) => postmaster = revived,
            Err(order) => return order,
        }
    }
}

async fn obey(order: Order, postmaster: &mut Postmaster) {
    if order == Order::LetGo {
        postmaster.let_go();
    } else {
        postmaster.stop().await;
    }
}

/// Starts the server until it stays up, or something else is asked for. The first attempt may well
/// fail: PostgreSQL waits for the last process of the one that died.
async fn revive(
    cluster: &Cluster,
    orders: &mut watch::Receiver<Order>,
) -> Result<Postmaster, Order> {
    let (mut pause, longest) = RESTART_PAUSES;
    loop {
        tokio::select! {
            order = other_than(orders, Order::Keep) => return Err(order),
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(longest);
        let problem = match take_over_or_start(cluster).await {
            Err(problem) => problem,
            Ok(mut postmaster) => {
                let ready = tokio::select! {
                    order = other_than(orders, Order::Keep) => {
                        obey(order, &mut postmaster).await;
                        return Err(order);
                    }
                    ready = postmaster.wait_until_ready(cluster) => ready,
                };
                match ready {
                    Ok(_) => return Ok(postmaster),
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
