//! What the counts, the log and the traces are told of a ready answer, over whichever protocol it was given.

use std::net::IpAddr;
use std::time::Duration;

use super::Recording;
use crate::edge::access_log::{Line, Request};
use crate::edge::admission::Caller;
use crate::edge::measure::RouteCells;
use crate::edge::{Edge, cache, trace};
use crate::telemetry::traces::Incoming;

/// A ready answer, and who is given it.
pub(in crate::edge) struct Given {
    client: IpAddr,
    id: String,
    is_https: bool,
    incoming: Option<Incoming>,
    cells: &'static RouteCells,
    is_cached: bool,
}

/// Where a recording is counted.
#[derive(Clone, Copy)]
pub(in crate::edge) struct Source {
    cells: &'static RouteCells,
    is_cached: bool,
}

impl Source {
    pub(in crate::edge) fn of(recording: &Recording) -> Self {
        Self {
            cells: recording.cells,
            is_cached: recording.is_cached(),
        }
    }
}

impl Given {
    pub(in crate::edge) fn to(caller: Caller, source: Source) -> Self {
        Self {
            client: caller.client.address,
            id: caller.id,
            is_https: caller.is_https,
            incoming: caller.incoming,
            cells: source.cells,
            is_cached: source.is_cached,
        }
    }

    /// Tells how it went.
    pub(in crate::edge) fn tell(
        &self,
        edge: &Edge,
        request: Request<'_>,
        status: u16,
        body_bytes: u64,
        took: Duration,
    ) {
        let is_head = request.method == "HEAD";
        self.cells.count_ready(is_head, status, took, body_bytes);
        if self.is_cached {
            edge.cache.note(cache::Outcome::Hit);
        }
        let line = Line {
            client: self.client,
            // What somebody has to sign in for is never ready.
            user: None,
            request: Some(request),
            status,
            body_bytes,
            took,
            tries: None,
            cache: self.is_cached.then_some(cache::Outcome::Hit),
            id: &self.id,
        };
        let snapshot = edge.snapshot.load();
        edge.access_log.write(&snapshot.config.log, &line);
        if let Some(tracer) = &edge.traces {
            trace::told_of_ready(
                tracer,
                self.incoming,
                &line,
                self.is_https,
                self.cells,
                &snapshot,
            );
        }
    }
}
