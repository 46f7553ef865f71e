//! The end of an event stream that has none of its own.
//!
//! Cut anywhere it would cost its client an event, and look like a failure. Ended between two events,
//! as if the server had nothing more to say, it makes an `EventSource` connect again by itself, with
//! `Last-Event-ID`, to whoever serves next. So when it has its
//! [turn](crate::edge::farewell::Farewell::turn) an event that has begun passes to its end, and
//! nothing behind that.
//!
//! - The app's: [`until_its_turn`] ends the body.
//! - An upstream's: Pingora 0.9.1 ends an answer with the upstream's, or with an error. So
//!   [`upstream::patience`](super::upstream) breaks the connection that the stream has for itself, when
//!   [`poll_end`](EventStream::poll_end) lets it; that makes it an error wherever the exchange waits;
//!   and `fail_to_proxy` finishes an answer whose stream [has ended](EventStream::has_ended).
//!
//! Only what answers GET is an event stream in this sense: what answers a POST ends by itself, and nobody
//! would ask for it again.

mod between;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, Method, StatusCode, header};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use parking_lot::Mutex;

use self::between::Between;
use super::farewell::{Farewell, Turn};
use super::reply::BodyError;

/// An event stream from an upstream. Its connection and its answer's filter hold it together; nobody
/// else does, and neither for long.
#[derive(Debug)]
pub(crate) struct EventStream {
    farewell: Arc<Farewell>,
    state: Mutex<State>,
    /// Whoever waits for more of it.
    waiting: AtomicWaker,
}

#[derive(Debug)]
enum State {
    /// The answer isn't there.
    Awaited,
    /// The answer is something else.
    Other,
    Events(Events),
}

/// What passes, and whether more may.
#[derive(Debug)]
struct Events {
    between: Between,
    /// It has had its turn: the end of the event that has begun is its end.
    is_due: bool,
    /// Something was left out: nothing fits behind that.
    is_cut: bool,
}

/// Whether an answer with this head is events without end, which can be ended between two of them.
fn is_endless(status: StatusCode, headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE);
    status == StatusCode::OK
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"))
        && !headers.contains_key(header::CONTENT_LENGTH)
        // Nobody sees where an event ends in it.
        && !headers.contains_key(header::CONTENT_ENCODING)
}

impl EventStream {
    /// Perhaps the answer to a request that has asked for one.
    pub(crate) fn awaited(farewell: Arc<Farewell>) -> Arc<Self> {
        Arc::new(Self {
            farewell,
            state: Mutex::new(State::Awaited),
            waiting: AtomicWaker::new(),
        })
    }

    /// The head of the answer is there.
    pub(crate) fn begin(&self, status: StatusCode, headers: &HeaderMap) {
        *self.state.lock() = if is_endless(status, headers) {
            State::Events(Events::new())
        } else {
            State::Other
        };
        self.waiting.wake();
    }

    /// Takes off `piece` what doesn't go to the client any more.
    pub(crate) fn pass(&self, piece: &mut Option<Bytes>) {
        if let State::Events(events) = &mut *self.state.lock() {
            if let Some(bytes) = piece.take() {
                let bytes = events.pass(bytes);
                // An empty piece would be written as the chunk that ends the body.
                *piece = (!bytes.is_empty()).then_some(bytes);
            }
            if events.have_ended() {
                self.waiting.wake();
            }
        }
    }

    /// Resolves when its connection is to be broken. `turn` is `None` at first.
    pub(crate) fn poll_end(&self, turn: &mut Option<Turn>, context: &mut Context<'_>) -> Poll<()> {
        self.waiting.register(context.waker());
        let mut state = self.state.lock();
        let State::Events(events) = &mut *state else {
            return Poll::Pending;
        };
        if !events.is_due {
            let turn = turn.get_or_insert_with(|| self.farewell.turn());
            ready!(Pin::new(turn).poll(context));
            events.is_due = true;
        }
        if events.have_ended() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether it has ended between two events, before its upstream has ended it.
    pub(crate) fn has_ended(&self) -> bool {
        matches!(&*self.state.lock(), State::Events(events) if events.have_ended())
    }
}

impl Events {
    fn new() -> Self {
        Self {
            between: Between::at_start(),
            is_due: false,
            is_cut: false,
        }
    }

    fn have_ended(&self) -> bool {
        self.is_due && (self.is_cut || self.between.is_between())
    }

    /// Returns what of `bytes` the client gets. What was on its way when the stream ended still is,
    /// as far as it is whole events.
    fn pass(&mut self, mut bytes: Bytes) -> Bytes {
        let was_between = self.between.is_between();
        let end = match self.between.pass(&bytes) {
            _ if !self.is_due => bytes.len(),
            _ if self.is_cut => 0,
            Some(end) => end,
            None if was_between => 0,
            None => bytes.len(),
        };
        self.is_cut |= end < bytes.len();
        bytes.truncate(end);
        bytes
    }
}

/// The body of the app's answer, which may be events without end: then they end when it is their turn.
pub(crate) fn until_its_turn<B>(
    method: &Method,
    answer: (StatusCode, &HeaderMap),
    body: B,
    farewell: Option<&Arc<Farewell>>,
) -> UnsyncBoxBody<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error: Into<BodyError>> + Send + Unpin + 'static,
{
    let (status, headers) = answer;
    match farewell {
        Some(farewell) if method == Method::GET && is_endless(status, headers) => Ending {
            body,
            events: Events::new(),
            turn: farewell.turn(),
        }
        .boxed_unsync(),
        _ => body.map_err(Into::into).boxed_unsync(),
    }
}

/// Events that end when it is their turn.
struct Ending<B> {
    body: B,
    events: Events,
    turn: Turn,
}

impl<B> Body for Ending<B>
where
    B: Body<Data = Bytes, Error: Into<BodyError>> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if !this.events.is_due && Pin::new(&mut this.turn).poll(context).is_ready() {
            this.events.is_due = true;
        }
        if this.events.have_ended() {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            let frame = frame.map_err(Into::into)?;
            Ok(frame.map_data(|bytes| this.events.pass(bytes)))
        }))
    }
}
