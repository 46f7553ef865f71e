//! The edge: from the socket to whoever answers, and back.
//!
//! In the order a request meets them:
//! [`listeners`] accept from sockets that are [`bound`], [`connection`] counts, asks a load balancer for whom it speaks
//! ([`proxy_protocol`]) and decrypts, [`door`] (HTTP/1.1) and [`http2`] read
//! requests, what was said before is [`ready`], [`proxy`] takes each other through its phases: [`acme_challenge`] answers
//! a CA, [`admission`] says of all others whether and where, [`policy`] who may and how often, and
//! [`files`], the [`bridge`] to the app, a [`fixed`] answer or an [`upstream`] (or what it has answered before: [`cache`]) answer it through
//! [`reply`]; [`compression`] and [`security_headers`] work on every answer, [`access_log`] tells
//! of it, [`measure`] counts it, and [`trace`] tells a collector. [`reload`] puts another configuration in the place of this one while
//! all that runs, and [`farewell`] is how the connections of a listener end that it takes away (an
//! [`event_stream`] between two events).

pub(crate) mod access_log;
mod acme_challenge;
mod admission;
pub mod bound;
mod bridge;
pub mod cache;
pub(crate) mod client_address;
mod clock;
pub(crate) mod compression;
pub(crate) mod connection;
mod door;
pub(crate) mod error_page;
mod event_stream;
pub(crate) mod exchange;
mod farewell;
mod figures;
pub(crate) mod files;
mod fixed;
pub(crate) mod freshness;
pub(crate) mod host_name;
mod http2;
mod inflow;
pub(crate) mod limits;
mod listeners;
mod local;
mod measure;
mod message;
pub mod open_files;
mod outgoing;
mod panics;
mod plain_http;
mod policy;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod properties;
mod proxy;
mod proxy_protocol;
mod ready;
mod reload;
pub(crate) mod reply;
pub(crate) mod request_id;
pub(crate) mod request_path;
mod rewrite;
pub(crate) mod route;
pub(crate) mod security_headers;
mod snapshot;
mod socket;
mod trace;
pub mod upstream;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use futures_util::future::join_all;
use pingora_core::server::configuration::ServerConf;
use pingora_proxy::{HttpProxy, http_proxy};
use tokio::time::timeout;

use self::access_log::AccessLog;
use self::bound::{AtHand, Bound};
use self::connection::Connection;
use self::farewell::Farewell;
pub use self::figures::Figures;
use self::limits::Connections;
use self::listeners::{Leaving, Listening};
use self::measure::Measures;
pub use self::measure::{ConnectionFigures, HandshakeFigures, Requests, RouteFigures, StatusClass};
use self::panics::Panics;
use self::plain_http::Ports;
use self::proxy::Proxy;
pub use self::reload::{Next, View};
use self::snapshot::{Snapshot, Surroundings};
use crate::certificates::acme::Challenges;
use crate::config::{Config, MOST_RETRIES, Timeouts};
use crate::telemetry::Output;
use crate::telemetry::traces::Tracer;

/// How often a request may meet a kept connection that its server has just closed.
const STALE_CONNECTIONS: usize = 4;

/// What all connections share.
pub(crate) struct Edge {
    snapshot: ArcSwap<Snapshot>,
    pub(crate) app: Router,
    pub(crate) connections: Connections,
    pub(crate) access_log: AccessLog,
    /// What routes with a cache keep, whatever the configuration becomes.
    pub(crate) cache: &'static cache::Cache,
    pub(crate) measures: &'static Measures,
    panics: Panics,
    /// `None` where nobody wants traces.
    traces: Option<Tracer>,
}

/// The sockets of one configuration, bound and not yet served.
#[derive(Debug)]
pub struct Sockets {
    /// Plain listeners.
    pub http: Vec<Bound>,
    /// TLS listeners.
    pub https: Vec<Bound>,
}

/// Where listeners really are, in the order of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Plain listeners.
    pub http: Vec<SocketAddr>,
    /// TLS listeners.
    pub https: Vec<SocketAddr>,
}

/// What TLS listeners need. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    /// Makes their connections.
    pub config: Arc<rustls::ServerConfig>,
    /// What a CA may ask the plain listeners for; `None` where certificates come from no CA.
    pub challenges: Option<Arc<Challenges>>,
}

/// An edge that lacks nothing but its start.
pub struct Prepared {
    running: Running,
    listeners: Vec<listeners::Prepared>,
}

/// The edge at work. Dropping it doesn't stop it: [`Running::stop`] does.
pub struct Running {
    edge: Arc<Edge>,
    /// What all connections run through that begin from now on.
    proxy: Arc<ArcSwap<HttpProxy<Proxy>>>,
    listening: Vec<Listening>,
    /// Taken away, and not yet without connections.
    leaving: Vec<Leaving>,
}

impl Sockets {
    /// Binds every listener of `config` whose socket isn't at hand.
    ///
    /// # Errors
    /// One line naming the address, the configuration key and the remedy.
    pub fn bind(config: &Config, at_hand: &mut AtHand) -> anyhow::Result<Self> {
        Ok(Self {
            http: bound::bind("server.http", &config.server.http, at_hand)?,
            https: bound::bind("server.https", &config.server.https, at_hand)?,
        })
    }

    /// Where they are.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        let addresses = |bound: &[Bound]| bound.iter().map(|bound| bound.address).collect();
        Addresses {
            http: addresses(&self.http),
            https: addresses(&self.https),
        }
    }
}

impl Addresses {
    fn redirect(&self, config: &Config) -> Option<Ports> {
        let https = self.https.first()?.port();
        let http = self.http.first().map(SocketAddr::port);
        config.tls.redirect.then_some(Ports { http, https })
    }
}

/// Prepares to serve `sockets` as `config` says, handing the app's requests to `app`.
///
/// `tls` is what the TLS listeners need; it may be `None` where there are none. Must be called within
/// a tokio runtime; all of the edge runs there.
///
/// # Errors
/// A directory of a route that can't be opened, or a socket that can't be prepared.
pub fn prepare(
    config: &Arc<Config>,
    sockets: Sockets,
    tls: Option<Tls>,
    app: Router,
    output: &Output,
) -> anyhow::Result<Prepared> {
    let redirect = sockets.addresses().redirect(config);
    let measures = Measures::forever(config.server.workers);
    let around = Surroundings {
        redirect,
        measures,
        before: None,
    };
    let mut snapshot = Snapshot::prepare(config.clone(), &around)?;
    snapshot.speak(tls);
    let tell = |is_tls| move |bound| listeners::Prepared::new(bound, is_tls);
    let http = sockets.http.into_iter().map(tell(false));
    let listeners = http.chain(sockets.https.into_iter().map(tell(true)));
    let listeners = listeners.collect::<anyhow::Result<Vec<_>>>()?;

    snapshot.keep_watch();
    tokio::spawn(open_files::watch());
    let edge = Arc::new(Edge {
        snapshot: ArcSwap::from_pointee(snapshot),
        app,
        connections: Connections::within(open_files::allowed()),
        access_log: AccessLog(output.clone()),
        measures,
        panics: Panics::forever(),
        cache: cache::Cache::forever(config.server.workers),
        traces: Tracer::start(config)?,
    });
    let proxy = ArcSwap::from_pointee(proxy_as(config, &edge));
    Ok(Prepared {
        running: Running {
            edge,
            proxy: Arc::new(proxy),
            listening: Vec::new(),
            leaving: Vec::new(),
        },
        listeners,
    })
}

impl Prepared {
    /// Accepts connections from now on. Must be called within a tokio runtime.
    #[must_use]
    pub fn serve(self) -> Running {
        let mut running = self.running;
        for listener in self.listeners {
            running.open(listener);
        }
        running
    }
}

impl Running {
    /// What this edge counts.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures(self.edge.clone())
    }

    /// What it listens on, in the order of the configuration.
    pub fn sockets(&self) -> impl Iterator<Item = &Bound> {
        let listening = |is_tls| {
            let each = self.listening.iter();
            each.filter(move |listening| listening.is_tls == is_tls)
        };
        let all = listening(false).chain(listening(true));
        all.map(|listening| &listening.socket)
    }

    /// Has every answer from here on be its connection's last, so that clients come anew.
    pub fn say_farewell(&self) {
        for listening in &self.listening {
            listening.say_farewell();
        }
    }

    /// Leaves the queues of clients to another process, which accepts from them already. Each
    /// connection is given the answer it waits for, or the next one, and told that it was the last;
    /// who is still there after `drain` is cut. Returns how many that were.
    pub async fn hand_over(self, drain: Duration) -> usize {
        let _rest = self.rest();
        let listening = self.listening.into_iter();
        let handed_over = join_all(listening.map(|listening| listening.hand_over(drain)));
        let taken_away = join_all(self.leaving.into_iter().map(Leaving::gone));
        let cut = tokio::join!(handed_over, taken_away).0.into_iter().sum();
        if let Some(traces) = &self.edge.traces {
            traces.flush().await;
        }
        cut
    }

    /// Stops accepting, lets running requests finish for at most `drain`, and returns how many
    /// connections had to be cut. Idle connections end at once.
    pub async fn stop(self, drain: Duration) -> usize {
        for leaving in &self.leaving {
            leaving.hurry();
        }
        let rest = self.rest();
        let listening = self.listening.into_iter();
        let closed = async {
            join_all(listening.map(|listening| listening.close(drain))).await;
            // Those of listeners that were taken away before, too.
            self.edge.connections.all_closed().await;
        };
        let _ = timeout(drain, closed).await;
        let cut = self.edge.connections.open();
        drop(rest);
        if let Some(traces) = &self.edge.traces {
            traces.flush().await;
        }
        cut
    }

    /// The connections of all listeners, for who has waited for them long enough.
    fn rest(&self) -> Rest {
        let listening = self.listening.iter().map(Listening::farewell);
        let leaving = self.leaving.iter().map(Leaving::farewell);
        Rest(listening.chain(leaving).cloned().collect())
    }

    /// Must be called within a tokio runtime.
    fn open(&mut self, listener: listeners::Prepared) {
        let is_tls = listener.is_tls;
        self.listening
            .push(listener.open(|farewell, here| Connection {
                edge: self.edge.clone(),
                proxy: self.proxy.clone(),
                is_tls,
                farewell,
                _here: here,
            }));
    }
}

/// Connections that are cut when this is dropped, those that are left.
struct Rest(Vec<Arc<Farewell>>);

impl Drop for Rest {
    fn drop(&mut self) {
        for farewell in &self.0 {
            farewell.cut();
        }
    }
}

impl Edge {
    /// The configuration in force.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// How many connections there may be: as many as are wished for, or as open files allow.
    pub(crate) fn room(&self) -> usize {
        let snapshot = self.snapshot.load();
        let wished = snapshot.config.server.max_connections;
        self.connections
            .room(wished, !snapshot.upstreams.is_empty())
    }

    pub(crate) fn timeouts(&self) -> Timeouts {
        self.snapshot.load().config.server.timeouts
    }
}

/// The way of requests through Pingora, with the pool of connections to upstreams.
fn proxy_as(config: &Config, edge: &Arc<Edge>) -> HttpProxy<Proxy> {
    let conf = ServerConf {
        threads: config.server.workers,
        // Pingora takes it for each thread, and has one pool for all.
        upstream_keepalive_pool_size: kept_connections(config).div_ceil(config.server.workers),
        // An upper bound: how many there are is decided for each upstream.
        max_retries: MOST_RETRIES + STALE_CONNECTIONS,
        ..ServerConf::default()
    };
    http_proxy(&Arc::new(conf), Proxy::new(edge.clone()))
}

/// Idle connections kept to all upstreams together.
fn kept_connections(config: &Config) -> usize {
    let each = config.upstreams.values().map(|upstream| upstream.keepalive);
    each.sum::<usize>().max(1)
}
