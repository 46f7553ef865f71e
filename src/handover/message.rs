//! What two processes say to each other. They may be of different versions: whoever adds a field
//! gives it a default, and what an old one doesn't know it skips.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Program;

/// Raised when a process of before could only misunderstand.
pub(super) const PROTOCOL: u32 = 1;

/// What the running process has to give; the descriptors come with it, the sockets' first.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Offer {
    pub(super) protocol: u32,
    pub(super) from: Program,
    pub(super) sockets: Vec<SocketAddr>,
    /// Whether the lock of the embedded database follows.
    #[serde(default)]
    pub(super) lock: bool,
    /// For how long it stays ready to go on, once the new process serves.
    #[serde(default)]
    pub(super) watch: Duration,
}

/// What the new process says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum News {
    /// Why it will not serve.
    Failed(String),
    /// It could serve at once.
    Ready(Ready),
    /// It does.
    Serving,
}

/// A process that could serve at once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) program: Program,
    /// Whether it keeps the embedded database from now on.
    #[serde(default)]
    pub(super) keeps_database: bool,
    /// Whether it holds this conversation open while it serves, until the other side ends it.
    #[serde(default)]
    pub(super) stays: bool,
}

/// What the running process says after its offer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Word {
    /// Serve.
    Begin,
    /// There will be no handover; why.
    Refused(String),
}
