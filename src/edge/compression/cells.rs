//! What live compression has made of bodies, in bytes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Coding;

/// Bytes before and after, by coding.
#[derive(Debug, Default)]
pub(crate) struct CompressionCells([[AtomicU64; 2]; Coding::ALL.len()]);

impl CompressionCells {
    /// An encoder took `before` bytes and gave `after`.
    pub(super) fn add(&self, coding: Coding, before: usize, after: usize) {
        for (count, bytes) in self.0[coding as usize].iter().zip([before, after]) {
            count.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    /// Bytes before and after so far, by coding.
    pub(crate) fn read(&self) -> Vec<(Coding, [u64; 2])> {
        let read = |coding: Coding| {
            let counts = &self.0[coding as usize];
            (
                coding,
                [0, 1].map(|side: usize| counts[side].load(Ordering::Relaxed)),
            )
        };
        Coding::ALL.map(read).into()
    }
}
