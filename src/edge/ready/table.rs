//! Where recordings are kept: found without a lock, bounded in bytes, evicted by use.
//!
//! The table is built as a processor's cache is: the hash of a question chooses one of many small
//! sets, and a recording may stand only there. A reader loads the set and looks through it; a writer
//! puts a changed copy in its place. Nothing grows with what clients ask, and who finds questions
//! that share a set costs that set its other recordings, no more.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Question, Recording, Tape};

/// How many sets there are, and how many recordings one may hold.
const SETS: usize = 1024;
const WAYS: usize = 8;
/// How many questions that were asked once are remembered.
const GLANCES: usize = 8 * 1024;

pub(super) struct Table {
    hashing: RandomState,
    sets: Box<[ArcSwap<Set>]>,
    /// Of questions asked once, a part of the hash, where the rest of it says. An answer is worth
    /// its space when it is asked for again; whoever asks a thousand things once leaves no more
    /// than a thousand of these.
    glances: Box<[AtomicU32]>,
    writer: Mutex<Writer>,
    max_bytes: usize,
}

type Set = Vec<Arc<Recording>>;

struct Writer {
    bytes: usize,
    /// The set that is next when something has to go.
    hand: usize,
}

/// What came of a search.
pub(in crate::edge) enum Sought<T> {
    /// What was made of the recording.
    Found(T),
    /// There is none; this tape can become one.
    Missing(Tape),
    /// There is none, and there will be none.
    Never,
}

impl Table {
    pub(super) fn new(max_bytes: usize) -> Self {
        let empty = Arc::new(Set::new());
        Self {
            hashing: RandomState::new(),
            sets: (0..SETS).map(|_| ArcSwap::new(empty.clone())).collect(),
            glances: (0..GLANCES).map(|_| AtomicU32::new(0)).collect(),
            writer: Mutex::new(Writer { bytes: 0, hand: 0 }),
            max_bytes,
        }
    }

    pub(super) fn seek<T>(
        self: &Arc<Self>,
        question: &Question<&[u8]>,
        replay: impl FnOnce(&Recording) -> Option<T>,
    ) -> Sought<T> {
        if self.max_bytes == 0 {
            return Sought::Never;
        }
        let hash = self.hashing.hash_one(question);
        let set = self.set(hash).load();
        let found = set
            .iter()
            .find(|kept| kept.hash == hash && kept.question.borrowed() == *question);
        match found {
            Some(recording) if recording.freshness.is_fresh() => {
                recording.note_use();
                replay(recording).map_or(Sought::Never, Sought::Found)
            }
            None if !question.is_short() => Sought::Never,
            stale_or_none => {
                let is_wanted = stale_or_none.is_some() || self.was_glanced_at(hash);
                let question = is_wanted.then(|| question.to_owned());
                Sought::Missing(Tape::new(self.clone(), hash, question))
            }
        }
    }

    /// Bytes that the recordings take.
    pub(super) fn bytes(&self) -> usize {
        self.writer.lock().bytes
    }

    fn was_glanced_at(&self, hash: u64) -> bool {
        self.glance(hash).load(Ordering::Relaxed) == fingerprint(hash)
    }

    /// Remembers that a question was asked whose answer can be recorded.
    pub(super) fn note_glance(&self, hash: u64) {
        self.glance(hash)
            .store(fingerprint(hash), Ordering::Relaxed);
    }

    pub(super) fn keep(&self, recording: Recording) {
        let mut writer = self.writer.lock();
        let place = self.set(recording.hash);
        let before = place.load();
        let mut set: Set = before
            .iter()
            .filter(|kept| !kept.freshness.has_ended() && kept.question != recording.question)
            .cloned()
            .collect();
        if set.len() >= WAYS {
            let idle = set.iter().position(|kept| !kept.was_used()).unwrap_or(0);
            set.remove(idle);
        }
        set.push(Arc::new(recording));
        writer.bytes = writer.bytes + size(&set) - size(&before);
        place.store(Arc::new(set));
        self.make_room(&mut writer);
    }

    /// Lets go, set by set, what was not used since the last time.
    fn make_room(&self, writer: &mut Writer) {
        let mut looked_at = 0;
        while writer.bytes > self.max_bytes {
            let place = &self.sets[writer.hand];
            writer.hand = (writer.hand + 1) % SETS;
            looked_at += 1;
            // After a whole round all that is left is in use; then use is no reason any more.
            let is_spared = looked_at <= SETS;
            let before = place.load();
            let set: Set = before
                .iter()
                .filter(|kept| is_spared && kept.was_used() && !kept.freshness.has_ended())
                .cloned()
                .collect();
            if set.len() < before.len() {
                writer.bytes = writer.bytes + size(&set) - size(&before);
                place.store(Arc::new(set));
            }
        }
    }

    fn set(&self, hash: u64) -> &ArcSwap<Set> {
        &self.sets[index(hash, SETS)]
    }

    fn glance(&self, hash: u64) -> &AtomicU32 {
        &self.glances[index(hash, GLANCES)]
    }
}

fn size(set: &Set) -> usize {
    set.iter().map(|recording| recording.size()).sum()
}

fn index(hash: u64, places: usize) -> usize {
    usize::try_from(hash % places as u64).expect("less than `places`")
}

/// The upper half, of which [`index`] uses nothing; never the 0 of an unused place.
fn fingerprint(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
}
