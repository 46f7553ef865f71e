//! The bridge from the edge to the app: the one place that knows both Pingora's session and the
//! bodies of [`http`].
//!
//! Bodies stream both ways with back-pressure: the client's body is read only as fast as the handler
//! asks for it, the handler's body only as fast as the client takes it. The handler runs inside the
//! request's own task, so a client that leaves cancels it by dropping it. A handler that panics
//! costs its own request only.

use std::future::pending;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{FutureExt, stream};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, StreamBody};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tower::ServiceExt;
use tracing::Instrument;

use super::Edge;
use super::connection::farewell_of;
use super::event_stream::until_its_turn;
use super::exchange::Exchange;
use super::outgoing::Changes;
use super::reply::{self, Answer, Body, BodyError, Inflow};
use crate::measure::spent;

/// Hands the request to the app and its answer to the client.
pub(super) async fn answer(session: &mut Session, exchange: &Exchange, edge: &Edge) -> Result<()> {
    let (request, mut inflow) = request(session, exchange);
    let begun = Instant::now();
    let handler = edge.app.clone().oneshot(request);
    let handler = handler.instrument(tracing::info_span!(target: "otel", "app"));
    let handler = spent::on_database(AssertUnwindSafe(handler).catch_unwind());
    tokio::pin!(handler);
    let mut on_database = Duration::ZERO;
    let answer = loop {
        tokio::select! {
            biased;
            (response, spent) = &mut handler => {
                on_database = spent;
                match response {
                    Ok(Ok(response)) => break translate(session, response),
                    Ok(Err(never)) => match never {},
                    Err(_) => {
                        edge.panics.note(&exchange.id, "the app's handler");
                        break reply::empty(StatusCode::INTERNAL_SERVER_ERROR);
                    }
                }
            }
            done = inflow.step(session) => done?,
        }
        if inflow.too_large {
            break reply::empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
    };
    if let Some(cells) = exchange.cells() {
        cells.answered_after(begun.elapsed());
        cells.spent_on_database(on_database);
    }
    reply::send_beside(session, exchange, answer, &mut inflow).await
}

fn request(
    session: &mut Session,
    exchange: &Exchange,
) -> (Request<axum::body::Body>, RequestInflow) {
    let bodiless = session.is_body_empty();
    let peer = super::admission::peer_address(session);
    let head = session.req_header();
    let length = content_length(&head.headers);
    // HTTP/1.0 knows no interim answers (RFC 9110, section 10.1.1).
    let expects_continue =
        head.version == Version::HTTP_11 && head.headers.contains_key(header::EXPECT);
    let (inflow, body) = if bodiless {
        (RequestInflow::nothing(), axum::body::Body::empty())
    } else {
        let (inflow, body) = RequestInflow::body(exchange, length, expects_continue);
        (inflow, axum::body::Body::new(body))
    };

    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    let mut headers = head.headers.clone();
    Changes::of(exchange, peer, &head.headers).apply_to(&mut headers);
    *request.headers_mut() = headers;
    (request, inflow)
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

fn translate(session: &Session, response: Response<axum::body::Body>) -> Answer {
    let is_head = session.req_header().method == Method::HEAD;
    let tells_length = response.headers().contains_key(header::CONTENT_LENGTH);
    let farewell = farewell_of(session);
    let (parts, body) = response.into_parts();
    let body = match http_body::Body::size_hint(&body).exact() {
        // To HEAD the router has dropped the body already; no length told is one it didn't know.
        Some(0) if is_head && !tells_length => {
            Body::Stream(StreamBody::new(stream::empty()).boxed_unsync())
        }
        Some(0) => Body::Empty,
        _ => {
            let method = &session.req_header().method;
            let head = (parts.status, &parts.headers);
            Body::Stream(until_its_turn(method, head, body, farewell.as_ref()))
        }
    };
    Response::from_parts(parts, body)
}

/// Most bytes of a body that are read though no handler wants them.
const MAX_UNWANTED: usize = 64 * 1024;

/// Brings the request's body to the handler, then watches for a client that leaves.
struct RequestInflow {
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
    fn nothing() -> Self {
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

    fn body(
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

    async fn read(&mut self, session: &mut Session) -> Result<()> {
        let read = match timeout(self.idle, session.read_request_body()).await {
            Ok(read) => read.map_err(Error::into_down),
            Err(_) => Err(Error::explain(
                ErrorType::ReadTimedout,
                "the client has stopped sending the body",
            )
            .into_down()),
        };
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
                self.signals.wanted.notified().await;
                self.state = State::Reading;
                call_for_body(session).await
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
struct RequestBody {
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
