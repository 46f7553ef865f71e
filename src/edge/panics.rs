//! What a mistake in our code, or in the app's, may cost: the request that met it, and no other.
//!
//! The panic itself is in the log already, by the process's hook; here it gets the id of its request, and
//! is counted. Both have a few lines a minute: whoever finds such a request can send it as often as they
//! like. Caught in three places, each as near to the mistake as an answer is still possible:
//!
//! 1. a handler of the app ([`bridge`](super::bridge)): 500, and the connection goes on;
//! 2. whatever else answers a request ([`proxy`](super::proxy)): 500, and the connection ends, since
//!    nobody knows how much of what was being written has been; a body that had begun breaks off;
//! 3. the rest of Pingora's phases ([`lend`](Panics::lend)): no answer, and the HTTP/1.1 connection or the HTTP/2 stream
//!    ends.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt;

use crate::telemetry::Tally;

/// How many requests met a panic.
pub(super) struct Panics {
    count: AtomicU64,
    /// Those that have a line of their own.
    told: &'static Tally,
}

impl Panics {
    /// None yet. One edge has them, and is there until the process ends.
    pub(super) fn forever() -> Self {
        let told = Tally::new("requests met a panic", 10);
        Self {
            count: AtomicU64::new(0),
            told: Box::leak(Box::new(told)),
        }
    }

    /// How many did.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts one that the request of this id met, in `place`.
    pub(super) fn note(&self, request_id: &str, place: &str) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if self.told.count(|| format!("{place}, request {request_id}")) {
            tracing::error!(
                request_id,
                "{place} panicked: this request fails, no other does"
            );
        }
    }

    /// Runs `exchange` to its end; `None` after a panic that nobody nearer has caught. What it had is
    /// dropped then, and the connection or stream with it.
    pub(super) async fn lend<T>(&self, exchange: impl Future<Output = T>) -> Option<T> {
        let ended = AssertUnwindSafe(exchange).catch_unwind().await;
        ended
            .inspect_err(|_| {
                self.count.fetch_add(1, Ordering::Relaxed);
                if self.told.count(|| "outside every handler".to_owned()) {
                    tracing::error!(
                        "a request panicked outside every handler: its connection ends"
                    );
                }
            })
            .ok()
    }
}
