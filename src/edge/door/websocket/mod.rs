//! The end of a WebSocket that neither side wanted: its client is told to come anew.
//!
//! Bytes are piped as they come; only where [`frames`] begin is known. When the connection has its
//! [turn](crate::edge::farewell::Farewell::turn) to end:
//!
//! 1. The message that the server is sending goes on to its end, but for [`FOR_MESSAGE`] at the most:
//!    then the next place between two frames will do.
//! 2. There the client is sent Close with 1012, "Service Restart". What the server sends after
//!    that is dropped, for nothing may follow a Close (RFC 6455, section 5.5.1).
//! 3. What the client sends still goes to the server, up to its own Close, which is its answer to ours
//!    and the server's goodbye. The server has its answer to that in mind, so both have
//!    [`FOR_GOODBYE`].
//! 4. A server whose client hasn't said Close is told by us: 1001, "going away".
//!
//! Where a side doesn't speak in frames nothing is put in; it is cut when time is over.

mod frames;

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use pingora_core::protocols::Stream;
use tokio::io::{AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use self::frames::{Frames, Place, Sender};
use crate::edge::farewell::Turn;

/// How long a message may still take that is under way.
const FOR_MESSAGE: Duration = Duration::from_secs(5);
/// How long both sides have to say goodbye.
const FOR_GOODBYE: Duration = Duration::from_secs(3);
/// Close with status 1012 (in the IANA's registry of close codes).
const COME_ANEW: &[u8] = b"\x88\x11\x03\xf4Service Restart";
/// Close with status 1001, masked as what comes from a client must be. There is nothing to guess in it.
const GOING_AWAY: &[u8] = b"\x88\x82\x5a\xc3\x96\x3c\x59\x2a";

/// A request for a WebSocket, and then the WebSocket.
pub(super) struct WebSocket {
    stage: Stage,
    to_client: Frames,
    to_server: Frames,
}

enum Stage {
    /// It has still to be agreed on.
    Asked(AnswerHead, Turn),
    /// It was not.
    Declined,
    Open(Turn),
    /// It is to end at the next message's end, or frame's, when this is over.
    Due(Pin<Box<Sleep>>),
    /// So many bytes of our Close have been written.
    Closing(usize, Pin<Box<Sleep>>),
    /// Both sides say goodbye by themselves, for so long.
    Parting(Pin<Box<Sleep>>),
    /// We have said Close to the client.
    Said(Pin<Box<Sleep>>),
    /// Nothing more comes from the client.
    Over {
        server_was_told: bool,
    },
}

impl WebSocket {
    pub(super) fn asked_for(turn: Turn) -> Self {
        Self {
            stage: Stage::Asked(AnswerHead::default(), turn),
            to_client: Frames::of(Sender::Server),
            to_server: Frames::of(Sender::Client),
        }
    }

    /// Whether the server has yet to agree.
    pub(super) fn is_asked_for(&self) -> bool {
        matches!(self.stage, Stage::Asked(..))
    }

    /// Whether the client has no more to say.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.stage, Stage::Over { .. }) || self.to_server.is_closed()
    }

    /// Whether it is none, and will never be.
    pub(super) fn is_declined(&self) -> bool {
        matches!(self.stage, Stage::Declined)
    }

    /// Takes its end as far as it goes for now. `client` is its connection.
    pub(super) fn go_on(&mut self, context: &mut Context<'_>, client: &mut Stream) {
        while let Some(next) = self.next(context, client) {
            self.stage = next;
        }
    }

    fn next(&mut self, context: &mut Context<'_>, client: &mut Stream) -> Option<Stage> {
        match &mut self.stage {
            Stage::Open(turn) => Pin::new(turn)
                .poll(context)
                .is_ready()
                .then(|| Stage::Due(Box::pin(sleep(FOR_MESSAGE)))),
            Stage::Due(message) => {
                let place = place(message, context);
                if self.to_client.is_closed() || self.to_server.is_closed() {
                    Some(Stage::Parting(Box::pin(sleep(FOR_GOODBYE))))
                } else {
                    let is_there = self.to_client.is_at(place);
                    is_there.then(|| Stage::Closing(0, Box::pin(sleep(FOR_GOODBYE))))
                }
            }
            Stage::Closing(written, over) => match write(context, client, &COME_ANEW[*written..]) {
                Poll::Ready(Ok(0)) => {
                    let over = std::mem::replace(over, Box::pin(sleep(FOR_GOODBYE)));
                    Some(Stage::Said(over))
                }
                Poll::Ready(Ok(count)) => {
                    *written += count;
                    self.next(context, client)
                }
                Poll::Ready(Err(_)) => Some(OVER),
                Poll::Pending => over.as_mut().poll(context).is_ready().then_some(OVER),
            },
            Stage::Said(over) | Stage::Parting(over) => {
                let are_done = self.to_client.is_closed() && self.to_server.is_closed();
                let is_over = are_done || over.as_mut().poll(context).is_ready();
                is_over.then_some(OVER)
            }
            Stage::Asked(..) | Stage::Declined | Stage::Over { .. } => None,
        }
    }

    /// How many of `bytes` may go to the client now; `None` where nothing of the server's may.
    pub(super) fn room_for(&mut self, bytes: &[u8], context: &mut Context<'_>) -> Option<usize> {
        match &mut self.stage {
            Stage::Due(message) => {
                let place = place(message, context);
                Some(self.to_client.until(place, bytes).max(1).min(bytes.len()))
            }
            Stage::Closing(..) | Stage::Said(_) | Stage::Over { .. } => None,
            Stage::Asked(..) | Stage::Declined | Stage::Open(_) | Stage::Parting(_) => {
                Some(bytes.len())
            }
        }
    }

    /// These of the server's went to the client, or nowhere.
    pub(super) fn sent(&mut self, bytes: &[u8]) {
        if let Stage::Asked(head, _) = &mut self.stage {
            let Some((is_agreed, rest)) = head.end_in(bytes) else {
                return;
            };
            let asked = std::mem::replace(&mut self.stage, Stage::Declined);
            if let (Stage::Asked(_, turn), true) = (asked, is_agreed) {
                self.stage = Stage::Open(turn);
                self.to_client.pass(rest);
            }
        } else {
            self.to_client.pass(bytes);
        }
    }

    /// These have come from the client; returns how many of them are for the server.
    pub(super) fn received(&mut self, bytes: &[u8]) -> usize {
        match self.stage {
            _ if self.to_server.is_closed() => bytes.len(),
            Stage::Said(_) => self.to_server.pass(bytes),
            _ => {
                self.to_server.pass(bytes);
                bytes.len()
            }
        }
    }

    /// What there is to read for the server instead of what the client sends, if that is so: nothing
    /// more, and before that perhaps a Close.
    pub(super) fn poll_end(&mut self, buffer: &mut ReadBuf<'_>) -> Option<Poll<()>> {
        match &mut self.stage {
            // The client has answered, and nothing follows a Close.
            Stage::Said(_) if self.to_server.is_closed() => Some(Poll::Pending),
            Stage::Over { server_was_told } => {
                let tell = !*server_was_told
                    && self.to_server.is_at(Place::Frame)
                    && buffer.remaining() >= GOING_AWAY.len();
                *server_was_told = true;
                if tell {
                    buffer.put_slice(GOING_AWAY);
                }
                Some(Poll::Ready(()))
            }
            _ => None,
        }
    }
}

const OVER: Stage = Stage::Over {
    server_was_told: false,
};

/// Where our Close may stand.
fn place(message: &mut Pin<Box<Sleep>>, context: &mut Context<'_>) -> Place {
    match message.as_mut().poll(context) {
        Poll::Pending => Place::Message,
        Poll::Ready(()) => Place::Frame,
    }
}

/// Writes some of `bytes`; flushes where there are none.
fn write(
    context: &mut Context<'_>,
    client: &mut Stream,
    bytes: &[u8],
) -> Poll<std::io::Result<usize>> {
    if bytes.is_empty() {
        return Pin::new(client).poll_flush(context).map_ok(|()| 0);
    }
    let written = Pin::new(client).poll_write(context, bytes);
    // Nothing taken is no place to begin anew from.
    written.map(|written| match written {
        Ok(0) => Err(std::io::ErrorKind::WriteZero.into()),
        written => written,
    })
}

/// The heads of an answer as they are written, up to the one that counts.
#[derive(Default)]
struct AnswerHead {
    /// `HTTP/1.1 101`
    status: [u8; 12],
    length: usize,
    /// How many bytes of the empty line at its end are there.
    end: usize,
}

impl AnswerHead {
    /// Goes on through `bytes`; at the end of the head that counts, whether that agrees to a WebSocket,
    /// and what follows it.
    fn end_in<'a>(&mut self, bytes: &'a [u8]) -> Option<(bool, &'a [u8])> {
        for (at, &byte) in bytes.iter().enumerate() {
            if let Some(place) = self.status.get_mut(self.length) {
                *place = byte;
                self.length += 1;
            }
            self.end = match (byte, self.end) {
                (b'\r', 2) => 3,
                (b'\r', _) => 1,
                (b'\n', end @ (1 | 3)) => end + 1,
                _ => 0,
            };
            if self.end == 4 {
                match &self.status[9..] {
                    b"101" => return Some((true, &bytes[at + 1..])),
                    // Another head follows (RFC 9110, section 15.2).
                    [b'1', ..] => *self = Self::default(),
                    _ => return Some((false, &[])),
                }
            }
        }
        None
    }
}
