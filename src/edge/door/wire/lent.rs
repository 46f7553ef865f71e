//! The wire in Pingora's hands: what it reads and writes during a request.

use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::sleep;

use super::{Framing, Wire};

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
        match this.body {
            Framing::Length(0) => this.poll_watch(context),
            Framing::Length(rest) => this.poll_read_length(context, buffer, rest),
            Framing::Chunked => this.poll_read_chunks(context, buffer),
            Framing::Upgrade => this.poll_read_frames(context, buffer),
        }
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
        self.poll_close(context)
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

impl Wire {
    /// Gives up a write that has been pending for `write_idle`.
    pub(super) fn guard_write<T>(
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
}
