//! What the status says of backups.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::admin::Subject;
use crate::backup::task;
use crate::config;
use crate::telemetry::redacted;

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
    /// That it can't be seen whether one is due, so none is made; `None` when it can.
    #[serde(default)]
    pub due_unknown: Option<DueUnknown>,
}

/// That the database can't be asked for the last backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DueUnknown {
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Why not.
    pub reason: String,
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LastBackup {
    /// Of the file.
    pub name: String,
    /// When it was whole, and verified unless `backup.verify` is false.
    #[serde(with = "time::serde::rfc3339")]
    pub finished: OffsetDateTime,
    /// Length of the file.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
}

pub(in crate::admin) fn backup(subject: &Subject) -> Option<Backup> {
    let (schedule, facts) = subject.backups.as_ref()?.facts()?;
    Some(Backup::of(schedule, facts, &subject.config.log.mask))
}

impl Backup {
    fn of(schedule: config::Schedule, facts: task::Facts, mask: &config::Mask) -> Self {
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
            // SECURITY: in it are words of backup.command, which knows passwords.
            last_error: facts.last_error.map(|error| redacted(&error, mask)),
            due_unknown: facts.due_unknown.map(|unknown| DueUnknown {
                since: unknown.since,
                reason: redacted(&unknown.reason, mask),
            }),
        }
    }
}
