//! The bytes of an answer, read from the file while they are sent.
//!
//! Little comes whole; the rest is read piece by piece on the blocking threads, one piece ahead of
//! the client at most. What the answer's head promised is kept or the body breaks: a file that
//! shrinks or is rewritten underneath ends it with an error, never short and clean. A file that is
//! replaced by renaming another over it is none of that, for the handle keeps the old one.
//!
//! Large pieces are drawn from a [`Budget`]. When it is used up, by fast clients or by thousands of
//! slow ones, everybody gets small pieces and nothing is read ahead.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::mem;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, spawn_blocking};

use super::root::OpenFile;
use crate::edge::reply::{Body, BodyError};

/// Bytes that answers of up to this length hold at once, whatever the budget; also the size of a
/// piece when the budget is used up.
const SMALL: u64 = 16 * 1024;
/// Answers of up to this many bytes are read whole.
const WHOLE: u64 = 64 * 1024;
/// Bytes of a piece as long as the budget lasts.
const LARGE: u64 = 128 * 1024;
/// Bytes that the large pieces of one route's answers take together.
const BUDGET: u64 = 64 * 1024 * 1024;

/// A stretch of an answer's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stretch {
    /// Bytes of ours.
    Text(Bytes),
    /// Bytes of the file, from its beginning.
    File(Range<u64>),
}

/// What the large pieces of all answers of a route are drawn from.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

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

/// The stretches of an answer that are still to be read, on a blocking thread.
struct Reader {
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

/// A body that reads as it is sent.
struct FileBody {
    state: State,
    /// Bytes not handed over yet.
    left: u64,
}

enum State {
    /// A piece waits to be taken.
    Ready(Bytes, Reader),
    /// Nothing is read until somebody asks.
    Idle(Reader),
    /// A piece is being read.
    Reading(JoinHandle<(Result<Bytes, Broken>, Reader)>),
    /// All is sent, or the body broke.
    Ended,
}

/// A piece of memory that gives its share of the budget back when the client has taken it.
struct Granted {
    bytes: Vec<u8>,
    _share: OwnedSemaphorePermit,
}

/// Begins to send `stretches` of a file. Blocks on the disk.
///
/// Whoever keeps bytes of this body for longer than it takes to send them must copy them: they may
/// hold a share of the budget.
///
/// # Errors
/// [`Broken`] if the file is not what its metadata said. Nothing is sent yet, so the caller may
/// look again.
pub(super) fn read(
    open: OpenFile,
    stretches: Vec<Stretch>,
    budget: &Budget,
) -> Result<Body, Broken> {
    let total = stretches.iter().map(Stretch::length).sum();
    let mut reader = Reader {
        seen: Seen::of(&open.metadata),
        file: open.file,
        stretches: stretches.into(),
        remaining: total,
        budget: budget.clone(),
    };
    if total <= WHOLE {
        let share = budget.share(total);
        if share.is_some() || total <= SMALL {
            return reader.whole(share).map(Body::Full);
        }
    }
    let first = reader.piece()?;
    let body = FileBody {
        left: total,
        state: State::Ready(first, reader),
    };
    Ok(Body::Stream(body.boxed_unsync()))
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

impl Budget {
    /// The budget of one route.
    pub(super) fn new() -> Self {
        Self::of(BUDGET)
    }

    fn of(bytes: u64) -> Self {
        Self(Arc::new(Semaphore::new(
            usize::try_from(bytes / SMALL).unwrap_or(Semaphore::MAX_PERMITS),
        )))
    }

    /// A share for `bytes`, if there is enough left.
    fn share(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(SMALL)).ok()?;
        Arc::clone(&self.0).try_acquire_many_owned(units).ok()
    }
}

impl Reader {
    /// Everything, checked against any change since the file was opened.
    fn whole(mut self, share: Option<OwnedSemaphorePermit>) -> Result<Bytes, Broken> {
        let mut bytes = Vec::with_capacity(usize::try_from(self.remaining).unwrap_or_default());
        for stretch in mem::take(&mut self.stretches) {
            match stretch {
                Stretch::Text(text) => bytes.extend_from_slice(&text),
                Stretch::File(range) => self.append(range, &mut bytes)?,
            }
        }
        self.seen.check_same(&self.file)?;
        Ok(grant(bytes, share))
    }

    /// The next piece, never empty while something remains.
    fn piece(&mut self) -> Result<Bytes, Broken> {
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
                let middle = range.start + size;
                let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
                self.append(range.start..middle, &mut bytes)?;
                if middle < range.end {
                    self.stretches.push_front(Stretch::File(middle..range.end));
                }
                grant(bytes, share)
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

impl Seen {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            length: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }

    /// Nothing at all was written since.
    fn check_same(self, file: &File) -> Result<(), Broken> {
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

impl FileBody {
    /// Hands a piece over and, where the budget allows, already reads the next.
    fn hand_over(&mut self, piece: Bytes, reader: Reader) -> Frame<Bytes> {
        self.left -= piece.len() as u64;
        self.state = if reader.remaining == 0 {
            State::Ended
        } else if piece.len() as u64 == LARGE {
            start(reader)
        } else {
            State::Idle(reader)
        };
        Frame::data(piece)
    }
}

impl http_body::Body for FileBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            match mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Ready(piece, reader) => {
                    return Poll::Ready(Some(Ok(self.hand_over(piece, reader))));
                }
                State::Idle(reader) => self.state = start(reader),
                State::Reading(mut reading) => {
                    let Poll::Ready(read) = Pin::new(&mut reading).poll(context) else {
                        self.state = State::Reading(reading);
                        return Poll::Pending;
                    };
                    match read {
                        Ok((Ok(piece), reader)) => self.state = State::Ready(piece, reader),
                        Ok((Err(broken), _)) => return Poll::Ready(Some(Err(broken.into()))),
                        Err(stopped) => return Poll::Ready(Some(Err(stopped.into()))),
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Drop for FileBody {
    /// A read that waits for a thread is not begun for a client that has gone.
    fn drop(&mut self) {
        if let State::Reading(reading) = &self.state {
            reading.abort();
        }
    }
}

impl AsRef<[u8]> for Granted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn start(mut reader: Reader) -> State {
    State::Reading(spawn_blocking(move || (reader.piece(), reader)))
}

fn grant(bytes: Vec<u8>, share: Option<OwnedSemaphorePermit>) -> Bytes {
    match share {
        Some(share) => Bytes::from_owner(Granted {
            bytes,
            _share: share,
        }),
        None => bytes.into(),
    }
}
