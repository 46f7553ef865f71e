//! `unibody serve`: everything, in the order it comes up and goes down.

mod certificates;
mod database;
mod live;
mod signals;
mod source;
mod watching;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::Router;
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use self::certificates::{Keeping, Ready};
use self::database::DatabaseSide;
use self::live::Live;
use self::signals::{Asked, Signals};
use self::source::Source;
use self::watching::Watching;
use super::{Failure, Outcome};
use crate::admin;
use crate::admin::reload::{Reloads, Wish};
use crate::app;
use crate::backup::task::Scheduled;
use crate::config::Config;
use crate::edge::listeners::{AtHand, Bound};
use crate::edge::{self, Sockets};
use crate::telemetry::{self, Logging, Output};

pub(super) const HELP: &str = "\
SIGTERM and SIGINT let running requests finish (server.drain); a second one stops at once. SIGHUP
reads the configuration again, as `unibody reload` does.

Examples:
  unibody serve
  unibody --config /etc/unibody.toml serve
  DATABASE_URL=postgres://notes@db/notes unibody serve";

pub(super) fn run(config: Option<&Path>) -> Outcome {
    let source = Source::new(config);
    let config = source.load();
    let config = Arc::new(config.map_err(|mistakes| Failure::Config(mistakes.to_string()))?);
    let output = Output::stdout().context("cannot start logging")?;
    let logging = telemetry::start(&config, &output)?;
    edge::open_files::prepare(&config);
    let runtime = runtime(&config)?;
    let outcome = runtime.block_on(serve(source, config, logging, &output));
    // What is still running after the drain has had its time.
    runtime.shutdown_background();
    output.flush();
    outcome.map_err(Failure::Other)
}

async fn serve(
    source: Source,
    config: Arc<Config>,
    logging: Logging,
    output: &Output,
) -> anyhow::Result<()> {
    let started = OffsetDateTime::now_utc();
    let mut signals = Signals::listen()?;
    let (stopping, stopped) = watch::channel(false);
    let (reloads, mut wishes) = Reloads::new(started);
    // From the first moment on, for starting takes a while.
    let mut watching = Watching::of(source.path(), &config)?;

    let sockets = Sockets::bind(&config, &mut AtHand::nothing())?;
    let admin = admin::bind(&config)?;
    let certificates = Ready::load(&config)?;

    let database = tokio::select! {
        database = DatabaseSide::start(&config) => database?,
        () = signals.stop() => return Ok(()),
    };
    let served = tokio::select! {
        served = database.come_up(&config) => served.map(|()| Start::Ready),
        () = signals.stop() => Ok(Start::Cancelled),
    };
    match served {
        Ok(Start::Ready) => {}
        unserved => {
            database.stop().await;
            return unserved.map(drop);
        }
    }

    let open = announce(&config, &sockets);
    let app: Router = app::router(app::State::new(database.database.clone()));
    let addresses = sockets.addresses();
    let edge = edge::start(&config, sockets, certificates.tls.clone(), app, output)?;
    let backups = Scheduled::start(config.backup.as_ref(), &database.database, stopped.clone());
    let subject = match admin {
        None => None,
        Some(bound) => {
            tracing::info!(admin = %format!("http://{}", bound.address), "status and metrics");
            let subject = Arc::new(ArcSwap::from_pointee(admin::Subject {
                config: Arc::clone(&config),
                logging: logging.clone(),
                started,
                listeners: admin::Listeners {
                    http: addresses.http.clone(),
                    https: addresses.https.clone(),
                    admin: bound.address,
                },
                certificates: Arc::clone(&certificates.certificates),
                database: database.database.clone(),
                backups: Arc::clone(&backups.keeper),
                edge: edge.figures(),
                reloads: Arc::clone(&reloads),
            }));
            admin::serve(bound, Arc::clone(&subject), stopped.clone())?;
            Some(subject)
        }
    };
    let mut keeping = Keeping::until(stopped);
    // After the listeners: a CA comes back to them, and so does the look at what is really served.
    keeping.begin(
        &certificates.certificates,
        &config,
        &addresses.https,
        &database.database,
    );
    tracing::info!(open, "ready");

    let mut live = Live {
        source,
        started: Arc::clone(&config),
        config,
        addresses,
        edge,
        certificates,
        keeping,
        database: database.database.clone(),
        backups: Arc::clone(&backups.keeper),
        reloads,
        logging,
        subject,
    };
    until_stopped(&mut live, &mut watching, &mut wishes, &mut signals).await;
    stopping.send_replace(true);
    stop(live, &mut signals).await;
    backups.ended().await;
    database.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Runs, and reloads whenever that is asked for, until it is asked to stop.
async fn until_stopped(
    live: &mut Live,
    watching: &mut Watching,
    wishes: &mut mpsc::Receiver<Wish>,
    signals: &mut Signals,
) {
    loop {
        let wish = tokio::select! {
            asked = signals.next() => match asked {
                Asked::ToStop => return,
                Asked::ToReload => None,
            },
            Some(wish) = wishes.recv() => Some(wish),
            () = watching.changed() => None,
        };
        let outcome = tokio::select! {
            outcome = live.reload() => outcome,
            () = signals.stop() => return,
        };
        watching.follow(live.source.path(), &live.config);
        if let Some(wish) = wish {
            wish.answer(outcome);
        }
    }
}

/// Lets running requests finish, within their time.
async fn stop(live: Live, signals: &mut Signals) {
    let Live {
        config,
        edge,
        mut keeping,
        ..
    } = live;
    let drain = config.server.drain;
    tracing::info!(?drain, "stopping");
    // What is still to be told of certificates has as much time as running requests.
    let drained = async { tokio::join!(edge.stop(drain), keeping.finish(drain)).0 };
    tokio::select! {
        cut = drained => match cut {
            0 => tracing::info!("every request was finished"),
            cut => tracing::warn!(connections = cut, "server.drain is over: connections cut"),
        },
        () = signals.stop() => tracing::warn!("second signal: stopping at once"),
    }
    keeping.cut().await;
}

/// How the start ended.
enum Start {
    Ready,
    /// Asked to stop before anything was served.
    Cancelled,
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
