//! Log lines that were lost: how many, why, and since when.
//!
//! They are counted where they are lost, told by metrics and `unibody status`, and once in the log itself as soon
//! as that can be written again.

use std::io;

use time::OffsetDateTime;

/// Log lines that were lost since the process started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Losses {
    /// Lines that had no room to wait in, since stdout was not read fast enough.
    pub unread: u64,
    /// Lines that the system did not take: the disk was full, or the reader of the pipe gone.
    pub unwritten: u64,
    /// When the last of them was lost.
    pub last: Option<OffsetDateTime>,
    /// Why the last write failed; `None` when it went well.
    pub failing: Option<String>,
    /// Those that the log itself has told of.
    told: u64,
    /// Why there were any since then.
    reason: String,
}

impl Losses {
    /// Those of both kinds.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.unread + self.unwritten
    }

    /// `count` lines found no room.
    pub(super) fn unread(&mut self, count: u64) {
        self.unread += count;
        self.last = Some(OffsetDateTime::now_utc());
        "stdout was not read fast enough".clone_into(&mut self.reason);
    }

    /// `count` lines were not taken.
    pub(super) fn unwritten(&mut self, count: u64, error: &io::Error) {
        self.unwritten += count;
        self.last = Some(OffsetDateTime::now_utc());
        self.reason = format!("stdout could not be written ({error})");
        self.failing = Some(error.to_string());
    }

    /// A write went well. What there is to tell in the log, if anything was lost since the last one.
    pub(super) fn written(&mut self) -> Option<Untold> {
        self.failing = None;
        let lost = self.total() - self.told;
        if lost == 0 {
            return None;
        }
        self.told = self.total();
        Some(Untold {
            lost,
            since_start: self.told,
            reason: std::mem::take(&mut self.reason),
        })
    }
}

/// What the log has yet to say.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untold {
    lost: u64,
    since_start: u64,
    reason: String,
}

impl Untold {
    /// Says it. Were this line lost as well, the next one would tell of all.
    pub(super) fn tell(self) {
        let Self {
            lost,
            since_start,
            reason,
        } = self;
        tracing::warn!(lost, since_start, "log lines were lost: {reason}");
    }
}

/// How many lines end in `bytes`.
pub(super) fn lines_in(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_told_of_once() {
        let mut losses = Losses::default();
        assert_eq!(losses.written(), None, "nothing was lost");
        losses.unread(2);
        losses.unwritten(3, &io::Error::from_raw_os_error(nix::libc::ENOSPC));
        assert!(losses.failing.as_ref().unwrap().contains("No space left"));
        let told = losses.written().unwrap();
        assert_eq!((told.lost, told.since_start), (5, 5));
        assert!(told.reason.contains("No space left"), "{}", told.reason);
        assert_eq!(losses.failing, None, "it went well");
        assert_eq!(losses.written(), None, "told already");
        losses.unread(1);
        let told = losses.written().unwrap();
        assert_eq!((told.lost, told.since_start), (1, 6));
        assert!(told.reason.contains("fast enough"), "{}", told.reason);
        assert_eq!((losses.unread, losses.unwritten), (3, 3));
        assert!(losses.last.is_some());
    }
}
