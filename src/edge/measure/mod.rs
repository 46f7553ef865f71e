//! What the edge counts of its requests, and where each count is kept.
//!
//! 1. [`Measures`] are made once in the life of the process and outlive every configuration.
//! 2. A [`Snapshot`](super::snapshot::Snapshot) is prepared with the [`RouteCells`] of each of its
//!    routes, found by the route's label: a route that stays goes on counting where it was.
//! 3. Each exchange is counted once, where the access log is told of it: under its route, or as
//!    [`unrouted`], with the reason.
//! 4. [`Figures`](super::Figures) reads it all as plain values.
//!
//! Cells are never freed, so that a request needs no reference to be counted: as many exist as there
//! ever were different routes, and one that comes back finds its counts. What a request adds to is
//! [`Sharded`]; labels come from the configuration or are fixed, so nothing
//! here grows with what clients send.

mod connections;
mod requests;
mod route;
mod unrouted;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http::StatusCode;
use parking_lot::Mutex;
use pingora_proxy::Session;

pub(crate) use self::connections::{ConnectionCells, ConnectionRefused, HandshakeFailed};
pub use self::connections::{ConnectionFigures, HandshakeFigures};
pub use self::requests::{Requests, StatusClass};
use self::route::Exchanged;
pub(crate) use self::route::RouteCells;
pub use self::route::RouteFigures;
use self::unrouted::Unrouted;
use super::access_log::Line;
use super::compression::CompressionCells;
use super::exchange::Exchange;
use super::upstream::Try;
use crate::config::Route;
use crate::measure::Sharded;

/// All counts of one process.
pub(crate) struct Measures {
    threads: usize,
    /// By their label.
    routes: Mutex<BTreeMap<String, &'static RouteCells>>,
    unrouted: Unrouted,
    running: Sharded<AtomicI64>,
    http: ConnectionCells,
    https: ConnectionCells,
    pub(crate) compression: Arc<CompressionCells>,
}

/// A request on its way through the phases, until this is dropped.
pub(crate) struct Running(&'static Measures);

impl Measures {
    /// For requests on `threads` at once. It stays for ever.
    pub(crate) fn forever(threads: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            threads,
            routes: Mutex::default(),
            unrouted: Unrouted::new(threads),
            running: Sharded::new(threads),
            http: ConnectionCells::default(),
            https: ConnectionCells::default(),
            compression: Arc::default(),
        }))
    }

    /// The cells of `route`: those of every route that is written the same.
    pub(crate) fn of_route(&self, route: &Route) -> &'static RouteCells {
        let label = label(route);
        let mut routes = self.routes.lock();
        routes
            .entry(label.clone())
            .or_insert_with(|| RouteCells::forever(label, self.threads))
    }

    /// The cells of the listeners without TLS, or with it.
    pub(crate) fn of_listeners(&'static self, is_tls: bool) -> &'static ConnectionCells {
        if is_tls { &self.https } else { &self.http }
    }

    /// Counts a request that begins.
    pub(crate) fn begin(&'static self) -> Running {
        self.running.mine().fetch_add(1, Ordering::Relaxed);
        Running(self)
    }

    /// Counts an exchange that has ended, of which the log says `line`.
    pub(crate) fn ended(&self, session: &Session, exchange: &Exchange, line: &Line<'_>) {
        let Some(cells) = exchange.cells() else {
            return self.unrouted.count(line.status);
        };
        let tries = exchange.tries.iter();
        if let Some(taken) = tries.last().and_then(Try::answered) {
            cells.answered_after(taken);
        }
        cells.count(&Exchanged {
            method: &session.as_downstream().req_header().method,
            status: line.status,
            took: line.took,
            on_edge: exchange.on_edge,
            is_stream: is_stream(session),
            received: session.as_downstream().body_bytes_read() as u64,
            sent: line.body_bytes,
        });
    }

    /// Counts a head that was refused before it became a request.
    pub(crate) fn refused(&self, status: StatusCode) {
        self.unrouted.count(status.as_u16());
    }

    /// Requests that no route has taken, by the reason.
    pub(super) fn unrouted(&self) -> Vec<(&'static str, u64)> {
        self.unrouted.read()
    }

    /// Requests that have begun and not ended; ready answers are not among them.
    pub(super) fn running(&self) -> u64 {
        let shards = self.running.iter();
        let sum = shards
            .map(|count| count.load(Ordering::Relaxed))
            .sum::<i64>();
        // A request that ends while they are read may be missed at its beginning.
        u64::try_from(sum).unwrap_or(0)
    }

    /// Of the plain listeners and of those with TLS.
    pub(super) fn connections(&self) -> [ConnectionFigures; 2] {
        [
            self.http.read("http", false),
            self.https.read("https", true),
        ]
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.mine().fetch_sub(1, Ordering::Relaxed);
    }
}

/// A route as the configuration writes it: `/api/`, `=/exact`, `www.example.com/`.
pub(super) fn label(route: &Route) -> String {
    match &route.host {
        Some(host) => format!("{host}{}", route.path),
        None => route.path.to_string(),
    }
}

/// Whether it went on as long as either side liked: its time tells nothing of how fast anybody is.
fn is_stream(session: &Session) -> bool {
    session.response_written().is_some_and(|head| {
        let content_type = head.headers.get(http::header::CONTENT_TYPE);
        head.status == StatusCode::SWITCHING_PROTOCOLS
            || content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
    })
}
