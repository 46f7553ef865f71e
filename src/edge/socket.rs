//! The socket under every connection, with buffers that live only while something is in them.
//!
//! Pingora's own are there for as long as the connection, which is idle most of the time: together
//! 8 KiB of each client over plain HTTP, and 24 KiB over TLS. So they are switched off
//! (`edge/listeners`), and here instead
//!
//! - **what is written is collected** until it is flushed, so that a head and a small body leave
//!   together;
//! - **a reader that had its own buffer filled gets what follows out of a larger one**: rustls takes 4 KiB
//!   at a time, and an upload would cost four times the system calls.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{
    GetProxyDigest, GetSocketDigest, GetTimingDigest, Peek, Shutdown, SocketDigest, Ssl,
    TimingDigest, UniqueID, UniqueIDType,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// A TLS record, nearly.
const READ_BUFFER: usize = 16 * 1024;
/// A read that takes less has probably taken all there is.
const MUCH: usize = 4 * 1024;
/// Bytes collected before they are written.
const WRITE_BUFFER: usize = 8 * 1024;

/// One accepted connection.
#[derive(Debug)]
pub(super) struct Socket<S = L4Stream>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    inner: S,
    /// Read, and not yet given to the reader.
    read: BytesMut,
    /// Whether there was so much to read that there may be more.
    is_busy: bool,
    /// Written, and not yet sent.
    written: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Socket<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            read: BytesMut::new(),
            is_busy: false,
            written: BytesMut::new(),
        }
    }

    /// Waits for the first byte, which stays to be read; `None` where none comes.
    pub(super) async fn first(&mut self) -> Option<u8> {
        poll_fn(|context| self.poll_fill(context)).await.ok()?;
        self.read.first().copied()
    }

    /// Fills our own buffer; without anything to read it takes no space.
    fn poll_fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.read.reserve(READ_BUFFER);
        let filled = pin!(self.inner.read_buf(&mut self.read)).poll(context);
        if !matches!(filled, Poll::Ready(Ok(1..))) {
            self.read = BytesMut::new();
        }
        self.is_busy = ready!(filled)? >= MUCH;
        Poll::Ready(Ok(()))
    }

    /// Sends what was collected, and gives its space back.
    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.written.is_empty() {
            let sent = ready!(Pin::new(&mut self.inner).poll_write(context, &self.written))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written.advance(sent);
        }
        self.written = BytesMut::new();
        Poll::Ready(Ok(()))
    }

    /// Makes room for `length` bytes more; whether they are to be collected.
    fn poll_room(&mut self, context: &mut Context<'_>, length: usize) -> Poll<io::Result<bool>> {
        if self.written.len() + length > WRITE_BUFFER {
            ready!(self.poll_send(context))?;
        }
        if length >= WRITE_BUFFER {
            return Poll::Ready(Ok(false));
        }
        if self.written.capacity() == 0 {
            self.written.reserve(WRITE_BUFFER);
        }
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read.is_empty() && this.is_busy && buffer.remaining() < READ_BUFFER {
            ready!(this.poll_fill(context))?;
        } else if this.read.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(context, buffer))?;
            this.is_busy = buffer.filled().len() - before >= MUCH;
            return Poll::Ready(Ok(()));
        }
        let given = this.read.len().min(buffer.remaining());
        buffer.put_slice(&this.read[..given]);
        this.read.advance(given);
        if this.read.is_empty() {
            this.read = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if ready!(this.poll_room(context, bytes.len()))? {
            this.written.extend_from_slice(bytes);
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut this.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(context))?;
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let length = slices.iter().map(|slice| slice.len()).sum();
        if ready!(this.poll_room(context, length))? {
            for slice in slices {
                this.written.extend_from_slice(slice);
            }
            return Poll::Ready(Ok(length));
        }
        Pin::new(&mut this.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// A connection that is dropped has still sent what it can at once: the part of an answer that broke
/// off, for one.
impl<S: AsyncRead + AsyncWrite + Unpin> Drop for Socket<S> {
    fn drop(&mut self) {
        if !self.written.is_empty() {
            let _ = AsyncWriteExt::flush(self).now_or_never();
        }
    }
}

#[async_trait]
impl Shutdown for Socket {
    async fn shutdown(&mut self) {
        // A client that can't be told has gone, or will find out.
        let _ = AsyncWriteExt::shutdown(self).await;
    }
}

impl UniqueID for Socket {
    fn id(&self) -> UniqueIDType {
        self.inner.id()
    }
}

impl Ssl for Socket {}

impl Peek for Socket {}

impl GetTimingDigest for Socket {
    fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
        self.inner.get_timing_digest()
    }
}

impl GetProxyDigest for Socket {
    fn get_proxy_digest(&self) -> Option<Arc<ProxyDigest>> {
        self.inner.get_proxy_digest()
    }
}

impl GetSocketDigest for Socket {
    fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
        self.inner.get_socket_digest()
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;

    use tokio::io::{DuplexStream, duplex};

    use super::*;

    fn pair(room: usize) -> (Socket<DuplexStream>, DuplexStream) {
        let (ours, theirs) = duplex(room);
        (Socket::new(ours), theirs)
    }

    fn numbered(length: usize) -> Vec<u8> {
        (0..=250).cycle().take(length).collect()
    }

    /// What has arrived there.
    fn arrived(theirs: &mut DuplexStream) -> usize {
        let mut bytes = vec![0; 1 << 20];
        match theirs.read(&mut bytes).now_or_never() {
            Some(read) => read.unwrap(),
            None => 0,
        }
    }

    #[tokio::test]
    async fn what_is_small_leaves_together_and_its_space_is_given_back() {
        let (mut socket, mut theirs) = pair(1 << 20);
        for (writes, at_once, why) in [
            (&[300, 500][..], 0, "a head and a small body"),
            (&[8191], 0, "what just fits"),
            (&[8192], 8192, "what is large needs no company"),
            (&[5000, 5000], 5000, "what no longer fits waits alone"),
            (&[100, 100_000], 100_100, "in its order"),
        ] {
            for &write in writes {
                socket.write_all(&vec![b'x'; write]).await.unwrap();
            }
            let mut came = arrived(&mut theirs);
            came += arrived(&mut theirs);
            assert_eq!(came, at_once, "{why}");
            socket.flush().await.unwrap();
            came += arrived(&mut theirs);
            assert_eq!(came, writes.iter().sum::<usize>(), "{why}");
            assert_eq!(socket.written.capacity(), 0, "{why}");
        }
    }

    #[tokio::test]
    async fn several_slices_are_one_write() {
        let (mut socket, mut theirs) = pair(1 << 20);
        let slices = [IoSlice::new(b"one "), IoSlice::new(b"two")];
        assert_eq!(socket.write_vectored(&slices).await.unwrap(), 7);
        assert_eq!(arrived(&mut theirs), 0);
        drop(socket);
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two", "dropped, it has still sent them");
    }

    #[tokio::test]
    async fn a_slow_reader_gets_every_byte_in_order() {
        let (mut socket, mut theirs) = pair(7);
        let bytes = numbered(40_000);
        let sent = bytes.clone();
        let sending = tokio::spawn(async move {
            for piece in sent.chunks(997) {
                socket.write_all(piece).await.unwrap();
            }
            AsyncWriteExt::shutdown(&mut socket).await.unwrap();
            socket
        });
        let mut read = Vec::new();
        theirs.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn who_reads_little_of_much_gets_it_from_a_larger_buffer() {
        let (mut socket, mut theirs) = pair(1 << 20);
        let bytes = numbered(100_000);
        theirs.write_all(&bytes).await.unwrap();
        let mut read = Vec::new();
        let mut ahead = 0;
        while read.len() < bytes.len() {
            let mut piece = vec![0; 4096];
            let length = socket.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..length]);
            ahead = ahead.max(socket.read.len());
        }
        assert_eq!(read, bytes);
        assert!(ahead > 8192, "{ahead} bytes were read ahead at the most");

        let mut piece = vec![0; 4096];
        assert!(socket.read(&mut piece).now_or_never().is_none());
        assert_eq!(socket.read.capacity(), 0, "idle, it holds nothing");
        theirs.write_all(b"more").await.unwrap();
        assert_eq!(socket.read(&mut piece).await.unwrap(), 4);
        assert!(!socket.is_busy, "a little goes to the reader at once");
        drop(theirs);
        assert_eq!(socket.read(&mut piece).await.unwrap(), 0, "the end");
    }
}
