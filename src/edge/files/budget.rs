//! The memory that large pieces of answers may take, for all clients of a route together.
//!
//! While it lasts, pieces are large and read ahead, which is fastest. When it is used up, by fast
//! clients or by thousands of slow ones, everybody gets small pieces and nothing is read ahead.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that a piece may always have, budget or none; shares are counted in units of this.
pub(super) const SMALL: u64 = 16 * 1024;
/// Bytes of one route's budget.
const BUDGET: u64 = 64 * 1024 * 1024;

/// What the large pieces of all answers of a route are drawn from.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// A part of the budget, given back when dropped.
pub(super) struct Share {
    _permit: OwnedSemaphorePermit,
}

/// Memory and the share that it was taken from.
struct Granted {
    bytes: Vec<u8>,
    _share: Share,
}

impl Budget {
    /// The budget of one route.
    #[must_use]
    pub(super) fn new() -> Self {
        Self::of(BUDGET)
    }

    /// A budget of so many bytes.
    fn of(bytes: u64) -> Self {
        let units = usize::try_from(bytes / SMALL).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// A share for `bytes`, if there is enough left.
    #[must_use]
    pub(super) fn share(&self, bytes: u64) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(SMALL)).ok()?;
        Arc::clone(&self.0)
            .try_acquire_many_owned(units)
            .ok()
            .map(|permit| Share { _permit: permit })
    }
}

impl Share {
    /// Ties a share to what it was for: it is given back with the last handle of the bytes.
    #[must_use]
    pub(super) fn tie(share: Option<Self>, bytes: Vec<u8>) -> Bytes {
        match share {
            Some(share) => Bytes::from_owner(Granted {
                bytes,
                _share: share,
            }),
            None => bytes.into(),
        }
    }
}

impl AsRef<[u8]> for Granted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
impl Budget {
    /// A budget with nothing in it.
    pub(super) fn exhausted() -> Self {
        Self::of(0)
    }

    /// Bytes left.
    pub(super) fn left(&self) -> u64 {
        self.0.available_permits() as u64 * SMALL
    }

    /// Waits until nothing is taken of a budget made by [`Budget::new`].
    pub(super) async fn all_given_back(&self) {
        let all = u32::try_from(BUDGET / SMALL).unwrap();
        drop(self.0.acquire_many(all).await.unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back_with_the_last_handle() {
        let budget = Budget::of(4 * SMALL);
        let share = budget.share(2 * SMALL + 1);
        assert_eq!(budget.left(), SMALL, "counted in whole units");
        assert!(budget.share(2 * SMALL).is_none(), "not enough left");
        let bytes = Share::tie(share, vec![0; 100]);
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(budget.left(), SMALL, "a slice still holds it");
        drop(part);
        assert_eq!(budget.left(), 4 * SMALL);
    }
}
