//! Requests that came to no route, by the reason.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::edge::access_log::CLIENT_LEFT;
use crate::measure::Sharded;

/// The statuses that end a request before it is routed, and what each is called; the last stands for
/// all others. Each has one reason only, here and at the door.
const REASONS: [(u16, &str); 15] = [
    (200, "acme_challenge"),
    (204, "options"),
    (301, "https_redirect"),
    (308, "https_redirect"),
    (400, "malformed"),
    (404, "not_found"),
    (405, "method"),
    (408, "slow_head"),
    (414, "target_too_long"),
    (417, "expectation"),
    (421, "misdirected"),
    (431, "head_too_large"),
    (CLIENT_LEFT, "left"),
    (501, "transfer_encoding"),
    (505, "version"),
];
const OTHER: &str = "other";

/// Counts them.
pub(super) struct Unrouted(Sharded<[AtomicU64; REASONS.len() + 1]>);

impl Unrouted {
    pub(super) fn new(threads: usize) -> Self {
        Self(Sharded::new(threads))
    }

    /// Counts one that was answered with `status`.
    pub(super) fn count(&self, status: u16) {
        let known = REASONS.iter().position(|(known, _)| *known == status);
        let place = known.unwrap_or(REASONS.len());
        self.0.mine()[place].fetch_add(1, Ordering::Relaxed);
    }

    /// Each reason once, with its count.
    pub(super) fn read(&self) -> Vec<(&'static str, u64)> {
        let reasons = REASONS.iter().map(|(_, reason)| *reason).chain([OTHER]);
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for (place, reason) in reasons.enumerate() {
            let each = self
                .0
                .iter()
                .map(|cells| cells[place].load(Ordering::Relaxed));
            let count = each.sum::<u64>();
            match sums.last_mut() {
                Some((last, sum)) if *last == reason => *sum += count,
                _ => sums.push((reason, count)),
            }
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_told_once() {
        let unrouted = Unrouted::new(1);
        for status in [301, 308, 421, 421, 418] {
            unrouted.count(status);
        }
        let counted: Vec<_> = unrouted
            .read()
            .into_iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(
            counted,
            [("https_redirect", 2), ("misdirected", 2), (OTHER, 1)]
        );
        let mut reasons: Vec<_> = unrouted.read().iter().map(|(reason, _)| *reason).collect();
        let all = reasons.len();
        reasons.sort_unstable();
        reasons.dedup();
        assert_eq!(reasons.len(), all, "no duplicates");
    }
}
