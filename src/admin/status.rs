//! `GET /status`: everything the server knows of itself, as JSON.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::reload::History;
use super::{Listeners, Subject};
use crate::backup::task;
use crate::certificates::Summary;
use crate::certificates::acme::Seen;
use crate::config::{self, Action, Config, Mask};
use crate::edge::upstream::Facts;

/// What `/status` answers. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Of the program.
    pub version: String,
    /// Since when the process runs.
    #[serde(with = "time::serde::rfc3339")]
    pub started: OffsetDateTime,
    /// The configuration in force.
    pub configuration: History,
    /// The addresses really bound.
    pub listeners: Listeners,
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

/// One route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The host it is limited to.
    pub host: Option<String>,
    /// The path it matches, as the configuration writes it.
    pub path: String,
    /// What it does: `app`, `files DIRECTORY`, `upstream NAME`, `redirect TARGET`, `respond STATUS`.
    pub action: String,
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

pub(super) async fn answer(State(subject): State<Arc<Subject>>) -> Json<Status> {
    Json(status(&subject).await)
}

async fn status(subject: &Subject) -> Status {
    Status {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started: subject.started,
        configuration: subject.reloads.history(),
        listeners: subject.listeners.clone(),
        routes: routes(&subject.config),
        upstreams: upstreams(subject),
        database: database(subject).await,
        backup: backup(subject),
        certificates: certificates(subject),
    }
}

fn routes(config: &Config) -> Vec<Route> {
    let each = config.routes.iter();
    each.map(|route| Route::new(route, &config.log.mask))
        .collect()
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
        Self {
            names: summary.names,
            source: summary.source.to_string(),
            issuer: summary.issuer,
            stored: summary.stored.map(Held::from),
            served: summary.seen.map(Held::from),
            next_attempt: summary.next_attempt,
            last_error: summary.last_error,
        }
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
        }
    }
}
