//! Where answers are kept: found by their URL, told apart by what selects them, bounded in bytes.
//!
//! What is not asked for goes first: a hand goes round the answers, spares each that was used since
//! it came by last, and takes the others (the second-chance algorithm). Answers that are being
//! received count as well, so that no number of them takes more than there is.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::stored::Stored;
use super::wanted::{Key, Wanted};

/// Most answers of one URL: beyond it the oldest goes.
const VARIANTS: usize = 32;

#[derive(Default)]
pub(super) struct Store {
    kept: RwLock<Kept>,
    /// Bytes of answers that are being received.
    incoming: AtomicUsize,
    /// Requests that an upstream is being asked.
    underway: Mutex<Vec<Weak<Wanted>>>,
    evictions: AtomicU64,
}

#[derive(Default)]
struct Kept {
    /// Of one URL, the latest first.
    answers: HashMap<Key, Vec<Arc<Stored>>>,
    /// All of them and some that are gone, in the hand's order.
    round: VecDeque<Weak<Stored>>,
    count: usize,
    bytes: usize,
}

impl Store {
    /// The latest answer to `wanted`, fresh or not.
    pub(super) fn find(&self, wanted: &Wanted) -> Option<Arc<Stored>> {
        let found = self.glance(wanted)?;
        // Asking is what counts as use.
        let _ = found.freshness.is_fresh();
        Some(found)
    }

    /// The same, which is no use of it.
    pub(super) fn glance(&self, wanted: &Wanted) -> Option<Arc<Stored>> {
        let kept = self.kept.read();
        let mut answers = kept.answers.get(&wanted.key)?.iter();
        answers.find(|stored| stored.answers(wanted)).cloned()
    }

    /// What tells requests for the URL of `wanted` apart, as far as that is known.
    pub(super) fn selecting(&self, wanted: &Wanted) -> Vec<Option<Vec<u8>>> {
        let kept = self.kept.read();
        let latest = kept
            .answers
            .get(&wanted.key)
            .and_then(|answers| answers.first());
        latest.map_or_else(Vec::new, |latest| {
            let names = latest.terms.vary.iter();
            names.map(|name| wanted.value(name)).collect()
        })
    }

    /// Keeps `stored` as the answer to `wanted`, unless that was purged meanwhile.
    pub(super) fn keep(&self, wanted: &Wanted, stored: Stored) {
        let mut kept = self.kept.write();
        // Asked under the lock that a purge has, too.
        if wanted.is_void() || stored.size > wanted.memory {
            return;
        }
        // That it was made is no use of it yet.
        stored.freshness.take_used();
        let stored = Arc::new(stored);
        kept.remove(&stored.key, |other| other.is_in_place_of(&stored));
        let answers = kept.answers.entry(stored.key.clone()).or_default();
        let oldest = (answers.len() >= VARIANTS).then(|| answers[VARIANTS - 1].clone());
        answers.insert(0, stored.clone());
        kept.count += 1;
        kept.bytes += stored.size;
        kept.round.push_back(Arc::downgrade(&stored));
        if let Some(oldest) = oldest {
            kept.remove(&stored.key, |other| Arc::ptr_eq(other, &oldest));
            self.evictions.fetch_add(1, Ordering::Relaxed);
        }
        self.make_room(&mut kept, wanted.memory);
    }

    /// Lets go of `stored`, if it is still kept.
    pub(super) fn remove(&self, stored: &Arc<Stored>) {
        let mut kept = self.kept.write();
        kept.remove(&stored.key, |other| Arc::ptr_eq(other, stored));
    }

    /// Lets go of all whose key is `meant`, and of what an upstream is about to answer to such.
    /// Returns how many were kept.
    pub(super) fn purge(&self, meant: impl Fn(&Key) -> bool) -> usize {
        let mut kept = self.kept.write();
        self.make_void(&meant);
        let keys = kept.answers.keys().filter(|key| meant(key));
        let keys: Vec<Key> = keys.cloned().collect();
        keys.iter().map(|key| kept.remove(key, |_| true)).sum()
    }

    /// The same for a URL whose state a request has changed (RFC 9111, section 4.4), over HTTP and
    /// HTTPS.
    pub(super) fn invalidate(&self, key: Key) {
        let mut both = [key.clone(), key];
        both[1].is_https = !both[0].is_https;
        let mut kept = self.kept.write();
        self.make_void(|other| both.contains(other));
        for key in &both {
            kept.remove(key, |_| true);
        }
    }

    /// Has what upstreams are about to answer not be kept. To be called with the answers locked.
    fn make_void(&self, meant: impl Fn(&Key) -> bool) {
        for wanted in self.underway.lock().iter().filter_map(Weak::upgrade) {
            if meant(&wanted.key) {
                wanted.make_void();
            }
        }
    }

    /// Notes that an upstream is asked for `wanted`, until that is dropped.
    pub(super) fn note_underway(&self, wanted: &Arc<Wanted>) {
        let mut underway = self.underway.lock();
        // Now and then, so that it costs nothing in the long run.
        if underway.len() == underway.capacity() {
            underway.retain(|other| other.strong_count() > 0);
        }
        underway.push(Arc::downgrade(wanted));
    }

    /// Room for `bytes` more of an answer that is being received, where there is any; it has to be
    /// given [back](Self::release).
    pub(super) fn reserve(&self, bytes: usize, memory: usize) -> bool {
        let incoming = self.incoming.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if incoming > memory {
            self.release(bytes);
            return false;
        }
        if incoming + self.kept.read().bytes > memory {
            self.make_room(&mut self.kept.write(), memory);
        }
        true
    }

    pub(super) fn release(&self, bytes: usize) {
        self.incoming.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// How many answers are kept, in how many bytes, and how many had to go for others.
    pub(super) fn figures(&self) -> (usize, usize, u64) {
        let kept = self.kept.read();
        let evictions = self.evictions.load(Ordering::Relaxed);
        (kept.count, kept.bytes, evictions)
    }

    fn make_room(&self, kept: &mut Kept, memory: usize) {
        let memory = memory.saturating_sub(self.incoming.load(Ordering::Relaxed));
        let mut spared = 0;
        while kept.bytes > memory {
            let Some(next) = kept.round.pop_front() else {
                return;
            };
            let Some(stored) = next.upgrade() else {
                continue;
            };
            // After a whole round all that is left is in use; then use is no reason any more.
            if spared < kept.count && stored.freshness.take_used() {
                spared += 1;
                kept.round.push_back(next);
            } else if kept.remove(&stored.key, |other| Arc::ptr_eq(other, &stored)) > 0 {
                self.evictions.fetch_add(1, Ordering::Relaxed);
            }
        }
        // Those that went another way leave their places behind.
        if kept.round.len() > 2 * kept.count + VARIANTS {
            kept.round.retain(|stored| stored.strong_count() > 0);
        }
    }
}

impl Kept {
    /// Lets go of the answers under `key` that are meant; how many they were.
    fn remove(&mut self, key: &Key, is_meant: impl Fn(&Arc<Stored>) -> bool) -> usize {
        let Some(answers) = self.answers.get_mut(key) else {
            return 0;
        };
        let (mut count, mut bytes) = (0, 0);
        answers.retain(|stored| {
            let goes = is_meant(stored);
            if goes {
                count += 1;
                bytes += stored.size;
                // Somebody may still be reading it, and nobody shall repeat it.
                stored.freshness.end();
            }
            !goes
        });
        if answers.is_empty() {
            self.answers.remove(key);
        }
        self.count -= count;
        self.bytes -= bytes;
        count
    }
}
