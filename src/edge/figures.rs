//! What the edge counts, for whoever tells the owner of it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Edge;
use super::cache::CachedAnswers;
use super::upstream::Facts;

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

    /// Connections that `server.proxy_protocol` has ended: a trusted proxy without a header, or a header
    /// from somebody else.
    #[must_use]
    pub fn refused_by_proxy_protocol(&self) -> u64 {
        self.0.proxy_protocol_refused.load(Ordering::Relaxed)
    }

    /// What routes with a cache keep.
    #[must_use]
    pub fn cached_answers(&self) -> CachedAnswers {
        self.0.cache.handle()
    }

    /// Ready answers that connections were given which have ended since.
    #[must_use]
    pub fn ready_answers_given(&self) -> u64 {
        self.0.ready_answers.load(Ordering::Relaxed)
    }

    /// Bytes of memory that ready answers take.
    #[must_use]
    pub fn ready_answers_bytes(&self) -> usize {
        self.0.snapshot().ready.bytes()
    }
}
