//! Connections for what may be silent for long: WebSocket and event streams. Each has one for itself.
//!
//! Pingora 0.9.1 has one timeout for all reads of a request. Here it is the long one, and
//! [`Patient`] sees to it that the head of the answer doesn't take that long.
//!
//! Pingora also ends an upgraded exchange at once when the upstream's 101 is read before the end of
//! the (empty) request body has been taken from its own queue: it takes that end for the client's
//! goodbye. Both are awaited together and in random order, so an upstream that answers within
//! microseconds loses its WebSocket now and then. [`Patient`] gives the other side its turn: after
//! each write the first read waits for one more poll.
//!
//! And it ends an answer nowhere but where the upstream does, or an error. So [`Patient`] breaks a
//! connection whose [event stream](crate::edge::event_stream) has to end.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use pingora_core::connectors::l4::Connect;
use pingora_core::protocols::l4::ext;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::protocols::l4::stream::Stream;
use pingora_core::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora_core::{Error, ErrorType, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::edge::event_stream::EventStream;
use crate::edge::farewell::Turn;

/// Makes the one [`Patient`] connection of a request.
#[derive(Debug)]
pub(super) struct Patiently {
    /// How long the server may be silent before the head of its answer is there.
    pub(super) for_head: Duration,
    /// Whether that is there.
    pub(super) answered: Arc<AtomicBool>,
    /// What breaks the connection when it has to end, if something does.
    pub(super) events: Option<Arc<EventStream>>,
}

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
                Box::new(self.patient(stream))
            }
            SocketAddr::Unix(address) => match address.as_pathname() {
                Some(path) => Box::new(self.patient(ext::connect_uds(path).await?)),
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

impl Patiently {
    fn patient<S>(&self, inner: S) -> Patient<S> {
        Patient {
            inner,
            has_written: false,
            for_head: self.for_head,
            answered: self.answered.clone(),
            events: self.events.clone(),
            turn: None,
            deadline: Box::pin(sleep(self.for_head)),
        }
    }
}

/// A connection whose first read after a write is put off by one poll, and that is only patient once
/// the head of the answer is there.
struct Patient<S> {
    inner: S,
    has_written: bool,
    for_head: Duration,
    answered: Arc<AtomicBool>,
    events: Option<Arc<EventStream>>,
    turn: Option<Turn>,
    deadline: Pin<Box<Sleep>>,
}

impl<S> Patient<S> {
    /// Something has moved.
    fn put_off(&mut self) {
        if !self.answered.load(Ordering::Relaxed) {
            self.deadline.as_mut().reset(Instant::now() + self.for_head);
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
        let this = &mut *self;
        if let Some(events) = &this.events
            && events.poll_end(&mut this.turn, context).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match Pin::new(&mut self.inner).poll_read(context, buffer) {
            Poll::Pending if !self.answered.load(Ordering::Relaxed) => {
                ready!(self.deadline.as_mut().poll(context));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
            polled => {
                self.put_off();
                polled
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.has_written = true;
        self.put_off();
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

impl<S: fmt::Debug> fmt::Debug for Patient<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Patient").field(&self.inner).finish()
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
