//! Memory that is counted, and counted for as long as anybody holds it.
//!
//! There are two budgets. One is for pieces of large files on their way: while it lasts, pieces are
//! large and read ahead, which is fastest; when it is used up, by fast clients or by thousands of
//! slow ones, everybody gets small pieces and nothing is read ahead. The other is for what is kept:
//! a file that a slow client still holds counts even when it is no longer kept.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that a piece may always have, budget or none.
pub(super) const SMALL: u64 = 16 * 1024;
/// Shares are counted in units of so many bytes.
const UNIT: u64 = 1024;

/// So many bytes for many to share.
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
    /// A budget of so many bytes.
    #[must_use]
    pub(super) fn of(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self(Arc::new(Semaphore::new(units)))
    }

    /// A share for `bytes`, if there is enough left.
    #[must_use]
    pub(super) fn share(&self, bytes: u64) -> Option<Share> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
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
        self.0.available_permits() as u64 * UNIT
    }

    /// Waits until there are so many bytes left.
    pub(super) async fn all_given_back(&self, bytes: u64) {
        let all = u32::try_from(bytes / UNIT).unwrap();
        drop(self.0.acquire_many(all).await.unwrap());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_come_back_with_the_last_handle() {
        let budget = Budget::of(4 * UNIT);
        let share = budget.share(2 * UNIT + 1);
        assert_eq!(budget.left(), UNIT, "counted in whole units");
        assert!(budget.share(2 * UNIT).is_none(), "not enough left");
        let bytes = Share::tie(share, vec![0; 100]);
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(budget.left(), UNIT, "a slice still holds it");
        drop(part);
        assert_eq!(budget.left(), 4 * UNIT);
    }
}
