//! The configuration: what the user wrote, as types the rest of the program can trust.
//!
//! [`load()`] reads `config.toml` and makes a [`Config`] of it. A `Config` that exists is valid:
//! nothing below this module checks a value again. Every mistake of the file is reported in one
//! [`Mistakes`], each with its line and what to do about it.
//!
//! A reading passes through the modules in this order. `load` parses the TOML. `file` and the
//! modules it names (`tls`, `acme`, `backup`, `header_tables`, `secrets`, `telemetry`, `upstreams`, `policy`, `routes`, `actions`) know its
//! shape. `reader` takes a table apart by the keys of `keys`, which has every default; `node` is one
//! value in it, `read` and [`values`] make types of it, `environment` fills in its `${NAME}`. What is
//! wrong goes to `mistakes`. `effective` prints a [`Config`] again, and [`changes`] compares two.

mod acme;
mod actions;
mod backup;
mod cache;
pub mod changes;
mod effective;
mod environment;
mod file;
mod header_tables;
mod keys;
mod load;
mod mistakes;
mod nearest;
mod node;
mod policy;
mod read;
mod reader;
mod routes;
mod secrets;
mod telemetry;
#[cfg(test)]
mod tests;
mod tls;
mod upstreams;
pub mod values;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use rustls::pki_types::CertificateDer;

pub use acme::{Acme, AcmeStorage, Ca, Challenge, Eab};
pub use backup::{Backup, Destination, Keep, Schedule};
pub use cache::Cache;
pub use changes::Changes;
pub use environment::Environment;
pub use load::{DEFAULT_FILE, load, load_or_default, parse};
pub use mistakes::{Mistake, Mistakes};
pub use policy::{Account, Cors, LimitKey, Origins, PasswordHash, Rate, RateLimit, RoutePolicy};
pub use telemetry::{CollectorHeaders, Telemetry};
pub use tls::{Tls, TlsFiles, TlsMode, TlsVersion, UnknownNames};
pub use upstreams::MOST_RETRIES;
pub use values::{Mask, Secret};

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

/// `[server]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Plain HTTP listeners. Default `[::]:8080`.
    pub http: Vec<SocketAddr>,
    /// TLS listeners. Default `[::]:8443`. Empty with `tls.mode = "off"`.
    pub https: Vec<SocketAddr>,
    /// Names served; empty means any. Default `localhost`.
    pub hosts: Vec<HostPattern>,
    /// Where status and metrics are told; `None` tells nobody. Default `127.0.0.1:9180`.
    pub admin: Option<SocketAddr>,
    /// Embedded database, locks, sockets. Default `data`.
    pub data_dir: PathBuf,
    /// Threads that serve requests; never 0 here (the file's 0 became the number of cores).
    pub workers: usize,
    /// Largest request body in bytes. Default 20 MiB. Routes may override it.
    pub max_body: u64,
    /// Networks whose forwarding headers are believed. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether connections from `trusted_proxies` begin with a PROXY protocol header. Default false.
    pub proxy_protocol: bool,
    /// How long running requests may finish at shutdown. Default 30 s.
    pub drain: Duration,
    /// Connections of all listeners together. Default 10,000.
    pub max_connections: usize,
    /// Connections of one client address (IPv6: one /64). Default 256.
    pub max_connections_per_ip: usize,
    /// Bytes of memory for answers that are given again as they are; 0 keeps none. Default 64 MiB.
    pub ready_answers: u64,
    /// Whether the configuration is reloaded when its file changes. Default false.
    pub watch_config: bool,
    /// Bytes of memory for the answers that routes with a cache keep; 0 keeps none. Default 64 MiB.
    pub cached_answers: u64,
    /// Deadlines towards clients.
    pub timeouts: Timeouts,
}

/// `[server.timeouts]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timeouts {
    /// For the whole request head, from its first byte. Default 15 s.
    pub header: Duration,
    /// Between two reads of a request body. Default 60 s.
    pub body_idle: Duration,
    /// Between two accepted writes. Default 60 s.
    pub write_idle: Duration,
    /// Of an idle HTTP/1.1 or HTTP/2 connection. Default 65 s.
    pub keepalive: Duration,
    /// For the TLS handshake. Default 10 s.
    pub tls_handshake: Duration,
}

/// `[database]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Where PostgreSQL is; `None` runs the embedded cluster in `server.data_dir`.
    pub url: Option<Secret>,
    /// Where the programs of the embedded PostgreSQL are; `None` searches for them.
    pub bin_dir: Option<PathBuf>,
    /// Connections of the pool. Default 10.
    pub pool_size: usize,
    /// How long start-up waits for the database before serving without it. Default 60 s.
    pub wait: Duration,
    /// How long a request waits for a connection. Default 10 s.
    pub acquire_timeout: Duration,
    /// PostgreSQL's `statement_timeout`. Default 10 s.
    pub statement_timeout: Duration,
    /// Age at which a connection is replaced. Default 30 min.
    pub max_lifetime: Duration,
    /// Whether migrations are applied at start. Default true.
    pub migrate: bool,
}

/// `[compression]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Compression {
    /// The server's preference among what the client accepts equally; empty switches compression off.
    pub algorithms: Vec<Coding>,
    /// Bodies shorter than this many bytes are sent as they are. Default 1 KiB.
    pub min_length: u64,
    /// Media types that are compressed.
    pub types: Vec<MediaPattern>,
    /// Level of live compression, one that all `algorithms` have; 0 chooses per algorithm.
    pub level: u32,
}

/// A content coding (RFC 9110, section 8.4.1) that the server can produce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Coding {
    /// `zstd` (RFC 8878).
    Zstd,
    /// `br` (RFC 7932).
    Br,
    /// `gzip` (RFC 1952).
    Gzip,
}

impl Coding {
    /// Every coding.
    pub const ALL: [Self; 3] = [Self::Zstd, Self::Br, Self::Gzip];

    /// The name in `Content-Encoding`, and in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Br => "br",
            Self::Gzip => "gzip",
        }
    }

    /// The highest level; the lowest is 1. Zstandard's 20 to 22 are left out: their windows are
    /// larger than what clients must accept (RFC 9659).
    #[must_use]
    pub const fn highest_level(self) -> u32 {
        match self {
            Self::Zstd => 19,
            Self::Br => 11,
            Self::Gzip => 9,
        }
    }
}

/// `text/*` or `application/json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPattern {
    /// Every subtype of this type.
    Any(String),
    /// Exactly this `type/subtype`.
    Exact(String),
}

/// `[[upstream]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// The name routes refer to.
    pub name: String,
    /// At least one server.
    pub servers: Vec<UpstreamServer>,
    /// Which server is asked. Default in turn.
    pub balance: Balance,
    /// `Host` in place of the client's. Default the client's.
    pub host: Option<HeaderValue>,
    /// The name a TLS server must prove, and which it is asked for (SNI). Default its host.
    pub server_name: Option<String>,
    /// What certificates of TLS servers must descend from. Default the system's roots.
    pub ca: Option<CaFile>,
    /// For a connection, TLS included. Default 5 s.
    pub connect_timeout: Duration,
    /// Between two reads from the server. Default 75 s.
    pub read_timeout: Duration,
    /// Between two accepted writes to the server. Default 30 s.
    pub send_timeout: Duration,
    /// In place of `read_timeout` where the client asks for a WebSocket or an event stream.
    /// Default 1 h, or `read_timeout` where that is longer.
    pub stream_timeout: Duration,
    /// Further servers that a request may be sent to. Default 1.
    pub retries: usize,
    /// Failures in a row after which a server is passed over; 0 is never. Default 3.
    pub eject_after: u32,
    /// For how long. Default 10 s.
    pub eject_for: Duration,
    /// Idle connections kept to the servers. Default 64.
    pub keepalive: usize,
    /// How servers are asked whether they are well. Default not at all.
    pub health: Option<HealthCheck>,
}

/// `upstream.balance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Each server as often as its weight says.
    RoundRobin,
    /// The one with the fewest requests running, by weight.
    LeastConnections,
    /// A client always the same one, as long as that is there.
    IpHash,
}

/// `upstream.ca_file`, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaFile {
    /// Where it was read.
    pub path: PathBuf,
    /// At least one certificate that chains may end in.
    pub roots: Vec<CertificateDer<'static>>,
}

/// `[upstream.health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path and query that are asked for.
    pub path: String,
    /// `Host` of the question. Default the upstream's `host`, else the server's address.
    pub host: Option<HeaderValue>,
    /// The answer of a server that is well. Default any 2xx.
    pub status: ExpectedStatus,
    /// Between two questions. Default 10 s.
    pub interval: Duration,
    /// For the whole answer's head. Default 5 s.
    pub timeout: Duration,
    /// Wrong answers in a row after which a server gets no requests. Default 3.
    pub unhealthy_after: u32,
    /// Right answers in a row after which it gets them again. Default 2.
    pub healthy_after: u32,
}

/// `204` or `2xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedStatus {
    /// This status only.
    Exactly(StatusCode),
    /// Any of the class: 2 stands for 200 to 299.
    Class(u16),
}

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// How to reach it.
    pub address: UpstreamAddress,
    /// How to speak to it.
    pub protocol: UpstreamProtocol,
    /// Its share of the requests, beside the others' weights. Default 1.
    pub weight: u32,
}

/// Where a server of an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A host (name or address) and a port.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// What a server of an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/1.1 over verified TLS.
    Https,
    /// HTTP/2 over verified TLS.
    H2,
    /// HTTP/2 in the clear with prior knowledge (RFC 9113, section 3.3).
    H2c,
}

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Host it is limited to.
    pub host: Option<HostPattern>,
    /// Path it matches.
    pub path: PathPattern,
    /// What it does.
    pub action: Action,
    /// What it asks of a request before it answers.
    pub policy: RoutePolicy,
    /// What the app or upstream is told beyond what the client has sent.
    pub request_headers: RequestHeaders,
    /// The path as the upstream sees it, after `strip_prefix`; `{path}` stands for what it was.
    pub rewrite: Option<String>,
    /// Largest request body in bytes, where it differs from the server's.
    pub max_body: Option<u64>,
    /// Whether answers are compressed: `None` leaves it to the general rules.
    pub compress: Option<bool>,
    /// Response headers set on this route's answers.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// Response headers removed from this route's answers.
    pub remove_headers: Vec<HeaderName>,
    /// Where in `config.toml` the route begins (1-based line; 0 for a default route).
    pub line: usize,
}

/// `request_headers` of a route.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RequestHeaders {
    /// Set in the place of what the client or this server says.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Removed, whoever says them.
    pub remove: Vec<HeaderName>,
    /// Whether `Forwarded` (RFC 7239) tells of the client, too. Default false.
    pub forwarded: bool,
}

/// What a route does with a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Hands it to the app in this process.
    App,
    /// Serves files of a directory; the route's path is removed first (nginx's `alias`).
    Files(Files),
    /// Forwards it.
    Upstream {
        /// To which servers.
        upstream: Arc<Upstream>,
        /// Leading path that is removed before forwarding, without trailing slash.
        strip_prefix: Option<String>,
        /// Which of their answers are given again; `None` gives none.
        cache: Option<Cache>,
    },
    /// Sends the client elsewhere.
    Redirect {
        /// Target; `{path}` stands for the path with its query, `{host}` for the host.
        to: String,
        /// 301, 302, 303, 307 or 308. Default 302.
        status: StatusCode,
    },
    /// Answers with fixed content.
    Respond {
        /// Default 200.
        status: StatusCode,
        /// Default empty.
        body: String,
        /// Default `text/plain; charset=utf-8`.
        content_type: HeaderValue,
    },
}

/// `files = "…"` with its options.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The directory.
    pub root: PathBuf,
    /// File (relative to `root`) that answers unknown paths, for single-page applications.
    pub spa: Option<String>,
    /// `Cache-Control` of the answers; `None` chooses by type.
    pub cache_control: Option<HeaderValue>,
    /// Whether files whose name carries a hash of their content are `immutable` (RFC 8246).
    pub immutable: bool,
}

/// `notes.example.com` or `*.example.com`, lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name only.
    Exact(String),
    /// One label in front of this suffix; the suffix is kept without its leading dot.
    Wildcard(String),
}

/// `/api/` (a prefix at a segment boundary) or `=/exact`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/api/` matches `/api`, `/api/` and all below; kept without the trailing slash (`""` is everything).
    Prefix(String),
    /// This path only.
    Exact(String),
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// A `tracing` filter directive, e.g. `info` or `unibody=debug`.
    pub level: String,
    /// Text or JSON. Default text.
    pub format: LogFormat,
    /// Access log. Default combined with timings.
    pub access: AccessFormat,
    /// Headers and query parameters whose values are never written.
    pub mask: Mask,
}

/// `log.format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `log.access`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessFormat {
    /// nginx's combined format plus timings and the request id.
    CombinedTiming,
    /// One JSON object a line.
    Json,
    /// None.
    Off,
}

impl Config {
    /// Whether any listener terminates TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.tls.mode != TlsMode::Off
    }
}

impl Server {
    /// What a connection to `own`, an address of this machine, has to begin with when this machine
    /// opens it: where it is one of our trusted proxies, that it speaks for nobody.
    #[must_use]
    pub fn greeting(&self, own: IpAddr) -> &'static [u8] {
        let mut trusted = self.trusted_proxies.iter();
        if self.proxy_protocol && trusted.any(|network| network.contains(&own)) {
            b"PROXY UNKNOWN\r\n"
        } else {
            b""
        }
    }
}

impl Route {
    /// A route with nothing but its action, of no line of the file.
    #[must_use]
    pub fn new(host: Option<HostPattern>, path: PathPattern, action: Action) -> Self {
        Self {
            host,
            path,
            action,
            policy: RoutePolicy::default(),
            request_headers: RequestHeaders::default(),
            rewrite: None,
            max_body: None,
            compress: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            line: 0,
        }
    }
}

impl HostPattern {
    /// Whether `host` (lower case, no port) is meant. A wildcard stands for exactly one label.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(suffix) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
        }
    }
}

impl PathPattern {
    /// Whether `path` (no query) is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}
