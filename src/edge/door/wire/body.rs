//! A request's body on its way to Pingora: all of it and nothing beyond.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::{Framing, Wire};
use crate::edge::door::chunks::Malformed;

/// Most bytes kept of what a client sends before its turn.
const MAX_AHEAD: usize = 64 * 1024;

impl Wire {
    /// Reads a body of which `rest` bytes are still to come.
    pub(super) fn poll_read_length(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
        rest: u64,
    ) -> Poll<io::Result<()>> {
        let allowed = usize::try_from(rest).unwrap_or(usize::MAX);
        let before = buffer.filled().len();
        if !self.ahead.is_empty() {
            let ready = allowed.min(buffer.remaining()).min(self.ahead.len());
            buffer.put_slice(&self.ahead.split_to(ready));
        } else if allowed >= buffer.remaining() {
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        } else {
            let mut limited = ReadBuf::new(buffer.initialize_unfilled_to(allowed));
            ready!(Pin::new(&mut self.inner).poll_read(context, &mut limited))?;
            let read = limited.filled().len();
            buffer.advance(read);
        }
        let read = buffer.filled().len() - before;
        self.ended = read == 0;
        self.body = Framing::Length(rest - read as u64);
        Poll::Ready(Ok(()))
    }

    /// Reads a body that comes in chunks.
    pub(super) fn poll_read_chunks(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
            let read = &buffer.filled()[before..];
            self.ended = read.is_empty();
            let outcome = self.chunks.read(read).map_err(malformed);
            let kept = *outcome.as_ref().unwrap_or(&0);
            if outcome.is_ok() {
                self.ahead.extend_from_slice(&read[kept..]);
            }
            buffer.set_filled(before + kept);
            outcome?;
        } else {
            let ready = buffer.remaining().min(self.ahead.len());
            let read = self.chunks.read(&self.ahead[..ready]).map_err(malformed)?;
            buffer.put_slice(&self.ahead.split_to(read));
        }
        if self.chunks.has_ended() {
            self.body = Framing::Length(0);
        }
        Poll::Ready(Ok(()))
    }

    /// Listens for what the client does while no byte of this request is outstanding: reports the
    /// end of its side, keeps what belongs to later requests.
    pub(super) fn poll_watch(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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
}

fn malformed(malformed: Malformed) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, malformed)
}
