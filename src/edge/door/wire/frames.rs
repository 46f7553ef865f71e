//! A WebSocket on its way over the wire: its bytes as they come, but for the end that it may be given.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Framing, Wire};

impl Wire {
    /// Writes what may go to the client of what a server says over a WebSocket.
    pub(super) fn poll_write_frames(
        &mut self,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let Some(websocket) = &mut self.websocket else {
            return Pin::new(&mut self.inner).poll_write(context, bytes);
        };
        websocket.go_on(context, &mut self.inner);
        let Some(room) = websocket.room_for(bytes, context) else {
            websocket.sent(bytes);
            return Poll::Ready(Ok(bytes.len()));
        };
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, &bytes[..room]))?;
        websocket.sent(&bytes[..written]);
        if websocket.is_declined() {
            self.websocket = None;
            self.body = Framing::Length(0);
        }
        Poll::Ready(Ok(written))
    }

    /// Reads what is for the server of what the client says over a WebSocket.
    pub(super) fn poll_read_frames(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Some(websocket) = &mut self.websocket {
            // Until it is agreed on, what comes is for nobody.
            if websocket.is_asked_for() {
                return self.poll_watch(context);
            }
            websocket.go_on(context, &mut self.inner);
            if let Some(end) = websocket.poll_end(buffer) {
                return end.map(Ok);
            }
        }
        if self.ahead.is_empty() {
            ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        } else {
            let ready = buffer.remaining().min(self.ahead.len());
            buffer.put_slice(&self.ahead.split_to(ready));
        }
        if let Some(websocket) = &mut self.websocket {
            let kept = websocket.received(&buffer.filled()[before..]);
            buffer.set_filled(before + kept);
        }
        self.ended = buffer.filled().len() == before;
        Poll::Ready(Ok(()))
    }
}
