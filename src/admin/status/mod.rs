//! `GET /status`: everything the server knows of itself, as JSON; each part in its module.

mod backup;
mod certificates;
mod database;
mod log;
mod routes;
mod upstreams;

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

pub(super) use self::backup::backup;
pub use self::backup::{Backup, DueUnknown, LastBackup};
pub(super) use self::certificates::certificates;
pub use self::certificates::{Certificate, Held};
pub(super) use self::database::database;
pub use self::database::{DatabaseState, Pool};
pub use self::log::LogLosses;
use self::routes::routes;
pub use self::routes::{AllTraffic, Route};
pub(super) use self::upstreams::upstreams;
pub use self::upstreams::{Upstream, UpstreamServer};
use super::reload::History;
use super::sampler::{self, process};
use super::troubles::{Trouble, troubles};
use super::{Listeners, Shared};
use crate::config::Mask;
use crate::telemetry::redacted;

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
    /// The database's; `None` where nothing needs one.
    pub database: Option<DatabaseState>,
    /// Of the backups that the server makes; `None` where it makes none.
    #[serde(default)]
    pub backup: Option<Backup>,
    /// In the order of the configuration.
    pub certificates: Vec<Certificate>,
}

/// Connections of visitors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// Open now.
    pub open: u64,
    /// How many there may be: `server.max_connections`, or fewer where open files allow no more.
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
            max: count(subject.edge.room()),
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
    redact(&mut status, &subject.config.log.mask);
    status.troubles = troubles(&status, now);
    status
}

/// SECURITY: what a CA, PostgreSQL, a resolver or a reader of `config.toml` complains of may quote a secret.
pub(super) fn redact(status: &mut Status, mask: &Mask) {
    let servers = status.upstreams.iter_mut().flat_map(|it| &mut it.servers);
    let upstreams = servers.filter_map(|it| it.reason.as_mut());
    let certificates = status.certificates.iter_mut();
    let certificates = certificates.filter_map(|it| it.last_error.as_mut());
    let database = status.database.iter_mut();
    let database = database.filter_map(|it| it.reason.as_mut());
    let reload = status.configuration.last_error.iter_mut();
    for text in upstreams.chain(certificates).chain(database).chain(reload) {
        *text = redacted(text, mask);
    }
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
