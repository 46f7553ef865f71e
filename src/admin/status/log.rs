//! Lines of the log that nobody will read.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::telemetry::Losses;

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
