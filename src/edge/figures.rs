//! What the edge counts, for whoever tells the owner of it.

use std::collections::HashSet;
use std::sync::Arc;

use super::Edge;
use super::cache::CachedAnswers;
use super::measure::{ConnectionFigures, RouteFigures};
use super::upstream::Facts;
use crate::config::{Action, Coding};
use crate::telemetry::traces::{self, Tracer};

/// The counts of a running edge; each reading is of that moment.
#[derive(Clone)]
pub struct Figures(pub(super) Arc<Edge>);

impl Figures {
    /// Requests that each `[[rate_limit]]` has refused, by its name.
    #[must_use]
    pub fn refused_by_rate_limits(&self) -> Vec<(String, u64)> {
        let snapshot = self.0.snapshot();
        let counts = snapshot.policies.refused_by_limits();
        counts
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    }

    /// What is known of each upstream's servers, in the order of the upstreams' names.
    #[must_use]
    pub fn upstreams(&self) -> Vec<(String, Vec<Facts>)> {
        let snapshot = self.0.snapshot();
        let each = snapshot.upstreams.iter();
        each.map(|(name, upstream)| (name.clone(), upstream.facts()))
            .collect()
    }

    /// Requests that have begun and not ended; ready answers are not among them.
    #[must_use]
    pub fn running(&self) -> u64 {
        self.0.measures.running()
    }

    /// How many connections there may be.
    #[must_use]
    pub fn room(&self) -> usize {
        self.0.room()
    }

    /// What the connections of plain listeners were, and those of TLS listeners.
    #[must_use]
    pub fn connections(&self) -> [ConnectionFigures; 2] {
        self.0.measures.connections()
    }

    /// What compression has made of bodies on their way: of each coding the bytes before it and after.
    #[must_use]
    pub fn compression(&self) -> Vec<(Coding, [u64; 2])> {
        self.0.measures.compression.read()
    }

    /// What the requests of each route were, in the order of the file; routes that are written the
    /// same count together, where the first of them stands.
    #[must_use]
    pub fn routes(&self) -> Vec<RouteFigures> {
        let snapshot = self.0.snapshot();
        let routes = snapshot.config.routes.iter().zip(&snapshot.cells);
        let mut known = HashSet::new();
        routes
            .filter(|(_, cells)| known.insert(std::ptr::from_ref(**cells)))
            .map(|(route, cells)| RouteFigures {
                is_app: matches!(route.action, Action::App),
                is_files: matches!(route.action, Action::Files(_)),
                upstream: match (&route.action, &route.fallback) {
                    (Action::Upstream { upstream, .. }, _) | (_, Some(upstream)) => {
                        Some(upstream.name.clone())
                    }
                    _ => None,
                },
                ..cells.read()
            })
            .collect()
    }

    /// Requests that came to no route, by the reason: a fixed set, in a fixed order.
    #[must_use]
    pub fn unrouted(&self) -> Vec<(&'static str, u64)> {
        self.0.measures.unrouted()
    }

    /// Requests that met a panic: in a handler of the app, or in the edge itself.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.0.panics.count()
    }

    /// What routes with a cache keep.
    #[must_use]
    pub fn cached_answers(&self) -> CachedAnswers {
        self.0.cache.handle()
    }

    /// What has become of the spans of traces; `None` where nobody wants them.
    #[must_use]
    pub fn spans(&self) -> Option<traces::Figures> {
        self.0.traces.as_ref().map(Tracer::figures)
    }

    /// Ready answers given.
    #[must_use]
    pub fn ready_answers_given(&self) -> u64 {
        let routes = self.routes();
        routes.iter().map(|route| route.requests.ready()).sum()
    }

    /// Bytes of memory that ready answers take.
    #[must_use]
    pub fn ready_answers_bytes(&self) -> usize {
        self.0.snapshot().ready.bytes()
    }
}
