//! What the status says of backups.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::admin::Subject;
use crate::backup::task;
use crate::config;

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

pub(in crate::admin) fn backup(subject: &Subject) -> Option<Backup> {
    Some(subject.backups.as_ref()?.facts()?.into())
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
