//! The configuration: what the user wrote, as types the rest of the program can trust.
//!
//! [`load()`] reads `config.toml` and makes a [`Config`] of it. A `Config` that exists is valid:
//! nothing below this module checks a value again. Every mistake of the file is reported in one
//! [`Mistakes`], each with its line and what to do about it.
//!
//! Each table of the file has its module, with its types, how they are read, and how they are
//! printed again. Around them, a reading passes downward: `load` parses the TOML, `file` names the
//! tables in their order. `reader` takes a table apart by the keys of `keys`, which has every
//! default; `node` is one value in it, `read` and [`values`] make types of it, `environment` fills
//! in its `${NAME}`, `secrets` reads those that lie in files. What is wrong goes to `mistakes`.
//! `reach` is what commands need of the file that ask the running server. `effective` prints a
//! [`Config`] again with its `printer`, and [`changes`] compares two.

mod acme;
mod backup;
pub mod changes;
mod compression;
mod database;
pub mod database_url;
mod effective;
mod environment;
mod error_pages;
mod file;
mod header_tables;
mod keys;
mod load;
mod log;
mod mistakes;
mod nearest;
mod node;
mod policy;
mod printer;
mod reach;
mod read;
mod reader;
mod routes;
mod secrets;
mod server;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod upstreams;
pub mod values;

use std::collections::HashMap;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

pub use acme::{Acme, AcmeStorage, Ca, Challenge, Eab};
pub use backup::{Backup, Destination, Keep, Schedule};
pub use changes::Changes;
pub use compression::{Coding, Compression};
pub use database::Database;
pub use environment::Environment;
pub use error_pages::ErrorPages;
pub use load::{DEFAULT_FILE, load, load_admin, load_mask, load_or_default, load_reach, parse};
pub use log::{AccessFormat, Log, LogFormat};
pub use mistakes::{Mistake, Mistakes};
pub use policy::{Account, Cors, LimitKey, Origins, PasswordHash, Rate, RateLimit, RoutePolicy};
pub use reach::Reach;
pub use routes::{Action, Cache, Files, RequestHeaders, Route};
pub use server::{Server, Timeouts};
pub use telemetry::{CollectorHeaders, Telemetry};
pub use tls::{Tls, TlsFiles, TlsMode, TlsVersion, UnknownNames};
pub use upstreams::{
    Balance, CaFile, ExpectedStatus, HealthCheck, MOST_RETRIES, Share, Upstream, UpstreamAddress,
    UpstreamProtocol, UpstreamServer,
};
pub use values::{HostPattern, Mask, MediaPattern, PathPattern, Secret};

/// Everything the program was told, validated. One immutable snapshot serves each request.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Listeners, names and limits.
    pub server: Server,
    /// Certificates and the versions of TLS.
    pub tls: Tls,
    /// The CA of `tls.mode = "acme"`.
    pub acme: Acme,
    /// Where the notes live.
    pub database: Database,
    /// Backups that the server makes by itself. Default none.
    pub backup: Option<Backup>,
    /// Headers sent on every response, in the order of the file.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Pages for people in the place of the server's own.
    pub error_pages: ErrorPages,
    /// Compression of live bodies.
    pub compression: Compression,
    /// Servers to forward to, by name.
    pub upstreams: HashMap<String, Arc<Upstream>>,
    /// How often clients may ask, by name.
    pub rate_limits: HashMap<String, Arc<RateLimit>>,
    /// Routes in the order of the file; `edge::route` orders them by how specific they are.
    pub routes: Vec<Route>,
    /// What is logged, and how.
    pub log: Log,
    /// Where traces go.
    pub telemetry: Telemetry,
}

impl Config {
    /// Whether any listener terminates TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls.mode != TlsMode::Off
    }

    /// What asks for a database, in the words of the file and the first of them; `None` where nothing
    /// does, and none is to be opened.
    #[must_use]
    pub fn needs_database(&self) -> Option<String> {
        if self.database.url.is_some() {
            return Some("database.url".to_owned());
        }
        if self.acme.storage == AcmeStorage::Database {
            return Some("acme.storage = \"database\"".to_owned());
        }
        if self.backup.is_some() {
            return Some("[backup]".to_owned());
        }
        let route = self.routes.iter().find(|route| route.needs_database())?;
        Some(format!("route {}", route.name()))
    }

    /// Whether that is the embedded one.
    #[must_use]
    pub fn embeds_database(&self) -> bool {
        self.database.url.is_none() && self.needs_database().is_some()
    }
}
