//! The edge: from the socket to whoever answers, and back.
//!
//! In the order a request meets them:
//! [`listeners`] accept, [`connection`] counts, asks a load balancer for whom it speaks
//! ([`proxy_protocol`]) and decrypts, [`door`] (HTTP/1.1) and [`http2`] read
//! requests, what was said before is [`ready`], [`proxy`] takes each other through its phases: [`acme_challenge`] answers
//! a CA, [`admission`] says of all others whether and where, [`policy`] who may and how often, and
//! [`files`], the [`bridge`] to the app, a [`fixed`] answer or an [`upstream`] answer it through
//! [`reply`]; [`compression`] and [`security_headers`] work on every answer, [`access_log`] tells
//! of it, and [`measure`] counts it.

pub(crate) mod access_log;
mod acme_challenge;
mod admission;
mod bridge;
pub(crate) mod client_address;
mod clock;
pub(crate) mod compression;
pub(crate) mod connection;
mod door;
pub(crate) mod error_page;
pub(crate) mod exchange;
mod figures;
pub(crate) mod files;
mod fixed;
pub(crate) mod freshness;
pub(crate) mod host_name;
mod http2;
pub(crate) mod limits;
pub mod listeners;
mod measure;
mod outgoing;
mod plain_http;
mod policy;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod properties;
mod proxy;
mod proxy_protocol;
mod ready;
pub(crate) mod reply;
pub(crate) mod request_id;
pub(crate) mod request_path;
mod rewrite;
pub(crate) mod route;
pub(crate) mod security_headers;
mod snapshot;
pub mod upstream;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use pingora_core::listeners::tls::Acceptor;
use pingora_core::server::ShutdownWatch;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::http_proxy;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use self::access_log::AccessLog;
use self::connection::Connection;
pub use self::figures::Figures;
use self::limits::Connections;
use self::listeners::Bound;
use self::measure::Measures;
pub use self::measure::{ConnectionFigures, HandshakeFigures, Requests, RouteFigures, StatusClass};
use self::plain_http::Ports;
use self::proxy::Proxy;
use self::snapshot::Snapshot;
use crate::certificates::acme::Challenges;
use crate::config::{Config, Timeouts};
use crate::telemetry::Output;

/// How often a request may meet a kept connection that its server has just closed.
const STALE_CONNECTIONS: usize = 4;

/// What all connections share.
pub(crate) struct Edge {
    snapshot: ArcSwap<Snapshot>,
    pub(crate) app: Router,
    pub(crate) connections: Connections,
    pub(crate) access_log: AccessLog,
    /// What a CA may ask for; `None` where certificates come from no CA.
    pub(crate) challenges: Option<Arc<Challenges>>,
    pub(crate) measures: &'static Measures,
}

/// The sockets of one configuration, bound and not yet served.
#[derive(Debug)]
pub struct Sockets {
    /// Plain listeners.
    pub http: Vec<Bound>,
    /// TLS listeners.
    pub https: Vec<Bound>,
}

/// What TLS listeners need.
pub struct Tls {
    /// Makes their connections.
    pub config: Arc<rustls::ServerConfig>,
    /// What a CA may ask the plain listeners for; `None` where certificates come from no CA.
    pub challenges: Option<Arc<Challenges>>,
}

/// The edge at work. Dropping it doesn't stop it: [`Running::stop`] does.
pub struct Running {
    edge: Arc<Edge>,
    shutdown: watch::Sender<bool>,
    closing: Arc<AtomicBool>,
    accepting: Vec<JoinHandle<()>>,
}

impl Sockets {
    /// Binds every listener of `config`.
    ///
    /// # Errors
    /// One line naming the address, the configuration key and the remedy.
    pub fn bind(config: &Config) -> anyhow::Result<Self> {
        Ok(Self {
            http: listeners::bind("server.http", &config.server.http)?,
            https: listeners::bind("server.https", &config.server.https)?,
        })
    }

    fn redirect_ports(&self, config: &Config) -> Option<Ports> {
        let https = self.https.first()?.address.port();
        let http = self.http.first().map(|bound| bound.address.port());
        config.tls.redirect.then_some(Ports { http, https })
    }
}

/// Serves `sockets` as `config` says, handing the app's requests to `app`.
///
/// `tls` is what the TLS listeners need; it may be `None` where there are none. Must be called within
/// a tokio runtime; all of the edge runs there.
///
/// # Errors
/// A directory of a route that can't be opened, or a socket that can't be prepared.
pub fn start(
    config: &Arc<Config>,
    sockets: Sockets,
    tls: Option<Tls>,
    app: Router,
    output: &Output,
) -> anyhow::Result<Running> {
    let closing = Arc::new(AtomicBool::new(false));
    let redirect = sockets.redirect_ports(config);
    let access_log = AccessLog::new(&config.log, output.clone());
    let measures = Measures::forever(config.server.workers);
    let edge = Arc::new(Edge {
        snapshot: ArcSwap::from_pointee(Snapshot::prepare(
            config.clone(),
            redirect,
            closing.clone(),
            measures,
        )?),
        app,
        connections: Connections::new(),
        access_log,
        challenges: tls.as_ref().and_then(|tls| tls.challenges.clone()),
        measures,
    });
    let proxy = Arc::new(http_proxy(&pingora_conf(config), Proxy::new(edge.clone())));

    edge.snapshot().keep_watch();

    let (shutdown, watch) = watch::channel(false);
    let connection = |acceptor| Connection {
        edge: edge.clone(),
        proxy: proxy.clone(),
        acceptor,
    };
    let mut accepting = Vec::new();
    if !sockets.http.is_empty() {
        accepting.push(listeners::accept(
            sockets.http,
            "http",
            connection(None),
            &watch,
        )?);
    }
    if let Some(tls) = tls.filter(|_| !sockets.https.is_empty()) {
        let acceptor = Acceptor::from_server_config(tls.config);
        accepting.push(listeners::accept(
            sockets.https,
            "https",
            connection(Some(acceptor)),
            &watch,
        )?);
    }
    Ok(Running {
        edge,
        shutdown,
        closing,
        accepting,
    })
}

impl Running {
    /// What this edge counts.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures(self.edge.clone())
    }

    /// Stops accepting, lets running requests finish for at most `drain`, and returns how many
    /// connections had to be cut. Idle connections end at once.
    pub async fn stop(self, drain: Duration) -> usize {
        self.closing.store(true, Ordering::Relaxed);
        self.shutdown.send_replace(true);
        for accepting in self.accepting {
            // A listener that panicked has stopped as well; its panic is in the log.
            let _ = accepting.await;
        }
        // What is still there after the deadline is cut by the end of the runtime.
        let _ = timeout(drain, self.edge.connections.all_closed()).await;
        self.edge.connections.open()
    }
}

impl Edge {
    /// The configuration in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.snapshot.load().config.server.timeouts
    }
}

/// Resolves when the edge is to stop.
async fn closing(shutdown: &mut ShutdownWatch) {
    // A sender that is gone means the same as one that says so.
    let _ = shutdown.wait_for(|closing| *closing).await;
}

fn pingora_conf(config: &Config) -> Arc<ServerConf> {
    let kept = config
        .upstreams
        .values()
        .map(|upstream| upstream.keepalive)
        .sum::<usize>();
    let tries = config.upstreams.values().map(|upstream| upstream.retries);
    Arc::new(ServerConf {
        threads: config.server.workers,
        // Pingora takes it for each thread, and has one pool for all.
        upstream_keepalive_pool_size: kept.div_ceil(config.server.workers).max(1),
        // The first, those that are counted, and some on connections that were closed meanwhile.
        max_retries: tries.max().unwrap_or(0) + STALE_CONNECTIONS,
        ..ServerConf::default()
    })
}
