//! The door: every HTTP/1.1 connection, one request after the other.
//!
//! 1. Wait for a head: an idle connection for `keepalive`, a begun head for `header` in all.
//! 2. Read it strictly ([`head`], [`chunks`]); what is ambiguous is refused here and ends the connection.
//! 3. If it is [`simple`] and its answer is [`ready`](super::ready), give it ([`replay`]).
//! 4. Else lend the connection ([`mod@wire`]) to Pingora, which runs the request through `edge::proxy`.
//! 5. If it comes back, go on; at shutdown an idle connection ends at once, and a busy one says
//!    `Connection: close` with its answer; when only its listener goes, an idle one may ask once more.

pub(super) mod chunks;
mod deadline;
pub(super) mod head;
mod refusal;
mod replay;
mod reset;
mod simple;
#[cfg(test)]
mod tests;
mod websocket;
mod wire;

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{StatusCode, Version};
use pingora_core::apps::{HttpServerApp, ReusedHttpStream};
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{Shutdown, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, Session};
use tokio::time::Instant;

use self::chunks::{Chunks, Malformed};
use self::deadline::Deadline;
use self::head::{Framing, Head, Reading, Refusal};
use self::replay::Outcome;
pub(super) use self::wire::Wire;
use super::Edge;
use super::connection::Peer;
use super::farewell::{Farewell, Stage};
use super::proxy::Proxy;
use super::ready::Tape;
use crate::telemetry::request;

/// Judges the method and target of a request that came another way by the door's measure.
///
/// # Errors
/// The status it is to be refused with.
pub(super) fn check_request_line(method: &str, target: &str) -> Result<(), StatusCode> {
    head::check_method(method.as_bytes())
        .and_then(|()| head::check_target(method, target))
        .map_or_else(|refusal| Err(refusal.status), |_| Ok(()))
}

/// Whether the answer to the request of `session` is to be the last of its connection. HTTP/2 tells
/// its clients in another way.
pub(super) fn is_last_answer(session: &Session) -> bool {
    wire(session).is_some_and(Wire::is_at_its_end)
}

/// Whether the client of `session` would take the end of the connection for that of its answer.
pub(super) fn misleads(session: &Session) -> bool {
    is_http_10(session) && wire(session).is_some_and(Wire::misleads)
}

/// The answer of `session` is whole, so its connection may end in order.
pub(super) fn is_whole(session: &Session) {
    if is_http_10(session)
        && let Some(wire) = wire(session)
    {
        wire.is_whole();
    }
}

/// Whether the client of `session` knows neither chunks nor interim answers.
pub(super) fn is_http_10(session: &Session) -> bool {
    session.as_downstream().req_header().version == Version::HTTP_10
}

fn wire(session: &Session) -> Option<&Wire> {
    let stream = session.as_downstream().stream()?;
    (**stream).as_any().downcast_ref::<Wire>()
}

/// How the connection comes to its end that `stream` is.
pub(super) fn farewell_of(stream: &Stream) -> Option<&Arc<Farewell>> {
    let wire = (**stream).as_any().downcast_ref::<Wire>()?;
    Some(wire.farewell())
}

/// What keeps the answer that is written to `stream`, if something does.
pub(super) fn tape_of(stream: &Stream) -> Option<&Tape> {
    (**stream).as_any().downcast_ref::<Wire>()?.tape()
}

/// Serves HTTP/1.1 on `stream` until either side closes it.
pub(super) async fn serve(
    edge: &Edge,
    proxy: &Arc<HttpProxy<Proxy>>,
    stream: Stream,
    peer: &Peer,
    shutdown: &ShutdownWatch,
) {
    let mut waiting = Waiting {
        deadline: Deadline::new(),
        leaving: pin!(peer.farewell.reached(Stage::Leaving)),
    };
    let write_idle = edge.timeouts().write_idle;
    let mut wire = Box::new(Wire::new(stream, write_idle, peer.farewell.clone()));
    loop {
        let head = match next_head(&mut wire, edge, &mut waiting).await {
            Next::Head(head) => head,
            Next::Refuse(refusal) => {
                // Boxed, as few connections need it and all would keep room for it.
                Box::pin(refusal::answer(&mut wire, edge, peer, refusal)).await;
                wire.close_and_listen().await;
                return;
            }
            Next::Close => break,
        };
        match replay::answer(&mut wire, edge, peer, head).await {
            Outcome::Answered => {}
            Outcome::Ended => break,
            Outcome::NotReady(tape) => match lend(wire, head, tape, edge, proxy, shutdown).await {
                Some(back) => wire = back,
                None => return,
            },
        }
    }
    wire.shutdown().await;
}

/// Answers the first request on `stream` with 400, whatever it is: it came without encryption to a port
/// for HTTPS.
pub(super) async fn refuse_plain(edge: &Edge, stream: Stream, peer: &Peer) {
    let mut waiting = Waiting {
        deadline: Deadline::new(),
        leaving: pin!(peer.farewell.reached(Stage::Leaving)),
    };
    let write_idle = edge.timeouts().write_idle;
    let mut wire = Wire::new(stream, write_idle, peer.farewell.clone());
    // Read as always, so that the answer fits the method and no unread byte costs the client the answer.
    if let Next::Close = next_head(&mut wire, edge, &mut waiting).await {
        return;
    }
    let reason = if wire.ahead().starts_with(b"PROXY ") {
        "the PROXY protocol is not expected here: server.proxy_protocol"
    } else {
        "plain HTTP was sent to the HTTPS port: ask with https://"
    };
    let refusal = Refusal {
        status: StatusCode::BAD_REQUEST,
        reason,
    };
    refusal::answer(&mut wire, edge, peer, refusal).await;
    wire.close_and_listen().await;
}

enum Next {
    Head(Head),
    Refuse(Refusal),
    /// Nothing more will come, or nothing more is wanted.
    Close,
}

/// What a connection waits with. It lives as long as the connection, so that a request sets up
/// neither a timer nor a watch.
struct Waiting<'a, F> {
    deadline: Deadline,
    /// Resolves when nothing is to be waited for any more.
    leaving: Pin<&'a mut F>,
}

async fn next_head(
    wire: &mut Wire,
    edge: &Edge,
    waiting: &mut Waiting<'_, impl Future<Output = ()>>,
) -> Next {
    let mut reading = HeadReading::default();
    if let Some(next) = reading.go_on(wire) {
        return next;
    }
    if wire.send(&[]).await.is_err() {
        return Next::Close;
    }
    let timeouts = edge.timeouts();
    if wire.ahead().is_empty() {
        let more = tokio::select! {
            biased;
            read = wire.read_more() => matches!(read, Ok(true)),
            () = waiting.leaving.as_mut() => false,
            () = waiting.deadline.reached(Instant::now() + timeouts.keepalive) => false,
        };
        if !more {
            return Next::Close;
        }
    }
    let mut deadline = None;
    loop {
        if let Some(next) = reading.go_on(wire) {
            return next;
        }
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + timeouts.header);
        tokio::select! {
            biased;
            read = wire.read_more() => if !matches!(read, Ok(true)) {
                return Next::Close;
            },
            // A stray line end was all that came: no request, so nothing to answer.
            () = waiting.deadline.reached(deadline) => return if wire.ahead().is_empty() {
                Next::Close
            } else {
                Next::Refuse(Refusal {
                    status: StatusCode::REQUEST_TIMEOUT,
                    reason: "the request head took too long",
                })
            },
        }
    }
}

/// How far the reading of one head has come.
#[derive(Default)]
struct HeadReading {
    has_begun: bool,
    /// Bytes that hold no end of the head.
    read: usize,
}

impl HeadReading {
    /// Goes on with what has come; `None` where more is needed.
    fn go_on(&mut self, wire: &mut Wire) -> Option<Next> {
        if !self.has_begun {
            wire.skip(head::leading_line_end(wire.ahead())?);
            self.has_begun = true;
        }
        match head::read(wire.ahead(), self.read) {
            Reading::Complete(head) => Some(check_begun_body(head, wire.ahead())),
            Reading::Refused(refusal) => Some(Next::Refuse(refusal)),
            Reading::Incomplete => {
                self.read = wire.ahead().len();
                None
            }
        }
    }
}

/// Refuses a request while nobody has seen it, if what came with its head can't be its body.
fn check_begun_body(head: Head, bytes: &[u8]) -> Next {
    if head.body != Framing::Chunked {
        return Next::Head(head);
    }
    match Chunks::default().read(&bytes[head.length..]) {
        Ok(_) => Next::Head(head),
        Err(Malformed(reason)) => Next::Refuse(Refusal {
            status: StatusCode::BAD_REQUEST,
            reason,
        }),
    }
}

/// Lends the connection to Pingora for one request; `None` when it was closed with the answer.
async fn lend(
    mut wire: Box<Wire>,
    head: Head,
    tape: Option<Tape>,
    edge: &Edge,
    proxy: &Arc<HttpProxy<Proxy>>,
    shutdown: &ShutdownWatch,
) -> Option<Box<Wire>> {
    // A client that can't be sent what it asked for before is found out about at the next write.
    let _ = wire.send(&[]).await;
    if let Some(tape) = tape {
        wire.record(tape);
    }
    let exchange = exchange(wire, &head, proxy, shutdown);
    let answered = request::scope(edge.panics.lend(exchange));
    let (stream, _) = answered.await??.consume();
    let mut wire = stream.into_any().downcast::<Wire>().ok()?;
    if let Some(tape) = wire.end() {
        tape.keep();
    }
    Some(wire)
}

/// Pingora's part. Not in [`lend`] itself, or every idle connection would keep room for a session.
fn exchange<'a>(
    mut wire: Box<Wire>,
    head: &Head,
    proxy: &'a Arc<HttpProxy<Proxy>>,
    shutdown: &'a ShutdownWatch,
) -> BoxFuture<'a, Option<ReusedHttpStream>> {
    if head.is_http_10 {
        wire.ends_with_its_answer();
    }
    let bytes = wire.begin(head.length, head.body);
    let mut session = ServerSession::new_http1(wire);
    session.set_keepalive(Some(KEEPALIVE.as_secs()));
    // Who knows none would take it for the answer (RFC 9110, section 15.2).
    session.set_ignore_info_resp(head.is_http_10);
    session.set_pipelined_prefix(bytes);
    proxy.process_new_http(session, shutdown)
}

/// Only tells Pingora that the connection may live on: the door reads all heads, so Pingora never
/// waits for one.
const KEEPALIVE: Duration = Duration::from_mins(1);
