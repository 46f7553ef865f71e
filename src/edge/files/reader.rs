//! Reading what an answer promised from a file, on a blocking thread.
//!
//! What the head of the answer said is kept, or the reading fails: never short and clean. A file
//! that is replaced by renaming another over it breaks nothing, for the handle keeps the old one.

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::mem;
use std::ops::Range;
use std::time::SystemTime;

use bytes::Bytes;

use super::budget::{Budget, SMALL, Share};
use super::root::OpenFile;

/// Bytes of a piece as long as the budget lasts.
pub(super) const LARGE: u64 = 128 * 1024;

/// A stretch of an answer's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stretch {
    /// Bytes of ours.
    Text(Bytes),
    /// Bytes of the file, from its beginning.
    File(Range<u64>),
}

/// Why a body is not what was promised.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The file became shorter than what was promised.
    #[error("the file shrank while it was read")]
    Shrank,
    /// The file was written to in place.
    #[error("the file was rewritten while it was read")]
    Rewritten,
    /// The disk or the network behind it fails.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

/// The stretches of an answer that are still to be read.
#[derive(Debug)]
pub(super) struct Reader {
    file: File,
    seen: Seen,
    stretches: VecDeque<Stretch>,
    remaining: u64,
    budget: Budget,
}

/// What a file looked like when the answer's head was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    length: u64,
    modified: Option<SystemTime>,
}

impl Reader {
    /// Prepares to read `stretches` of a file.
    pub(super) fn new(open: OpenFile, stretches: Vec<Stretch>, budget: &Budget) -> Self {
        Self {
            seen: Seen::of(&open.metadata),
            file: open.file,
            remaining: stretches.iter().map(Stretch::length).sum(),
            stretches: stretches.into(),
            budget: budget.clone(),
        }
    }

    /// Bytes still to be read.
    pub(super) fn remaining(&self) -> u64 {
        self.remaining
    }

    /// Everything at once.
    ///
    /// # Errors
    /// [`Broken`], also for a file that grew: nothing of this is sent yet, so looking again costs
    /// nothing and gives one version of it whole.
    pub(super) fn whole(mut self, share: Option<Share>) -> Result<Bytes, Broken> {
        let mut bytes = Vec::with_capacity(capacity(self.remaining));
        for stretch in mem::take(&mut self.stretches) {
            match stretch {
                Stretch::Text(text) => bytes.extend_from_slice(&text),
                Stretch::File(range) => self.append(range, &mut bytes)?,
            }
        }
        self.seen.check_untouched(&self.file)?;
        Ok(Share::tie(share, bytes))
    }

    /// The next piece, not empty while something remains: [`LARGE`] if the budget has a share for
    /// it, else small.
    ///
    /// # Errors
    /// [`Broken`] instead of the last piece at the latest.
    pub(super) fn piece(&mut self) -> Result<Bytes, Broken> {
        let piece = match self.stretches.pop_front() {
            None => return Ok(Bytes::new()),
            Some(Stretch::Text(text)) => text,
            Some(Stretch::File(range)) => {
                let wanted = (range.end - range.start).min(LARGE);
                let share = self.budget.share(wanted);
                let size = if share.is_some() {
                    wanted
                } else {
                    wanted.min(SMALL)
                };
                let end = range.start + size;
                let mut bytes = Vec::with_capacity(capacity(size));
                self.append(range.start..end, &mut bytes)?;
                if end < range.end {
                    self.stretches.push_front(Stretch::File(end..range.end));
                }
                Share::tie(share, bytes)
            }
        };
        self.remaining -= piece.len() as u64;
        if self.remaining == 0 {
            self.seen.check_kept(&self.file)?;
        }
        Ok(piece)
    }

    fn append(&mut self, range: Range<u64>, bytes: &mut Vec<u8>) -> Result<(), Broken> {
        let wanted = range.end - range.start;
        self.file.seek(SeekFrom::Start(range.start))?;
        let read = (&self.file).take(wanted).read_to_end(bytes)?;
        if (read as u64) < wanted {
            Err(Broken::Shrank)
        } else {
            Ok(())
        }
    }
}

impl Stretch {
    /// Its bytes.
    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::File(range) => range.end - range.start,
        }
    }
}

impl Seen {
    fn of(metadata: &Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }

    /// Nothing at all was written since.
    fn check_untouched(self, file: &File) -> Result<(), Broken> {
        if Self::of(&file.metadata()?) == self {
            Ok(())
        } else {
            Err(Broken::Rewritten)
        }
    }

    /// What was there still is: a log may grow while it is sent. The change time says nothing here,
    /// for being replaced by a rename changes it as well.
    fn check_kept(self, file: &File) -> Result<(), Broken> {
        let now = Self::of(&file.metadata()?);
        if now.length < self.length {
            return Err(Broken::Shrank);
        }
        if now.length == self.length && now.modified != self.modified {
            return Err(Broken::Rewritten);
        }
        Ok(())
    }
}

fn capacity(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::time::Duration;

    use super::*;
    use crate::edge::files::shelf::PIECES;

    struct Scene {
        file: tempfile::NamedTempFile,
        budget: Budget,
    }

    /// A file of `length` different bytes, last written a day ago.
    fn scene(length: u64) -> Scene {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content(length)).unwrap();
        file.as_file()
            .set_modified(SystemTime::now() - Duration::from_hours(24))
            .unwrap();
        Scene {
            file,
            budget: Budget::of(PIECES),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bytes will do")]
    fn content(length: u64) -> Vec<u8> {
        (0..length)
            .map(|n| (n ^ (n >> 8) ^ (n >> 16)) as u8)
            .collect()
    }

    impl Scene {
        fn reader(&self, stretches: Vec<Stretch>) -> Reader {
            let file = File::open(self.file.path()).unwrap();
            let metadata = file.metadata().unwrap();
            Reader::new(OpenFile { file, metadata }, stretches, &self.budget)
        }
    }

    fn rest(mut reader: Reader) -> Result<Vec<Bytes>, Broken> {
        let mut pieces = Vec::new();
        while reader.remaining() > 0 {
            pieces.push(reader.piece()?);
        }
        Ok(pieces)
    }

    #[test]
    fn pieces_make_up_what_was_asked_for() {
        let text = || Stretch::Text(Bytes::from_static(b"text"));
        let length = 3 * LARGE + 5;
        let all = content(length);
        let part = |range: Range<u64>| &all[capacity(range.start)..capacity(range.end)];
        for (stretches, expected) in [
            (vec![Stretch::File(0..length)], all.clone()),
            (
                vec![Stretch::File(1..LARGE + 1)],
                part(1..LARGE + 1).to_vec(),
            ),
            (
                vec![
                    text(),
                    Stretch::File(LARGE..length),
                    text(),
                    Stretch::File(0..3),
                    text(),
                ],
                [b"text", part(LARGE..length), b"text", part(0..3), b"text"].concat(),
            ),
            (vec![Stretch::File(0..0)], vec![]),
        ] {
            let mut scene = scene(length);
            assert_eq!(
                rest(scene.reader(stretches.clone())).unwrap().concat(),
                expected
            );
            scene.budget = Budget::exhausted();
            assert_eq!(
                rest(scene.reader(stretches.clone())).unwrap().concat(),
                expected
            );
            assert_eq!(scene.reader(stretches).whole(None).unwrap(), expected);
        }
    }

    #[test]
    fn pieces_are_small_without_a_budget() {
        let mut scene = scene(LARGE + 1);
        let lengths = |scene: &Scene| -> Vec<u64> {
            let reader = scene.reader(vec![Stretch::File(0..LARGE + 1)]);
            rest(reader)
                .unwrap()
                .iter()
                .map(|piece| piece.len() as u64)
                .collect()
        };
        assert_eq!(lengths(&scene), [LARGE, 1]);
        scene.budget = Budget::exhausted();
        assert_eq!(
            lengths(&scene),
            [vec![SMALL; capacity(LARGE / SMALL)], vec![1]].concat()
        );
    }

    #[test]
    fn a_file_that_changes_underneath_breaks_the_reading() {
        type Change = fn(&mut File);
        let length = 2 * LARGE;
        let shrink: Change = |file| file.set_len(LARGE + 1).unwrap();
        let empty: Change = |file| file.set_len(0).unwrap();
        let rewrite: Change = |file| file.write_all(b"x").unwrap();
        let append: Change = |file| {
            file.seek(SeekFrom::End(0)).unwrap();
            file.write_all(b"x").unwrap();
        };
        for (change, pieces, whole, why) in [
            (shrink, Err("shrank"), Err("shrank"), "shorter"),
            (empty, Err("shrank"), Err("shrank"), "truncated"),
            (rewrite, Err("rewritten"), Err("rewritten"), "same size"),
            (append, Ok(length), Err("rewritten"), "longer"),
        ] {
            let run = |read: fn(Reader) -> Result<Vec<Bytes>, Broken>, before: bool| {
                let scene = scene(length);
                let mut file = File::options().write(true).open(scene.file.path()).unwrap();
                let mut reader = scene.reader(vec![Stretch::File(0..length)]);
                let first = if before {
                    reader.piece().unwrap()
                } else {
                    Bytes::new()
                };
                change(&mut file);
                match read(reader) {
                    Ok(rest) => Ok((first.len() + rest.concat().len()) as u64),
                    Err(Broken::Shrank) => Err("shrank"),
                    Err(Broken::Rewritten) => Err("rewritten"),
                    Err(Broken::Failed(error)) => panic!("{error}"),
                }
            };
            assert_eq!(run(rest, true), pieces, "in pieces: {why}");
            assert_eq!(
                run(|reader| reader.whole(None).map(|bytes| vec![bytes]), false),
                whole,
                "whole: {why}"
            );
        }
    }

    #[test]
    fn being_replaced_by_a_rename_breaks_nothing() {
        let scene = scene(2 * LARGE);
        let mut reader = scene.reader(vec![Stretch::File(0..2 * LARGE)]);
        let first = reader.piece().unwrap();
        let other = tempfile::NamedTempFile::new_in(scene.file.path().parent().unwrap()).unwrap();
        other.persist(scene.file.path()).unwrap();
        let second = reader.piece().unwrap();
        assert_eq!([first, second].concat(), content(2 * LARGE));
    }
}
