//! A request's body on its way to the app, as fast as the handler asks for it; and what is heard of the
//! client after that.

use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;

use super::exchange::Exchange;
use super::reply::{BodyError, Inflow};

/// Most bytes of a body that are read though no handler wants them.
const MAX_UNWANTED: usize = 64 * 1024;

/// Brings the request's body to the handler, then watches for a client that leaves.
pub(super) struct RequestInflow {
    state: State,
    /// Read and not yet taken by the handler.
    held: Option<Bytes>,
    sender: Option<mpsc::Sender<Bytes>>,
    signals: Arc<Signals>,
    idle: Duration,
    left: u64,
    too_large: bool,
    /// Bytes that were read for nobody.
    unwanted: usize,
}

/// What the two ends of a request's body tell each other besides bytes.
#[derive(Default)]
struct Signals {
    /// The handler has asked for the body.
    wanted: Notify,
    /// Every byte of the body has been sent to the handler.
    complete: AtomicBool,
}

enum State {
    /// The client waits for 100 (Continue), and the handler has not asked for the body yet.
    Uninvited,
    /// A piece is read ahead of the handler, so that the end of a small body, and with it the watch
    /// for a client that leaves, doesn't wait for a handler that never asks.
    Reading,
    /// All of it has been read, or nobody wants the rest.
    Done,
}

impl RequestInflow {
    /// Of a request without a body.
    pub(super) fn nothing() -> Self {
        Self {
            state: State::Done,
            held: None,
            sender: None,
            signals: Arc::default(),
            idle: Duration::ZERO,
            left: 0,
            too_large: false,
            unwanted: 0,
        }
    }

    /// Of a request with one: this end, and the handler's. `length` is what was announced, in bytes.
    pub(super) fn body(
        exchange: &Exchange,
        length: Option<u64>,
        expects_continue: bool,
    ) -> (Self, RequestBody) {
        let (sender, receiver) = mpsc::channel(1);
        let signals = Arc::new(Signals::default());
        let inflow = Self {
            state: if expects_continue {
                State::Uninvited
            } else {
                State::Reading
            },
            held: None,
            sender: Some(sender),
            signals: signals.clone(),
            idle: exchange.snapshot.config.server.timeouts.body_idle,
            left: exchange.max_body,
            too_large: false,
            unwanted: 0,
        };
        let body = RequestBody {
            receiver,
            signals,
            asked: false,
            length,
        };
        (inflow, body)
    }

    /// Whether more has come than the route takes.
    pub(super) fn is_too_large(&self) -> bool {
        self.too_large
    }

    async fn read(&mut self, session: &mut Session) -> Result<()> {
        let read = match timeout(self.idle, session.read_request_body()).await {
            Ok(read) => read.map_err(Error::into_down),
            Err(_) => Err(Error::explain(
                ErrorType::ReadTimedout,
                "the client has stopped sending the body",
            )
            .into_down()),
        };
        self.take(read)
    }

    /// Takes what was read.
    fn take(&mut self, read: Result<Option<Bytes>>) -> Result<()> {
        match read {
            // Of a chunk whose beginning alone has come, and before trailers.
            Ok(Some(bytes)) if bytes.is_empty() => {}
            Ok(Some(bytes)) if bytes.len() as u64 > self.left => {
                self.too_large = true;
                self.abandon();
            }
            Ok(Some(bytes)) => {
                self.left -= bytes.len() as u64;
                self.held = Some(bytes);
            }
            Ok(None) => {
                self.signals.complete.store(true, Ordering::Release);
                self.abandon();
            }
            Err(error) => {
                self.abandon();
                return Err(error);
            }
        }
        Ok(())
    }

    /// Reads what nobody wants: its end may be near, and only after that is a client seen to leave.
    async fn skip(&mut self, session: &mut Session) -> Result<()> {
        let read = session
            .read_request_body()
            .await
            .map_err(Error::into_down)?;
        // An empty piece is progress too, and no endless one.
        self.unwanted += read.map_or(0, |bytes| bytes.len().max(1));
        Ok(())
    }

    /// Waits for the client to leave.
    async fn watch(&mut self, session: &mut Session) -> Result<()> {
        // It returns when the client is gone, and takes that for a mistake of ours.
        let gone = session.read_body_or_idle(true).await;
        gone.map(drop).map_err(Error::into_down)
    }

    async fn hand_over(&mut self) {
        let Some(sender) = &self.sender else { return };
        let Ok(place) = sender.reserve().await else {
            return self.abandon();
        };
        if let Some(bytes) = self.held.take() {
            place.send(bytes);
        }
    }

    /// Nothing more goes to the handler: it has everything, or has dropped the body, or is told by
    /// the missing end that the body broke off.
    fn abandon(&mut self) {
        self.state = State::Done;
        self.held = None;
        self.sender = None;
    }
}

impl Inflow for RequestInflow {
    async fn step(&mut self, session: &mut Session) -> Result<()> {
        if self.held.is_some() {
            self.hand_over().await;
            return Ok(());
        }
        match self.state {
            State::Uninvited => {
                let wanted = tokio::select! {
                    biased;
                    () = self.signals.wanted.notified() => None,
                    // It leaves; or it has not waited, and need not be called any more.
                    read = session.read_request_body() => Some(read),
                };
                self.state = State::Reading;
                match wanted {
                    None => call_for_body(session).await,
                    Some(read) => self.take(read.map_err(Error::into_down)),
                }
            }
            State::Reading => self.read(session).await,
            State::Done if session.is_body_done() => self.watch(session).await,
            State::Done if self.unwanted < MAX_UNWANTED => self.skip(session).await,
            // The client goes on sending what nobody wants: nothing to learn from that.
            State::Done => pending().await,
        }
    }
}

/// Sends 100 (Continue).
async fn call_for_body(session: &mut Session) -> Result<()> {
    // Pingora gives a connection up with any head written before the request's end, this one too.
    let keepalive = session.get_keepalive();
    session.write_continue_response().await?;
    session.set_keepalive(keepalive);
    Ok(())
}

/// The request's body as the handler sees it.
pub(super) struct RequestBody {
    receiver: mpsc::Receiver<Bytes>,
    signals: Arc<Signals>,
    asked: bool,
    /// What is left of the announced length.
    length: Option<u64>,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if !self.asked {
            self.asked = true;
            self.signals.wanted.notify_one();
        }
        match ready!(self.receiver.poll_recv(context)) {
            Some(bytes) => {
                if let Some(length) = &mut self.length {
                    *length = length.saturating_sub(bytes.len() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            None if self.signals.complete.load(Ordering::Acquire) => Poll::Ready(None),
            None => Poll::Ready(Some(Err("the client has not sent the whole body".into()))),
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length
            .map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
