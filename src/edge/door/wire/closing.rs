//! The end of a connection: when our side closes, and whether the client is still listened to.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::protocols::Shutdown;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::{Framing, READ_SIZE, Wire};
use crate::edge::door::reset;

/// How long a client that is still sending is listened to after the last answer.
const LINGER: Duration = Duration::from_secs(5);

/// What closing means, and how far it has come.
pub(super) enum Closing {
    /// Our side is closed, and that is all.
    Plain,
    /// Then the client is listened to, whatever it sends, until it closes its own side.
    Listening,
    /// Our side is closed, the client still listened to until this is over.
    Lingering(Pin<Box<Sleep>>),
}

impl Wire {
    /// Closes our side and listens to the client, whatever it sends, until it closes its own or
    /// [`LINGER`] is over.
    pub(in crate::edge::door) async fn close_and_listen(&mut self) {
        self.closing = Closing::Listening;
        Shutdown::shutdown(self).await;
    }

    /// Closes our side, and listens to the client for as long as that takes.
    pub(super) fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
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

    /// Whether something may be on its way that nobody will read.
    fn may_be_sending(&self) -> bool {
        let has_begun = !self.ahead.is_empty() || self.body != Framing::Length(0);
        let has_ended = self.websocket.as_ref().is_some_and(|it| it.is_over());
        has_begun && !has_ended && !self.ended
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
