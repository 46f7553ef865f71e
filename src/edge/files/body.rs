//! The bytes of an answer on their way to the client.
//!
//! Little comes whole. The rest is read piece by piece on the blocking threads as the client takes
//! it, one piece ahead while the budget lasts; so two pieces at most are in flight, and a client
//! that goes away stops the reading.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::stream;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use tokio::task::{JoinHandle, spawn_blocking};

use super::budget::{Budget, SMALL};
use super::reader::{Broken, LARGE, Reader, Stretch};
use super::root::OpenFile;
use crate::edge::reply::{Body, BodyError};

/// Answers of up to this many bytes are read whole.
const WHOLE: u64 = 64 * 1024;

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
    let mut reader = Reader::new(open, stretches, budget);
    let left = reader.remaining();
    if left <= WHOLE {
        let share = budget.share(left);
        if share.is_some() || left <= SMALL {
            return reader.whole(share).map(Body::Full);
        }
    }
    let state = State::Ready(reader.piece()?, reader);
    Ok(Body::Stream(FileBody { state, left }.boxed_unsync()))
}

/// A body of `stretches` of what is in memory: nothing is copied.
pub(super) fn cut(all: &Bytes, stretches: Vec<Stretch>) -> Body {
    let mut pieces: Vec<_> = stretches
        .into_iter()
        .map(|stretch| match stretch {
            Stretch::Text(text) => text,
            Stretch::File(range) => {
                let at = |position| usize::try_from(position).expect("it is in memory");
                all.slice(at(range.start)..at(range.end))
            }
        })
        .collect();
    if pieces.len() == 1 {
        return Body::Full(pieces.remove(0));
    }
    let frames = stream::iter(pieces.into_iter().map(|piece| Ok(Frame::data(piece))));
    Body::Stream(StreamBody::new(frames).boxed_unsync())
}

impl FileBody {
    /// Hands a piece over and, while the budget lasts, already reads the next.
    fn hand_over(&mut self, piece: Bytes, reader: Reader) -> Frame<Bytes> {
        self.left -= piece.len() as u64;
        self.state = if reader.remaining() == 0 {
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

fn start(mut reader: Reader) -> State {
    State::Reading(spawn_blocking(move || (reader.piece(), reader)))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;
    use crate::edge::files::shelf::PIECES;

    const LENGTH: u64 = 5 * LARGE + 7;

    fn open(path: &std::path::Path, length: u64, budget: &Budget) -> Body {
        let file = File::open(path).unwrap();
        let metadata = file.metadata().unwrap();
        read(
            OpenFile { file, metadata },
            vec![Stretch::File(0..length)],
            budget,
        )
        .unwrap()
    }

    fn file(length: u64) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
        file
    }

    #[test]
    fn small_answers_come_whole() {
        for (length, budget, whole) in [
            (0, Budget::of(PIECES), true),
            (WHOLE, Budget::of(PIECES), true),
            (WHOLE + 1, Budget::of(PIECES), false),
            (0, Budget::exhausted(), true),
            (SMALL, Budget::exhausted(), true),
            (SMALL + 1, Budget::exhausted(), false),
        ] {
            let file = file(length);
            match open(file.path(), length, &budget) {
                Body::Full(bytes) => assert!(whole && bytes.len() as u64 == length, "{length}"),
                Body::Stream(_) => assert!(!whole, "{length}"),
                Body::Empty => panic!("{length}"),
            }
        }
    }

    #[tokio::test]
    async fn large_answers_are_read_as_they_are_taken() {
        for budget in [Budget::of(PIECES), Budget::exhausted()] {
            let file = file(LENGTH);
            let Body::Stream(mut body) = open(file.path(), LENGTH, &budget) else {
                panic!("not streamed");
            };
            let full = PIECES;
            let mut received = 0;
            while let Some(frame) = body.frame().await {
                received += frame.unwrap().into_data().unwrap().len() as u64;
                assert_eq!(
                    http_body::Body::size_hint(&body).exact(),
                    Some(LENGTH - received)
                );
                assert_eq!(http_body::Body::is_end_stream(&body), received == LENGTH);
                assert!(
                    budget.left() == 0 || full - budget.left() <= 2 * LARGE,
                    "two pieces at most"
                );
            }
            assert_eq!(received, LENGTH);
        }
    }

    #[tokio::test]
    async fn the_next_piece_is_read_ahead_while_the_budget_lasts() {
        for (budget, ahead) in [(Budget::of(PIECES), true), (Budget::exhausted(), false)] {
            let temporary = file(LENGTH);
            let file = File::open(temporary.path()).unwrap();
            let metadata = file.metadata().unwrap();
            let stretches = vec![Stretch::File(0..LENGTH)];
            let mut reader = Reader::new(OpenFile { file, metadata }, stretches, &budget);
            let state = State::Ready(reader.piece().unwrap(), reader);
            let mut body = FileBody {
                state,
                left: LENGTH,
            };
            body.frame().await.unwrap().unwrap();
            assert_eq!(matches!(body.state, State::Reading(_)), ahead);
            assert_eq!(matches!(body.state, State::Idle(_)), !ahead);
        }
    }

    #[tokio::test]
    async fn a_dropped_body_lets_go_of_everything() {
        let file = file(LENGTH);
        let budget = Budget::of(PIECES);
        for taken in 0..3 {
            let Body::Stream(mut body) = open(file.path(), LENGTH, &budget) else {
                panic!("not streamed");
            };
            for _ in 0..taken {
                drop(body.frame().await.unwrap().unwrap());
            }
            drop(body);
            let given_back = budget.all_given_back(PIECES);
            tokio::time::timeout(std::time::Duration::from_secs(10), given_back)
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_that_shrinks_ends_the_body_with_an_error() {
        let file = file(LENGTH);
        let Body::Stream(mut body) = open(file.path(), LENGTH, &Budget::of(PIECES)) else {
            panic!("not streamed");
        };
        file.as_file().set_len(LARGE + 1).unwrap();
        body.frame().await.unwrap().unwrap();
        let error = loop {
            match body.frame().await.expect("an error comes before the end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("shrank"), "{error}");
        assert!(body.frame().await.is_none());
    }
}
