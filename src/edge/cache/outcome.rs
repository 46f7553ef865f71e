//! What became of requests on routes with a cache, for the client, the log and the counters.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::measure::Sharded;

/// What the cache did for a request: `X-Cache`, and `cache=` in the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A stored answer was fresh.
    Hit,
    /// There was none, so the upstream has answered.
    Miss,
    /// A stored answer was given past its time, as the upstream allows it.
    Stale,
    /// The upstream has confirmed the stored answer.
    Revalidated,
    /// The stored answer was too old, and the upstream has sent another.
    Expired,
    /// The cache was not asked.
    Bypass,
}

/// How often each has happened.
pub(super) struct Tally(Sharded<[AtomicU64; Outcome::ALL.len()]>);

impl Outcome {
    pub(super) const ALL: [Self; 6] = [
        Self::Hit,
        Self::Miss,
        Self::Stale,
        Self::Revalidated,
        Self::Expired,
        Self::Bypass,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "HIT",
            Self::Miss => "MISS",
            Self::Stale => "STALE",
            Self::Revalidated => "REVALIDATED",
            Self::Expired => "EXPIRED",
            Self::Bypass => "BYPASS",
        }
    }
}

impl Tally {
    /// For requests on `threads` at once.
    pub(super) fn new(threads: usize) -> Self {
        Self(Sharded::new(threads))
    }

    pub(super) fn add(&self, outcome: Outcome) {
        self.0.mine()[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn of(&self, outcome: Outcome) -> u64 {
        let shards = self.0.iter();
        shards
            .map(|shard| shard[outcome as usize].load(Ordering::Relaxed))
            .sum()
    }
}
