//! `unibody serve`: everything, in the order it comes up and goes down.

mod arrival;
mod certificates;
mod database;
mod end;
mod health;
mod inboxes;
mod live;
mod signals;
mod source;
mod succession;
mod watching;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use axum::Router;
use time::OffsetDateTime;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use self::arrival::{Arrival, Gifts};
use self::certificates::{Keeping, Ready};
use self::database::DatabaseSide;
use self::end::{End, finish};
use self::inboxes::Inboxes;
use self::live::Live;
use self::signals::Signals;
use self::source::Source;
use self::succession::Succession;
use self::watching::{Look, Watching};
use super::{Failure, Outcome};
use crate::admin::reload::Reloads;
use crate::admin::{self, upgrade::Desk};
use crate::app;
use crate::backup::task::Scheduled;
use crate::config::Config;
use crate::edge::bound::Bound;
use crate::edge::{self, Sockets};
use crate::handover::notify::Systemd;
use crate::telemetry::{self, Logging, Output};

pub(super) const HELP: &str = "\
SIGTERM and SIGINT let running requests finish (server.drain); a second one stops at once. SIGHUP \
reads the configuration again, as `unibody reload` does; SIGQUIT hands over to a new process, as \
`unibody upgrade` does.

Examples:
  unibody serve
  unibody serve --take-over          in a second container beside the first
  unibody --config /etc/unibody.toml serve
  DATABASE_URL=postgres://notes@db/notes unibody serve";

#[derive(Debug, Default, clap::Args)]
pub(super) struct Arguments {
    /// Take over from the server that uses the same `server.data_dir`, if one runs: its sockets, and its
    /// embedded database
    #[arg(long)]
    take_over: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let gifts = Gifts::take()?;
    let source = Source::new(config);
    let look = Look::at(source.path());
    let config = match source.load() {
        Ok(config) => Arc::new(config),
        Err(mistakes) => {
            let mistakes = mistakes.to_string();
            gifts.failed(&mistakes);
            return Err(Failure::Config(mistakes));
        }
    };
    let prepare = || {
        let output = Output::stdout().context("cannot start logging")?;
        let logging = telemetry::start(&config, &output)?;
        edge::open_files::prepare(&config);
        anyhow::Ok((output, logging, runtime(&config)?))
    };
    let (output, logging, runtime) = match prepare() {
        Ok(prepared) => prepared,
        Err(error) => {
            gifts.failed(&format!("{error:#}"));
            return Err(Failure::Other(error));
        }
    };
    let outcome = runtime.block_on(async {
        let mut arrival = Arrival::begin(gifts, &config, arguments.take_over).await?;
        let outcome = serve((source, look), config, logging, &output, &mut arrival).await;
        arrival.failed(outcome.as_ref().err()).await;
        outcome
    });
    // What is still running after the drain has had its time.
    runtime.shutdown_background();
    output.flush();
    outcome.map_err(Failure::Other)
}

#[expect(clippy::too_many_lines, reason = "the start, in one visible sequence")]
async fn serve(
    (source, look): (Source, anyhow::Result<Look>),
    config: Arc<Config>,
    logging: Logging,
    output: &Output,
    arrival: &mut Arrival,
) -> anyhow::Result<()> {
    let started = OffsetDateTime::now_utc();
    let systemd = Systemd::of_environment();
    let mut signals = Signals::listen()?;
    let (stopping, stopped) = watch::channel(false);
    let (reloads, wishes) = Reloads::new(started);
    let watching = Watching::since(look?, &config)?;

    let (desk, upgrades) = Desk::open();
    let sockets = Sockets::bind(&config, &mut arrival.sockets)?;
    let admin = admin::bind(&config, &mut arrival.sockets)?;
    let mut succession = Succession::new(upgrades, admin.as_ref(), &systemd)?;
    arrival.settle()?;
    let certificates = Ready::load(&config)?;

    let mut database = tokio::select! {
        database = DatabaseSide::start(&config, arrival.lock.take()) => database?,
        () = signals.stop() => return Ok(()),
    };
    let prepare = async {
        database.come_up(&config, arrival.is_awaited()).await?;
        let open = announce(&config, &sockets);
        let addresses = sockets.addresses();
        let app: Router = match database.database.clone() {
            Some(database) => app::router(app::State::new(database)),
            None => health::router(),
        };
        let edge = edge::prepare(&config, sockets, certificates.tls.clone(), app, output)?;
        arrival.ready(&database).await?;
        anyhow::Ok((open, addresses, edge))
    };
    let prepared = tokio::select! {
        prepared = prepare => prepared.map(Some),
        () = signals.stop() => Ok(None),
    };
    let (open, addresses, edge) = match prepared {
        Ok(Some(prepared)) => prepared,
        unserved => {
            database.stop().await;
            return unserved.map(drop);
        }
    };
    let edge = edge.serve();
    let backups = database
        .database
        .as_ref()
        .map(|database| Scheduled::start(config.backup.as_ref(), database, stopped.clone()));
    let keeper = backups.as_ref().map(|backups| Arc::clone(&backups.keeper));
    let admin = admin.map(|bound| {
        tracing::info!(admin = %format!("http://{}", bound.address), "status and metrics");
        let subject = Arc::new(ArcSwap::from_pointee(admin::Subject {
            config: Arc::clone(&config),
            logging: logging.clone(),
            output: output.clone(),
            started,
            listeners: admin::Listeners {
                http: addresses.http.clone(),
                https: addresses.https.clone(),
                admin: bound.address,
            },
            certificates: Arc::clone(&certificates.certificates),
            database: database.database.clone(),
            backups: keeper.clone(),
            edge: edge.figures(),
            reloads: Arc::clone(&reloads),
            upgrades: desk,
        }));
        (bound, subject)
    });
    let subject = admin.as_ref().map(|(_, subject)| Arc::clone(subject));
    let mut keeping = Keeping::until(stopped.clone());
    // After the listeners: a CA comes back to them, and so does the look at what is really served.
    keeping.begin(
        &certificates.certificates,
        &config,
        &addresses.https,
        database.database.as_ref(),
    );
    let alone = tokio::select! {
        served = arrival.serving(&systemd) => served.map_err(|error| (End::TakenBack, error)),
        () = signals.stop() => {
            let end = if arrival.is_awaited() { End::HandedBack } else { End::Stopped };
            Err((end, anyhow!("it was asked to stop")))
        }
    };
    let (mut telling, mut failed) = (None, None);
    let end = match alone {
        Ok(()) => {
            database.keep();
            // Not before: while two processes serve, one of them answers whoever asks, always the same.
            if let Some((bound, subject)) = admin {
                telling = Some(admin::serve(bound, subject, stopped)?);
            }
            succession.be_found(&config.server.data_dir);
            tokio::spawn(systemd.clone().stay_alive());
            tracing::info!(open, "ready");
            None
        }
        // At once, for the process before this one is about to leave.
        Err((end, error)) => {
            arrival.failed(Some(&error)).await;
            tracing::info!("{error:#}");
            if matches!(end, End::TakenBack) {
                failed = Some(error);
            }
            Some(end)
        }
    };

    let mut live = Live {
        source,
        started: Arc::clone(&config),
        config,
        addresses,
        edge,
        certificates,
        keeping,
        database: database.database.clone(),
        backups: keeper,
        reloads,
        logging,
        subject,
    };
    let mut inboxes = Inboxes {
        signals,
        reloads: wishes,
        watching,
        succession,
        systemd: systemd.clone(),
    };
    let end = match end {
        Some(end) => end,
        None => inboxes.work(&mut live, &database).await,
    };
    let (mut signals, departing) = inboxes.close();
    match &end {
        End::Relieved(relieved) if relieved.of_database => database.let_go().await,
        End::Stopped => systemd.stopping(),
        _ => {}
    }
    stopping.send_replace(true);
    finish(live, end, telling, departing, &mut signals).await;
    if let Some(backups) = backups {
        backups.ended().await;
    }
    database.stop().await;
    systemd.flush().await;
    tracing::info!("stopped");
    failed.map_or(Ok(()), Err)
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
        // A worker keeps 256 tasks that are ready, and the others wait in the queue of all workers, from which
        // tokio takes rarely: with many busy clients those who were answered last were answered next. Now every
        // second task comes from there.
        .global_queue_interval(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")
}
