//! The connection as the door lends it to Pingora for one request at a time.
//!
//! Between requests the door reads heads from a [`Wire`]. During a request Pingora reads and writes
//! through it, and the wire keeps promises that Pingora's session doesn't:
//!
//! - **It never gives out a byte beyond the request's body.** What a client sends early stays here
//!   for the next head to be judged by the same strict reading, and doesn't disturb the request
//!   that is running (Pingora takes it for an error).
//! - **Chunks are read strictly** ([`chunks`](super::chunks)), for their end and for what they say.
//! - **What has been written leaves before anybody waits for the client.** Pingora flushes a body of
//!   known length at its end only, and a handler may take its time between two pieces.
//! - **A client that stops reading is cut** when no write has been accepted for `write_idle`.
//! - **A WebSocket is told when it is over** ([`websocket`](super::websocket)); Pingora would cut it.
//! - **A client that still sends when we are done is listened to for a moment** before the
//!   connection closes, or the kernel would reset it and our answer with it.
//! - **An answer to HTTP/1.0 that breaks off doesn't end like a whole one**: the connection is
//!   [`reset`](super::reset).

mod body;
mod closing;
mod digests;
mod frames;
mod lent;

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use pingora_core::protocols::Stream;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::Sleep;

use self::closing::Closing;
use super::chunks::Chunks;
use super::head::Framing;
use super::websocket::WebSocket;
use crate::edge::farewell::Farewell;
use crate::edge::ready::Tape;

/// What one read from the socket takes at the most while a head is awaited.
const READ_SIZE: usize = 4 * 1024;
/// Bytes of answers that wait for those to the next requests, so that all leave together.
const WORTH_A_WRITE: usize = 32 * 1024;

/// One HTTP/1.1 connection.
pub(in crate::edge) struct Wire {
    inner: Stream,
    /// Read from the client and not yet given to anyone.
    ahead: BytesMut,
    /// What Pingora may still read for the running request.
    body: Framing,
    /// How far a body has come whose framing is chunked.
    chunks: Chunks,
    /// The door's own answers, on their way to the client.
    replies: Vec<u8>,
    /// Keeps what Pingora writes for the running request.
    tape: Option<Tape>,
    /// The client has closed its side.
    ended: bool,
    write_idle: Duration,
    /// Something was written and not flushed yet.
    unflushed: bool,
    /// When the write that can't go on has to be given up.
    stalled: Option<Pin<Box<Sleep>>>,
    /// Whether the last write is still pending.
    backlog: Arc<AtomicBool>,
    closing: Closing,
    /// Whether an end of the connection here and now would look like that of the answer.
    misleads: AtomicBool,
    /// What the running request asks for, or has become.
    websocket: Option<Box<WebSocket>>,
    farewell: Arc<Farewell>,
}

impl Wire {
    pub(super) fn new(inner: Stream, write_idle: Duration, farewell: Arc<Farewell>) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            body: Framing::Length(0),
            chunks: Chunks::default(),
            replies: Vec::new(),
            tape: None,
            ended: false,
            write_idle,
            unflushed: false,
            stalled: None,
            backlog: Arc::default(),
            closing: Closing::Plain,
            misleads: AtomicBool::new(false),
            websocket: None,
            farewell,
        }
    }

    /// A wire that lets every byte through and listens to the client when it closes.
    pub(in crate::edge) fn of_another_protocol(
        inner: Stream,
        write_idle: Duration,
        farewell: Arc<Farewell>,
    ) -> Self {
        let mut wire = Self::new(inner, write_idle, farewell);
        wire.body = Framing::Upgrade;
        wire.closing = Closing::Listening;
        wire
    }

    /// True while the client has yet to take what was written.
    pub(in crate::edge) fn backlog(&self) -> Arc<AtomicBool> {
        self.backlog.clone()
    }

    /// Whether the connection ends with the answer it is waiting for.
    pub(super) fn is_at_its_end(&self) -> bool {
        self.farewell.has_begun()
    }

    /// How the connection comes to its end.
    pub(in crate::edge) fn farewell(&self) -> &Arc<Farewell> {
        &self.farewell
    }

    /// What has been read of the next head, and perhaps more.
    pub(super) fn ahead(&self) -> &[u8] {
        &self.ahead
    }

    /// Drops the first `count` bytes read.
    pub(super) fn skip(&mut self, count: usize) {
        self.ahead.advance(count);
    }

    /// Waits for more of the next head; `false` when the client has closed its side.
    pub(super) async fn read_more(&mut self) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        std::future::poll_fn(|context| {
            // On the stack, so that an idle connection waits without a buffer.
            let mut space = [MaybeUninit::uninit(); READ_SIZE];
            let mut read = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
            self.ended = read.filled().is_empty();
            self.ahead.extend_from_slice(read.filled());
            Poll::Ready(Ok(!self.ended))
        })
        .await
    }

    /// What has been read, and where the door's own answers go until they are [sent](Self::send).
    pub(super) fn dialogue(&mut self) -> (&[u8], &mut Vec<u8>) {
        (&self.ahead, &mut self.replies)
    }

    /// Whether the answers written so far should leave, though the client has asked for more.
    pub(super) fn has_much_to_send(&self) -> bool {
        self.replies.len() >= WORTH_A_WRITE
    }

    /// Sends the door's own answers, and `body` after them.
    pub(super) async fn send(&mut self, body: &[u8]) -> io::Result<()> {
        if self.replies.is_empty() && body.is_empty() {
            return Ok(());
        }
        let mut replies = std::mem::take(&mut self.replies);
        let sent = if body.is_empty() {
            self.write_all(&replies).await
        } else {
            self.write_all_buf(&mut Buf::chain(&*replies, body)).await
        };
        // What a large answer needed isn't held by a connection that may be idle for long.
        if replies.capacity() <= READ_SIZE {
            replies.clear();
            self.replies = replies;
        }
        sent?;
        self.flush().await
    }

    /// Has what Pingora writes next kept on `tape`.
    pub(super) fn record(&mut self, tape: Tape) {
        self.tape = Some(tape);
    }

    /// Takes the head off and opens the wire for its body.
    pub(super) fn begin(&mut self, head_length: usize, body: Framing) -> BytesMut {
        self.body = body;
        self.chunks = Chunks::default();
        self.websocket = (body == Framing::Upgrade)
            .then(|| Box::new(WebSocket::asked_for(self.farewell.turn())));
        if self.ahead.len() == head_length {
            // Not split: the buffer stays the head's alone, and Pingora needs no copy of it.
            std::mem::take(&mut self.ahead)
        } else {
            self.ahead.split_to(head_length)
        }
    }

    /// The client takes the end of the connection for the end of the answer, whenever it comes.
    pub(super) fn ends_with_its_answer(&mut self) {
        *self.misleads.get_mut() = true;
    }

    /// Whether an end of the connection would look like that of the answer, of which a part is missing.
    pub(super) fn misleads(&self) -> bool {
        self.misleads.load(Ordering::Relaxed)
    }

    /// Nothing of the answer is missing.
    pub(super) fn is_whole(&self) {
        self.misleads.store(false, Ordering::Relaxed);
    }

    /// Takes the wire back after a request: nothing of it is outstanding. Gives back the tape.
    pub(super) fn end(&mut self) -> Option<Tape> {
        self.is_whole();
        self.body = Framing::Length(0);
        self.websocket = None;
        self.tape.take()
    }

    /// What keeps the answer to the running request, if something does.
    pub(super) fn tape(&self) -> Option<&Tape> {
        self.tape.as_ref()
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("ahead", &self.ahead.len())
            .field("body", &self.body)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}
