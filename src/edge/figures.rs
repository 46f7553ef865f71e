//! What the edge counts, for whoever tells the owner of it.

use std::sync::Arc;

use super::Edge;

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
}
