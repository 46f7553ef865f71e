//! What is counted of the requests of one route.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::Method;

use super::requests::{Counts, Requests};
use crate::measure::{Histogram, Latencies, Sharded};

/// The cells of all routes that are written the same.
pub(crate) struct RouteCells {
    label: String,
    shards: Sharded<Shard>,
    /// How long whoever answers has taken to the head of the answer.
    answering: Histogram,
    /// How long the app has spent on the database until then.
    on_database: Histogram,
}

/// What each request adds to.
#[derive(Debug, Default)]
struct Shard {
    requests: Counts,
    took: Histogram,
    on_edge: Histogram,
    /// Of ready answers both.
    ready: Histogram,
    received: AtomicU64,
    sent: AtomicU64,
    /// Answers from files: from the disk, and from memory.
    files: [AtomicU64; 2],
}

/// What is counted of one exchange.
pub(super) struct Exchanged<'a> {
    pub(super) method: &'a Method,
    /// As the access log has it.
    pub(super) status: u16,
    pub(super) took: Duration,
    /// `None` where there was no answer.
    pub(super) on_edge: Option<Duration>,
    /// Whether its time is left out.
    pub(super) is_stream: bool,
    /// Bytes of the request's content.
    pub(super) received: u64,
    /// Bytes of the answer's content.
    pub(super) sent: u64,
}

/// What the requests of one route were, since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RouteFigures {
    /// As the configuration writes it: `/api/`, `=/exact`, `www.example.com/`.
    pub route: String,
    /// The upstream that it leads to.
    pub upstream: Option<String>,
    /// Whether it leads to the app.
    pub is_app: bool,
    /// Whether it leads to files.
    pub is_files: bool,
    /// How many there were.
    pub requests: Requests,
    /// From the end of the request's head to the end of the answer, without `WebSocket`s and event
    /// streams.
    pub latencies: Latencies,
    /// From the end of the request's head to the beginning of the answer, without the times that the app or the
    /// upstream's servers have taken.
    pub on_edge: Latencies,
    /// How long the app or the upstream has taken to the head of its answer.
    pub answering: Latencies,
    /// How long the app has waited for the database and used it until then; without those requests that didn't.
    pub on_database: Latencies,
    /// Bytes of the requests' content.
    pub received: u64,
    /// Bytes of the answers' content.
    pub sent: u64,
    /// Answers from files for which the disk was asked; ready answers are counted elsewhere.
    pub from_disk: u64,
    /// Those for which what was kept in memory sufficed.
    pub from_memory: u64,
}

impl RouteCells {
    pub(in crate::edge) fn forever(label: String, threads: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            label,
            shards: Sharded::new(threads),
            answering: Histogram::default(),
            on_database: Histogram::default(),
        }))
    }

    pub(super) fn count(&self, exchanged: &Exchanged<'_>) {
        let shard = self.shards.mine();
        shard.requests.add(exchanged.method, exchanged.status);
        if !exchanged.is_stream {
            shard.took.record(exchanged.took);
        }
        if let Some(on_edge) = exchanged.on_edge {
            shard.on_edge.record(on_edge);
        }
        shard
            .received
            .fetch_add(exchanged.received, Ordering::Relaxed);
        shard.sent.fetch_add(exchanged.sent, Ordering::Relaxed);
    }

    /// Counts an answer given ready.
    pub(in crate::edge) fn count_ready(
        &self,
        is_head: bool,
        status: u16,
        took: Duration,
        sent: u64,
    ) {
        let shard = self.shards.mine();
        shard.requests.add_ready(is_head, status);
        shard.ready.record(took);
        shard.sent.fetch_add(sent, Ordering::Relaxed);
    }

    /// Whoever answers the route's requests has `taken` so long to the head of an answer.
    pub(in crate::edge) fn answered_after(&self, taken: Duration) {
        self.answering.record(taken);
    }

    /// The app has spent so long on the database, if it has used it at all.
    pub(in crate::edge) fn spent_on_database(&self, spent: Duration) {
        if !spent.is_zero() {
            self.on_database.record(spent);
        }
    }

    /// An answer was made of a file, with the help of the disk or without.
    pub(in crate::edge) fn answered_from_file(&self, is_from_memory: bool) {
        let files = &self.shards.mine().files;
        files[usize::from(is_from_memory)].fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub(in crate::edge) fn read(&self) -> RouteFigures {
        let mut figures = RouteFigures {
            route: self.label.clone(),
            answering: self.answering.read(),
            on_database: self.on_database.read(),
            ..RouteFigures::default()
        };
        for shard in self.shards.iter() {
            shard.requests.read_into(&mut figures.requests);
            let ready = shard.ready.read();
            for (sum, others) in [
                (&mut figures.latencies, &shard.took),
                (&mut figures.on_edge, &shard.on_edge),
            ] {
                sum.add(&others.read());
                sum.add(&ready);
            }
            figures.received += shard.received.load(Ordering::Relaxed);
            figures.sent += shard.sent.load(Ordering::Relaxed);
            figures.from_disk += shard.files[0].load(Ordering::Relaxed);
            figures.from_memory += shard.files[1].load(Ordering::Relaxed);
        }
        figures
    }
}

impl std::fmt::Debug for RouteCells {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RouteCells").field(&self.label).finish()
    }
}
