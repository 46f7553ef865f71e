//! The live encoders of a server: how they are made, and what they may take together.
//!
//! A client that reads slowly keeps its encoder for as long as it likes, and one connection of
//! HTTP/2 has many streams. So the memory of all encoders has a limit; an answer beyond it is sent
//! as it is, which is always right.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::CompressionCells;
use super::encoder::{self, Context, Encoder};
use crate::config::{self, Coding};

/// KiB of all live encoders together.
const LIMIT: usize = 256 * 1024;

/// Contexts of zstd that are kept for the next body. To make one takes as long as to encode a
/// small answer; the other encoders win nothing by it.
const IDLE: usize = 8;

/// The encoders of one configuration.
pub(crate) struct Encoders {
    config: config::Compression,
    /// In KiB.
    taken: AtomicUsize,
    idle: Mutex<Vec<Context>>,
    cells: Arc<CompressionCells>,
}

/// What one encoder takes of the memory, until it is dropped.
pub(super) struct Share {
    encoders: Arc<Encoders>,
    coding: Coding,
    kib: usize,
}

impl Encoders {
    /// None yet; what they do is counted in `cells`.
    pub(crate) fn new(config: config::Compression, cells: Arc<CompressionCells>) -> Self {
        Self {
            config,
            cells,
            taken: AtomicUsize::new(0),
            idle: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &config::Compression {
        &self.config
    }

    /// Begins a body of `length` bytes, a stream if that is unknown; `None` where the encoders
    /// take all they may.
    pub(super) fn begin(
        self: &Arc<Self>,
        coding: Coding,
        length: Option<u64>,
    ) -> io::Result<Option<Encoder>> {
        let level = match self.config.level {
            0 => encoder::live_level(coding),
            level => level,
        };
        let Some(share) = self.share(coding, encoder::memory(coding, level)) else {
            return Ok(None);
        };
        let idle = match coding {
            Coding::Zstd => self.idle.lock().pop(),
            Coding::Br | Coding::Gzip => None,
        };
        Encoder::new(coding, level, length, idle, share).map(Some)
    }

    fn share(self: &Arc<Self>, coding: Coding, kib: usize) -> Option<Share> {
        let share = Share {
            encoders: self.clone(),
            coding,
            kib,
        };
        // Dropping the share takes it back.
        let before = self.taken.fetch_add(kib, Ordering::Relaxed);
        (before + kib <= LIMIT).then_some(share)
    }
}

impl Share {
    /// Counts what was encoded: so many bytes into so many.
    pub(super) fn count(&self, before: usize, after: usize) {
        self.encoders.cells.add(self.coding, before, after);
    }

    /// Keeps a context for the next body.
    pub(super) fn give_back(&self, context: Context) {
        let mut idle = self.encoders.idle.lock();
        if idle.len() < IDLE {
            idle.push(context);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.encoders.taken.fetch_sub(self.kib, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::compression::tests::config;

    #[test]
    fn encoders_take_so_much_and_no_more() {
        for coding in Coding::ALL {
            for level in 1..=coding.highest_level() {
                let mut config = config();
                config.level = level;
                let encoders = Arc::new(Encoders::new(config, Arc::default()));
                let share = encoder::memory(coding, level);
                let mut taken: Vec<_> = (0..LIMIT / share)
                    .map(|_| encoders.share(coding, share).expect("room"))
                    .collect();
                assert!(encoders.begin(coding, None).unwrap().is_none());
                taken.pop();
                let last = encoders.begin(coding, None).unwrap();
                assert!(last.is_some(), "{coding:?} {level}: there is room again");
                assert!(encoders.begin(coding, None).unwrap().is_none());
                drop((last, taken));
                assert_eq!(encoders.taken.load(Ordering::Relaxed), 0);
            }
        }
    }

    #[test]
    fn few_contexts_wait_for_the_next_body() {
        let encoders = Arc::new(Encoders::new(config(), Arc::default()));
        let begin = || encoders.begin(Coding::Zstd, None).unwrap().unwrap();
        let many: Vec<_> = (0..IDLE + 3).map(|_| begin()).collect();
        assert_eq!(encoders.idle.lock().len(), 0);
        for encoder in many {
            encoder.finish(b"a body").unwrap();
        }
        assert_eq!(encoders.idle.lock().len(), IDLE);
        begin().push(b"one that breaks off").unwrap();
        assert_eq!(encoders.idle.lock().len(), IDLE - 1);
    }
}
