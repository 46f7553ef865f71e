//! `GET /status`: everything the server knows of itself, as JSON.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reload::History;
use super::sampler::traffic::{RouteTraffic, Traffic, Unrouted};
use super::sampler::{self, process};
use super::troubles::{Trouble, troubles};
use super::{Listeners, Shared, Subject};
use crate::backup::task;
use crate::certificates::Summary;
use crate::certificates::acme::Seen;
use crate::config::{self, Action, Config, Mask};
use crate::database::Database;
use crate::edge::upstream::Facts;
use crate::telemetry::Losses;

/// What `/status` answers. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// What is wrong, the worst first; nothing when all is fine.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
    /// Of the program.
    pub version: String,
    /// Since when the process runs.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// The configuration in force.
    pub configuration: History,
    /// The addresses really bound.
    pub listeners: Listeners,
    /// What the requests of visitors were.
    #[serde(default)]
    pub traffic: AllTraffic,
    /// Those of visitors.
    #[serde(default)]
    pub connections: Connections,
    /// What the process takes of its machine.
    #[serde(default)]
    pub process: Process,
    /// Lines of the log that were lost.
    #[serde(default)]
    pub log: LogLosses,
    /// In the order of the file.
    pub routes: Vec<Route>,
    /// In the order of their names.
    #[serde(default)]
    pub upstreams: Vec<Upstream>,
    /// The database's.
    pub database: DatabaseState,
    /// Of the backups that the server makes; `None` where it makes none.
    #[serde(default)]
    pub backup: Option<Backup>,
    /// In the order of the configuration.
    pub certificates: Vec<Certificate>,
}

/// Requests of all routes together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AllTraffic {
    /// Since the process started.
    pub since_start: Traffic,
    /// Of the last minute or a little more.
    pub last_minute: Traffic,
    /// Requests that came to no route, and are in neither of these.
    pub unrouted: Unrouted,
}

/// Connections of visitors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// `server.max_connections`.
    pub max: u64,
}

/// What the process takes of its machine; `None` where that does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Bytes in RAM.
    pub memory: Option<u64>,
    /// Files and sockets.
    pub open_files: Option<u64>,
    /// How many of them there may be.
    pub max_open_files: Option<u64>,
}

/// Lines of the log that were lost since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLosses {
    /// How many found no room to wait in: stdout is not read fast enough.
    pub unread: u64,
    /// How many the system did not take: a full disk, a reader that is gone.
    pub unwritten: u64,
    /// When the last one was lost.
    #[serde(with = "time::serde::rfc3339::option", default)]
    pub last: Option<OffsetDateTime>,
    /// Why the last write failed; `None` when it went well.
    pub failing: Option<String>,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The host it is limited to.
    pub host: Option<String>,
    /// The path it matches, as the configuration writes it.
    pub path: String,
    /// What it does: `app`, `files DIRECTORY`, `upstream NAME`, `redirect TARGET`, `respond STATUS`.
    pub action: String,
    /// Its requests since the process started. Routes that are written the same count together.
    #[serde(default)]
    pub since_start: Traffic,
    /// Those of the last minute or a little more.
    #[serde(default)]
    pub last_minute: Traffic,
}

/// The servers of one upstream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// What routes call it.
    pub name: String,
    /// In the order of the file; a name has each of its addresses here.
    pub servers: Vec<UpstreamServer>,
}

/// One address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpstreamServer {
    /// Such as `10.0.0.7:3000`.
    pub address: String,
    /// `up`; `ejected` after failures, for a while; `unhealthy` by its answers to health checks.
    pub state: String,
    /// Requests it is answering.
    pub running: usize,
    /// Requests it was given since the start.
    pub requests: u64,
    /// How many of them it failed to answer.
    pub failed: u64,
}

/// Whether the app can serve from the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseState {
    /// It answers, and its schema is current.
    pub ready: bool,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// The app's connections to it.
    #[serde(default)]
    pub pool: Option<Pool>,
}

/// Connections to the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// `database.pool_size`.
    pub max: u64,
    /// Connected.
    pub open: u64,
    /// Lent to requests.
    pub in_use: u64,
    /// Requests that wait for one.
    pub waiting: u64,
}

/// How backups are going.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// When they are due: `at 03:15 UTC`, `every 6h`.
    pub schedule: String,
    /// One is being made by this instance.
    pub running: bool,
    /// The last one that was made, by whichever instance.
    pub last: Option<LastBackup>,
    /// When the next one is due, or tried again.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next: Option<OffsetDateTime>,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// Why the last attempt failed; `None` when it went well.
    pub last_error: Option<String>,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastBackup {
    /// Of the file.
    pub name: String,
    /// When it was whole and verified.
    #[serde(with = "time::serde::rfc3339")]
    pub finished: OffsetDateTime,
    /// Length of the file.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

/// One certificate. What is stored and what is served are two facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Names it is served for.
    pub names: Vec<String>,
    /// `acme`, `self-signed`, or the file it comes from.
    pub source: String,
    /// Who issued the one in service.
    pub issuer: String,
    /// Where it is kept: what the next start would serve.
    pub stored: Option<Held>,
    /// What a handshake with the server got; `None` before the first, and when it failed.
    pub served: Option<Held>,
    /// When the next order is due, or may be tried again.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt: Option<OffsetDateTime>,
    /// Why the last attempt to renew or reload it failed; `None` when that went well.
    pub last_error: Option<String>,
    /// What comes next, in words.
    #[serde(default)]
    pub next_step: String,
}

/// A certificate somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Serial number in upper-case hexadecimal.
    pub serial: String,
    /// End of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

pub(super) async fn answer(State(shared): State<Shared>) -> Json<Status> {
    Json(status(&shared).await)
}

/// Takes at most two seconds.
pub(super) async fn status(shared: &Shared) -> Status {
    let subject = shared.subject.load_full();
    let now = OffsetDateTime::now_utc();
    let running = (now - subject.started).unsigned_abs();
    let traffic = shared.sampler.traffic(running);
    let files = process::open_files();
    let mut status = Status {
        troubles: Vec::new(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: subject.started,
        configuration: subject.reloads.history(),
        listeners: subject.listeners.clone(),
        traffic: AllTraffic {
            since_start: traffic.since_start,
            last_minute: traffic.last_minute,
            unrouted: traffic.unrouted,
        },
        connections: Connections {
            open: sampler::connections(&subject.edge),
            max: count(subject.config.server.max_connections),
        },
        process: Process {
            memory: process::memory(),
            open_files: files.map(|(open, _)| open),
            max_open_files: files.map(|(_, most)| most),
        },
        log: subject.output.losses().into(),
        routes: routes(&subject.config, &traffic.routes),
        upstreams: upstreams(&subject),
        database: database(&subject).await,
        backup: backup(&subject),
        certificates: certificates(&subject),
    };
    status.troubles = troubles(&status, now);
    status
}

fn routes(config: &Config, traffic: &[RouteTraffic]) -> Vec<Route> {
    let told = |route: &config::Route| {
        let mut told = Route::new(route, &config.log.mask);
        let host = told.host.as_deref().unwrap_or_default();
        let label = format!("{host}{}", told.path);
        if let Some(found) = traffic.iter().find(|found| found.label == label) {
            told.since_start = found.since_start.clone();
            told.last_minute = found.last_minute.clone();
        }
        told
    };
    config.routes.iter().map(told).collect()
}

pub(super) fn upstreams(subject: &Subject) -> Vec<Upstream> {
    let each = subject.edge.upstreams().into_iter();
    each.map(|(name, facts)| Upstream {
        name,
        servers: facts.into_iter().map(UpstreamServer::from).collect(),
    })
    .collect()
}

/// Takes at most two seconds.
pub(super) async fn database(subject: &Subject) -> DatabaseState {
    let reason = subject.database.ready().await.err();
    DatabaseState {
        ready: reason.is_none(),
        reason: reason.map(|reason| reason.to_string()),
        pool: Some(Pool::of(&subject.database)),
    }
}

pub(super) fn backup(subject: &Subject) -> Option<Backup> {
    Some(subject.backups.facts()?.into())
}

pub(super) fn certificates(subject: &Subject) -> Vec<Certificate> {
    let summary = subject.certificates.summary();
    summary.into_iter().map(Certificate::from).collect()
}

/// `2027-01-01T00:00:00Z`.
#[must_use]
pub fn shown(at: OffsetDateTime) -> String {
    let seconds = at.replace_nanosecond(0).unwrap_or(at);
    seconds.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

impl Pool {
    pub(super) fn of(database: &Database) -> Self {
        let pool = database.figures();
        Self {
            max: count(pool.max),
            open: count(pool.open),
            in_use: count(pool.in_use),
            waiting: count(pool.waiting),
        }
    }
}

impl Certificate {
    /// What comes next, in words.
    #[must_use]
    pub fn next_step(&self) -> String {
        let day = |at: OffsetDateTime| at.date().to_string();
        match (self.source.as_str(), &self.stored, self.next_attempt) {
            ("acme", None, Some(at)) => format!(
                "the first one is ordered; else tried again at {}",
                shown(at)
            ),
            ("acme", None, None) => "the first one is being ordered".to_owned(),
            ("acme", Some(_), Some(at)) if self.last_error.is_some() => {
                format!("renewal is tried again at {}", shown(at))
            }
            ("acme", Some(_), Some(at)) => format!("is renewed by itself on {}", day(at)),
            ("acme", Some(_), None) => "is being renewed".to_owned(),
            ("self-signed", ..) => "is made anew by itself 30 days before its end".to_owned(),
            (file, ..) => format!("a new one in {file} is taken up by itself"),
        }
    }
}

impl From<Losses> for LogLosses {
    fn from(losses: Losses) -> Self {
        Self {
            unread: losses.unread,
            unwritten: losses.unwritten,
            last: losses.last,
            failing: losses.failing,
        }
    }
}

impl From<Facts> for UpstreamServer {
    fn from(facts: Facts) -> Self {
        Self {
            address: facts.server,
            state: facts.condition.to_string(),
            running: facts.running,
            requests: facts.requests,
            failed: facts.failed,
        }
    }
}

impl From<(config::Schedule, task::Facts)> for Backup {
    fn from((schedule, facts): (config::Schedule, task::Facts)) -> Self {
        Self {
            schedule: schedule.to_string(),
            running: facts.running,
            last: facts.last.map(|last| LastBackup {
                name: last.name,
                finished: last.finished,
                bytes: last.bytes,
                seconds: last.took.as_secs_f64(),
            }),
            next: facts.next,
            failures: facts.failures,
            last_error: facts.last_error,
        }
    }
}

impl From<Summary> for Certificate {
    fn from(summary: Summary) -> Self {
        let mut certificate = Self {
            names: summary.names,
            source: summary.source.to_string(),
            issuer: summary.issuer,
            stored: summary.stored.map(Held::from),
            served: summary.seen.map(Held::from),
            next_attempt: summary.next_attempt,
            last_error: summary.last_error,
            next_step: String::new(),
        };
        certificate.next_step = certificate.next_step();
        certificate
    }
}

impl From<Seen> for Held {
    fn from(seen: Seen) -> Self {
        Self {
            serial: seen.serial,
            not_after: seen.not_after,
        }
    }
}

impl Route {
    fn new(route: &config::Route, mask: &Mask) -> Self {
        Self {
            host: route.host.as_ref().map(ToString::to_string),
            path: route.path.to_string(),
            action: match &route.action {
                Action::App => "app".to_owned(),
                Action::Files(files) => format!("files {}", files.root.display()),
                Action::Upstream { upstream, .. } => format!("upstream {}", upstream.name),
                Action::Redirect { to, .. } => format!("redirect {}", mask.covered(to)),
                Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
            },
            since_start: Traffic::default(),
            last_minute: Traffic::default(),
        }
    }
}
