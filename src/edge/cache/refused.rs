//! Questions whose last answer could not be kept: nobody waits for the next one to them.

use std::sync::atomic::{AtomicU32, Ordering};

/// How many are remembered; a newer one may take an older one's place, which then is waited for
/// once more.
const PLACES: u128 = 8 * 1024;

/// What is remembered: a part of each question's hash, where the rest of it says.
pub(super) struct Refused(Box<[AtomicU32]>);

impl Refused {
    pub(super) fn none() -> Self {
        Self((0..PLACES).map(|_| AtomicU32::new(0)).collect())
    }

    pub(super) fn has(&self, hash: u128) -> bool {
        self.place(hash).load(Ordering::Relaxed) == fingerprint(hash)
    }

    /// Whether it was not there before.
    pub(super) fn note(&self, hash: u128) -> bool {
        self.place(hash).swap(fingerprint(hash), Ordering::Relaxed) != fingerprint(hash)
    }

    /// Whether it was there.
    pub(super) fn forget(&self, hash: u128) -> bool {
        let (place, known) = (self.place(hash), fingerprint(hash));
        let forgotten = place.compare_exchange(known, 0, Ordering::Relaxed, Ordering::Relaxed);
        forgotten.is_ok()
    }

    fn place(&self, hash: u128) -> &AtomicU32 {
        let index = hash % PLACES;
        &self.0[usize::try_from(index).expect("less than PLACES")]
    }
}

/// The upper part of the hash, of which the place says nothing; never the 0 of an unused one.
fn fingerprint(hash: u128) -> u32 {
    (hash >> 96) as u32 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_there_until_it_is_forgotten_or_displaced() {
        let refused = Refused::none();
        let (one, other) = (7 | 1 << 100, 7 | 1 << 101);
        assert!(!refused.has(one) && !refused.has(0));
        assert!(refused.note(one) && !refused.note(one));
        assert!(refused.has(one) && !refused.has(other));
        assert!(!refused.forget(other), "its place is another's");
        assert!(refused.note(other));
        assert!(!refused.has(one) && refused.has(other));
        assert!(refused.forget(other) && !refused.has(other));
    }
}
