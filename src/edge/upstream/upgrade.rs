//! Connections to upstreams for requests that ask for an upgrade (WebSocket).
//!
//! Pingora 0.9.1 ends an upgraded exchange at once when the upstream's 101 is read before the end of
//! the (empty) request body has been taken from its own queue: it takes that end for the client's
//! goodbye. Both are awaited together and in random order, so an upstream that answers within
//! microseconds loses its WebSocket now and then. [`Patient`] gives the other side its turn: after
//! each write the first read waits for one more poll.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Makes [`Patient`] connections.
#[derive(Debug)]
pub(super) struct Patiently;

#[async_trait]
impl Connect for Patiently {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let socket: Box<dyn VirtualSocket> = match address {
            SocketAddr::Inet(address) => {
                let stream = ext::connect(address, None).await?;
                // A frame of a few bytes must not wait for the acknowledgement of the last one.
                stream.set_nodelay(true).map_err(|error| {
                    Error::because(ErrorType::ConnectError, "no TCP_NODELAY", error).into_up()
                })?;
                Box::new(Patient::new(stream))
            }
            SocketAddr::Unix(address) => match address.as_pathname() {
                Some(path) => Box::new(Patient::new(ext::connect_uds(path).await?)),
                None => {
                    return Err(Error::explain(
                        ErrorType::ConnectError,
                        "a unix socket without a path",
                    )
                    .into_up());
                }
            },
        };
        Ok(VirtualSocketStream::new(socket).into())
    }
}

/// A connection whose first read after a write is put off by one poll.
#[derive(Debug)]
struct Patient<S> {
    inner: S,
    has_written: bool,
}

impl<S> Patient<S> {
    fn new(inner: S) -> Self {
        Self {
            inner,
            has_written: false,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.has_written) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S> VirtualSocket for Patient<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + Sync + std::fmt::Debug,
{
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        match option {
            // Set when the connection was made.
            VirtualSockOpt::NoDelay => Ok(()),
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}
