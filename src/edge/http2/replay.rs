//! A ready answer, given where the request is read: no task, no way through Pingora's phases.
//!
//! Who asks, the request's id, its counts and the line in the access log are as for every request; at its
//! connection's end nothing is ready any more. What the client has no room for yet is left to a task.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, Version, header, uri};
use pingora_core::Result;
use pingora_core::protocols::http::v2::server::HttpSession;
use pingora_http::{RequestHeader, ResponseHeader};

use crate::edge::Edge;
use crate::edge::access_log::{CLIENT_LEFT, Line, Request};
use crate::edge::admission::Caller;
use crate::edge::cache;
use crate::edge::compression::accept_encoding::Accepted;
use crate::edge::connection::Peer;
use crate::edge::measure::RouteCells;
use crate::edge::ready::{Heeded, Question, Recorder, Recording, Shape, Sought};
use crate::edge::snapshot::Snapshot;
use crate::edge::trace;
use crate::telemetry::traces::Incoming;

/// What became of a request.
#[expect(
    clippy::large_enum_variant,
    reason = "handed over once per request and never kept"
)]
pub(super) enum Outcome {
    /// It was answered.
    Answered,
    /// The client has to take some of the answer before it can be given the rest, which this does.
    Underway(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It goes the normal way.
    NotReady(HttpSession),
}

/// A request that is simple, as far as that can be seen.
struct Simple<'a> {
    is_head: bool,
    host: &'a [u8],
    target: &'a str,
    fields: Heeded<&'a [u8]>,
}

/// What is to be sent, and to whom.
struct Reply {
    client: IpAddr,
    id: String,
    is_https: bool,
    incoming: Option<Incoming>,
    head: Box<ResponseHeader>,
    body: Bytes,
    /// Where it is counted.
    cells: &'static RouteCells,
    is_cached: bool,
}

/// Answers `session`, if its answer is ready.
pub(super) fn answer(edge: &Arc<Edge>, peer: &Peer, mut session: HttpSession) -> Outcome {
    let started = Instant::now();
    let snapshot = edge.snapshot.load();
    let sought = match Simple::read(&session) {
        Some(simple) => seek(&snapshot, peer, &simple, session.req_header()),
        None => Sought::Never,
    };
    let reply = match sought {
        Sought::Found(reply) => reply,
        Sought::Missing(tape) => {
            Recorder::lay_in(session.req_header_mut(), tape);
            return Outcome::NotReady(session);
        }
        Sought::Never => return Outcome::NotReady(session),
    };
    session.set_write_timeout(Some(snapshot.config.server.timeouts.write_idle));
    let mut giving = Box::pin(give(edge.clone(), session, reply, started));
    // Mostly the client has room for all of it, and this is all there is to do.
    match (&mut giving).now_or_never() {
        Some(()) => Outcome::Answered,
        None => Outcome::Underway(giving),
    }
}

/// Looks for the answer.
fn seek(
    snapshot: &Snapshot,
    peer: &Peer,
    simple: &Simple<'_>,
    request: &RequestHeader,
) -> Sought<Reply> {
    if peer.farewell.has_begun() {
        return Sought::Never;
    }
    let trusted = &snapshot.config.server.trusted_proxies;
    let caller = Caller::identify(peer.address, peer.tls, &request.headers, trusted);
    let question = Question {
        shape: Shape {
            is_head: simple.is_head,
            version: Version::HTTP_2,
            is_https: caller.is_https,
            has_cookies: simple.fields.has_cookies,
            asks_for_fresh: simple.fields.asks_for_fresh,
        },
        accepted: Accepted::read(
            simple.fields.accept_encoding,
            &snapshot.config.compression.algorithms,
        ),
        host: simple.host,
        target: simple.target.as_bytes(),
        none_match: simple.fields.none_match,
        modified_since: simple.fields.modified_since,
    };
    let replay = |recording: &Recording| {
        let parts = recording.parts(&caller.id)?;
        Some((parts, recording.cells, recording.is_cached()))
    };
    match snapshot.ready.seek(&question, replay) {
        Sought::Found(((head, body), cells, is_cached)) => Sought::Found(Reply {
            client: caller.client.address,
            id: caller.id,
            is_https: caller.is_https,
            incoming: caller.incoming,
            head,
            body,
            cells,
            is_cached,
        }),
        Sought::Missing(tape) => Sought::Missing(tape),
        Sought::Never => Sought::Never,
    }
}

/// Sends the answer and tells the log.
async fn give(edge: Arc<Edge>, mut session: HttpSession, reply: Reply, started: Instant) {
    if send(&mut session, reply.head, reply.body).await.is_err() {
        // What the client has is not the whole.
        session.shutdown();
    }
    let request = session.req_header();
    let field = |name| {
        let value: Option<&http::HeaderValue> = request.headers.get(name);
        value.map(http::HeaderValue::as_bytes)
    };
    let host = request.uri.authority().map(uri::Authority::as_str);
    let host = host.or_else(|| std::str::from_utf8(field(header::HOST)?).ok());
    let status = session.response_written().map(|head| head.status.as_u16());
    let status = status.unwrap_or(CLIENT_LEFT);
    let (took, body_bytes) = (started.elapsed(), session.body_bytes_sent() as u64);
    let is_head = request.method == Method::HEAD;
    if reply.is_cached {
        edge.cache.note(cache::Outcome::Hit);
    }
    reply.cells.count_ready(is_head, status, took, body_bytes);
    let line = Line {
        client: reply.client,
        // What somebody has to sign in for is never ready.
        user: None,
        request: Some(Request {
            method: request.method.as_str(),
            target: target(request).unwrap_or_default(),
            version: Version::HTTP_2,
            host: host.unwrap_or_default(),
            referer: field(header::REFERER),
            user_agent: field(header::USER_AGENT),
        }),
        status,
        body_bytes,
        took,
        tries: None,
        cache: reply.is_cached.then_some(cache::Outcome::Hit),
        id: &reply.id,
    };
    edge.access_log.load().write(&line);
    if let Some(tracer) = &edge.traces {
        let (snapshot, cells) = (edge.snapshot.load(), reply.cells);
        trace::told_of_ready(
            tracer,
            reply.incoming,
            &line,
            reply.is_https,
            cells,
            &snapshot,
        );
    }
}

async fn send(session: &mut HttpSession, head: Box<ResponseHeader>, body: Bytes) -> Result<()> {
    session.write_response_header(head, body.is_empty())?;
    if body.is_empty() {
        return Ok(());
    }
    session.write_body(body, true).await
}

impl<'a> Simple<'a> {
    /// Reads a request; `None` where it is not simple.
    fn read(session: &'a HttpSession) -> Option<Self> {
        let request = session.req_header();
        let is_head = match request.method {
            Method::GET => false,
            Method::HEAD => true,
            _ => return None,
        };
        if !session.is_body_done() || request.uri.scheme() != Some(&uri::Scheme::HTTPS) {
            return None;
        }
        let mut fields = Heeded::NOTHING;
        for (name, value) in &request.headers {
            let value = value.as_bytes();
            fields.take(name.as_str(), value, value)?;
        }
        let host = match (request.uri.authority(), fields.host) {
            (Some(authority), None) => authority.as_str().as_bytes(),
            (None, Some(host)) => host,
            // Two, or none: the normal way knows which counts.
            _ => return None,
        };
        Some(Self {
            is_head,
            host,
            target: target(request)?,
            fields,
        })
    }
}

fn target(request: &RequestHeader) -> Option<&str> {
    let target = request.uri.path_and_query()?.as_str();
    target.starts_with('/').then_some(target)
}
