//! The connection as the door lends it to Pingora for one request at a time.
//!
//! Between requests the door reads heads from a [`Wire`]. During a request Pingora reads and writes
//! through it, and the wire keeps five promises that Pingora's session doesn't:
//!
//! - **It never gives out a byte beyond the request's body.** What a client sends early stays here
//!   for the next head to be judged by the same strict reading, and doesn't disturb the request
//!   that is running (Pingora takes it for an error).
//! - **What has been written leaves before anybody waits for the client.** Pingora flushes a body of
//!   known length at its end only, and a handler may take its time between two pieces.
//! - **A client that stops reading is cut** when no write has been accepted for `write_idle`.
//! - **A WebSocket is told when it is over** ([`websocket`](super::websocket)); Pingora would cut it.
//! - **A client that still sends when we are done is listened to for a moment** before the
//!   connection closes, or the kernel would reset it and our answer with it.
//! - **An answer to HTTP/1.0 that breaks off doesn't end like a whole one**: the connection is
//!   [`reset`].

mod digests;
mod frames;

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use pingora_core::protocols::{Shutdown, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::head::Framing;
use super::reset;
use super::websocket::WebSocket;
use crate::edge::farewell::Farewell;
use crate::edge::ready::Tape;

/// Most bytes kept of what a client sends before its turn.
const MAX_AHEAD: usize = 64 * 1024;
/// What one read from the socket takes at the most while a head is awaited.
const READ_SIZE: usize = 4 * 1024;
/// Bytes of answers that wait for those to the next requests, so that all leave together.
const WORTH_A_WRITE: usize = 32 * 1024;
/// How long a client that is still sending is listened to after the last answer.
const LINGER: Duration = Duration::from_secs(5);

/// One HTTP/1.1 connection.
pub(in crate::edge) struct Wire {
    inner: Stream,
    /// Read from the client and not yet given to anyone.
    ahead: BytesMut,
    /// What Pingora may still read for the running request.
    body: Framing,
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

/// What closing means, and how far it has come.
enum Closing {
    /// Our side is closed, and that is all.
    Plain,
    /// Then the client is listened to, whatever it sends, until it closes its own side.
    Listening,
    /// Our side is closed, the client still listened to until this is over.
    Lingering(Pin<Box<Sleep>>),
}

impl Wire {
    pub(super) fn new(inner: Stream, write_idle: Duration, farewell: Arc<Farewell>) -> Self {
        Self {
            inner,
            ahead: BytesMut::new(),
            body: Framing::Length(0),
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

    /// Closes our side and listens to the client, whatever it sends, until it closes its own or
    /// [`LINGER`] is over.
    pub(super) async fn close_and_listen(&mut self) {
        self.closing = Closing::Listening;
        Shutdown::shutdown(self).await;
    }

    /// Takes and drops what the client sends. Both ends of this are fine: the client closes, or has
    /// had its time.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Closing::Lingering(over) = &mut self.closing else {
            return Poll::Ready(());
        };
        if over.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut buffer = [0; READ_SIZE];
        while !self.ended {
            let mut read = ReadBuf::new(&mut buffer);
            let outcome = ready!(Pin::new(&mut self.inner).poll_read(context, &mut read));
            self.ended = outcome.is_err() || read.filled().is_empty();
        }
        Poll::Ready(())
    }

    /// Listens for what the client does while no byte of this request is outstanding: reports the
    /// end of its side, keeps what belongs to later requests.
    fn poll_watch(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.ended && self.ahead.len() < MAX_AHEAD {
            let mut buffer = [0; 1024];
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut read))?;
            self.ended = read.filled().is_empty();
            self.ahead.extend_from_slice(read.filled());
        }
        if self.ended && self.ahead.is_empty() {
            return Poll::Ready(Ok(()));
        }
        // Requests that came before the client closed its side are still answered.
        Poll::Pending
    }

    /// Gives up a write that has been pending for `write_idle`.
    fn guard_write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.backlog.store(write.is_pending(), Ordering::Relaxed);
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let write_idle = self.write_idle;
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(write_idle)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client has stopped reading",
        )))
    }

    fn may_be_sending(&self) -> bool {
        !self.ended && !matches!(self.body, Framing::Length(0) | Framing::Upgrade)
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut *this).poll_flush(context)
        {
            flushed?;
        }
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        let allowed = match this.body {
            Framing::Length(0) => return this.poll_watch(context),
            Framing::Length(rest) => usize::try_from(rest).unwrap_or(usize::MAX),
            Framing::Upgrade => return this.poll_read_frames(context, buffer),
            Framing::Chunked => usize::MAX,
        };
        let before = buffer.filled().len();
        if !this.ahead.is_empty() {
            let ready = allowed.min(buffer.remaining()).min(this.ahead.len());
            buffer.put_slice(&this.ahead.split_to(ready));
        } else if allowed >= buffer.remaining() {
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
        } else {
            let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(allowed));
            ready!(Pin::new(&mut this.inner).poll_read(context, &mut limited))?;
            let read = limited.filled().len();
            buffer.advance(read);
        }
        let read = buffer.filled().len() - before;
        this.ended = read == 0;
        if let Framing::Length(rest) = &mut this.body {
            *rest -= read as u64;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.unflushed = true;
        let write = if self.websocket.is_some() {
            self.poll_write_frames(context, bytes)
        } else {
            Pin::new(&mut self.inner).poll_write(context, bytes)
        };
        if let (Some(tape), Poll::Ready(Ok(written))) = (&mut self.tape, &write) {
            tape.take(&bytes[..*written]);
        }
        self.guard_write(context, write)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flush = Pin::new(&mut self.inner).poll_flush(context);
        self.unflushed = flush.is_pending();
        self.guard_write(context, flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Who ends it in order has said all there was to say.
        self.is_whole();
        if self.may_be_sending() && matches!(self.closing, Closing::Plain) {
            self.closing = Closing::Listening;
        }
        if !matches!(self.closing, Closing::Lingering(_)) {
            let shutdown = Pin::new(&mut self.inner).poll_shutdown(context);
            ready!(self.guard_write(context, shutdown))?;
        }
        if matches!(self.closing, Closing::Listening) {
            self.closing = Closing::Lingering(Box::pin(sleep(LINGER)));
        }
        self.poll_linger(context).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.websocket.is_some() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[], |slice| slice));
        }
        self.unflushed = true;
        let write = Pin::new(&mut self.inner).poll_write_vectored(context, slices);
        if let (Some(tape), Poll::Ready(Ok(written))) = (&mut self.tape, &write) {
            let mut rest = *written;
            for slice in slices {
                let taken = rest.min(slice.len());
                tape.take(&slice[..taken]);
                rest -= taken;
            }
        }
        self.guard_write(context, write)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.misleads()
            && let Err(error) = reset::instead_of_a_close(&self.inner)
        {
            tracing::debug!(%error, "an answer that broke off ends like a whole one");
        }
    }
}

#[async_trait]
impl Shutdown for Wire {
    async fn shutdown(&mut self) {
        // A client that can't be told has gone, or will find out.
        let _ = AsyncWriteExt::shutdown(self).await;
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
