//! `unibody serve`: everything, in the order it comes up and goes down.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use axum::Router;
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Failure, Outcome};
use crate::admin;
use crate::certificates::Certificates;
use crate::certificates::acme::Listener;
use crate::config::Config;
use crate::database::migrations::{self, Report};
use crate::database::{Database, Unavailable, embedded};
use crate::edge::{self, Sockets};
use crate::telemetry::{self, Logging, Output};
use crate::{app, edge::listeners::Bound};

pub(super) const HELP: &str = "\
SIGTERM and SIGINT let running requests finish (server.drain); a second one stops at once.

Examples:
  unibody serve
  unibody --config /etc/unibody.toml serve
  DATABASE_URL=postgres://notes@db/notes unibody serve";

pub(super) fn run(config: Option<&Path>) -> Outcome {
    let config = Arc::new(super::load(config)?);
    let output = Output::stdout().context("cannot start logging")?;
    let logging = telemetry::start(&config.log, &output)?;
    let runtime = runtime(&config)?;
    let outcome = runtime.block_on(serve(config, logging, &output));
    // What is still running after the drain has had its time.
    runtime.shutdown_background();
    output.flush();
    outcome.map_err(Failure::Other)
}

async fn serve(config: Arc<Config>, logging: Logging, output: &Output) -> anyhow::Result<()> {
    let started = OffsetDateTime::now_utc();
    let mut stop = Stop::listen()?;
    let (stopping, stopped) = watch::channel(false);

    let sockets = Sockets::bind(&config)?;
    let admin = admin::bind(&config)?;
    let certificates = Arc::new(Certificates::load(&config)?);
    let tls = if config.has_tls() {
        Some(edge::Tls {
            config: Arc::new(certificates.server_config()?),
            challenges: certificates.challenges(),
        })
    } else {
        None
    };

    let database = tokio::select! {
        database = DatabaseSide::start(&config) => database?,
        () = stop.requested() => return Ok(()),
    };
    certificates.use_database(&database.database);
    let served = tokio::select! {
        served = database.come_up(&config) => served.map(|()| Start::Ready),
        () = stop.requested() => Ok(Start::Cancelled),
    };
    match served {
        Ok(Start::Ready) => {}
        unserved => {
            database.stop().await;
            return unserved.map(drop);
        }
    }

    let address = announce(&config, &sockets);
    let app: Router = app::router(app::State::new(database.database.clone()));
    let http = addresses(&sockets.http);
    let https = addresses(&sockets.https);
    let listener = |&bound: &SocketAddr| Listener::new(bound, &config.server);
    let listeners = https.iter().map(listener).collect();
    let running = edge::start(&config, sockets, tls, app, output)?;
    if let Some(bound) = admin {
        tracing::info!(admin = %format!("http://{}", bound.address), "status and metrics");
        let subject = admin::Subject {
            config: Arc::clone(&config),
            logging,
            started,
            listeners: admin::Listeners {
                http,
                https,
                admin: bound.address,
            },
            certificates: Arc::clone(&certificates),
            database: database.database.clone(),
            edge: running.figures(),
        };
        admin::serve(bound, subject, stopped.clone())?;
    }
    tracing::info!(open = address, "ready");
    // After the listeners: a CA comes back to them, and so does the look at what is really served.
    let mut keeping = tokio::spawn(certificates.keep_fresh(listeners, stopped));

    stop.requested().await;
    tracing::info!(drain = ?config.server.drain, "stopping");
    stopping.send_replace(true);
    let drain = config.server.drain;
    // What is still to be told of certificates has as much time as running requests.
    let drained = async { tokio::join!(running.stop(drain), timeout(drain, &mut keeping)).0 };
    tokio::select! {
        cut = drained => match cut {
            0 => tracing::info!("every request was finished"),
            cut => tracing::warn!(connections = cut, "server.drain is over: connections cut"),
        },
        () = stop.requested() => tracing::warn!("second signal: stopping at once"),
    }
    if !keeping.is_finished() {
        keeping.abort();
        // It says what it leaves undone.
        let _ = keeping.await;
    }
    database.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// How the start ended.
enum Start {
    Ready,
    /// Asked to stop before anything was served.
    Cancelled,
}

/// The database and, where it is ours, the server behind it.
struct DatabaseSide {
    database: Database,
    embedded: Option<embedded::Embedded>,
}

impl DatabaseSide {
    async fn start(config: &Config) -> anyhow::Result<Self> {
        let (url, embedded) = if let Some(url) = &config.database.url {
            (url.clone(), None)
        } else {
            let bin_dir = config.database.bin_dir.as_deref();
            let embedded = embedded::start(&config.server.data_dir, bin_dir).await?;
            (embedded.url(), Some(embedded))
        };
        Ok(Self {
            database: Database::open(&config.database, &url)?,
            embedded,
        })
    }

    /// Waits for the database as long as `database.wait` says, then lets the rest start without it.
    async fn come_up(&self, config: &Config) -> anyhow::Result<()> {
        let there = match self.database.wait(config.database.wait).await {
            Ok(()) if config.database.migrate => migrate(&self.database).await,
            waited => waited.map_err(migrations::Error::from),
        };
        match there {
            Ok(()) => Ok(()),
            Err(migrations::Error::Unavailable(Unavailable { reason, .. })) => {
                tracing::error!(
                    reason,
                    "serving without the database: the app answers 503 until it is there"
                );
                if config.database.migrate {
                    let database = self.database.clone();
                    tokio::spawn(async move { catch_up(&database).await });
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn stop(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

async fn migrate(database: &Database) -> Result<(), migrations::Error> {
    report(&migrations::migrate(database).await?);
    Ok(())
}

/// Brings the schema up to date once the database is there.
async fn catch_up(database: &Database) {
    match migrations::migrate_when_reachable(database).await {
        Ok(done) => report(&done),
        Err(error) => {
            tracing::error!(%error, "the schema can't be brought up to date");
        }
    }
}

fn report(done: &Report) {
    if !done.applied.is_empty() {
        tracing::info!(version = done.version, "the database schema is up to date");
    }
}

fn addresses(bound: &[Bound]) -> Vec<SocketAddr> {
    bound.iter().map(|bound| bound.address).collect()
}

/// Says where the server listens; returns what to put into a browser on this machine.
fn announce(config: &Config, sockets: &Sockets) -> Option<String> {
    let each = |scheme: &str, bound: &[Bound]| {
        for bound in bound {
            tracing::info!(url = %format!("{scheme}://{}", bound.address), "listening");
        }
    };
    each("http", &sockets.http);
    each("https", &sockets.https);

    let (scheme, bound) = match sockets.https.first() {
        Some(bound) => ("https", bound),
        None => ("http", sockets.http.first()?),
    };
    let host = config
        .server
        .hosts
        .first()
        .map_or("localhost".to_owned(), ToString::to_string);
    Some(match (scheme, bound.address.port()) {
        ("https", 443) | ("http", 80) => format!("{scheme}://{host}"),
        (_, port) => format!("{scheme}://{host}:{port}"),
    })
}

fn runtime(config: &Config) -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.server.workers)
        .thread_name("worker")
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

/// The signals that ask a server to stop.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

impl Stop {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn requested(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.quit.recv() => return,
                _ = self.hangup.recv() => {
                    tracing::warn!("SIGHUP: this version can't reload; restart to apply changes");
                }
            }
        }
    }
}
