//! A ready answer, given at the door.
//!
//! Who asks, the request's id, its counts and the line in the access log are as for every request; at its
//! connection's end nothing is ready any more, for the normal way says `Connection: close`.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;

use super::head::Head;
use super::simple::{self, Simple};
use super::wire::Wire;
use crate::edge::access_log::{Line, Request};
use crate::edge::admission::Caller;
use crate::edge::compression::accept_encoding::Accepted;
use crate::edge::connection::Peer;
use crate::edge::measure::RouteCells;
use crate::edge::ready::{Patches, Question, Recording, Shape, Sought, Tape};
use crate::edge::snapshot::Snapshot;
use crate::edge::{Edge, cache, clock, trace};
use crate::telemetry::traces::Incoming;

/// What became of a request at the door.
pub(super) enum Outcome {
    /// It was answered, and the connection lives on.
    Answered,
    /// It was answered, or couldn't be, and the connection ends.
    Ended,
    /// It goes the normal way; this keeps the answer.
    NotReady(Option<Tape>),
}

/// An answer that stands on the wire.
struct Reply {
    client: IpAddr,
    id: String,
    is_https: bool,
    incoming: Option<Incoming>,
    status: u16,
    body_bytes: u64,
    /// Where it is counted.
    cells: &'static RouteCells,
    is_cached: bool,
    /// What follows it, where that is too much to be copied.
    rest: Bytes,
}

/// Answers the request at the head of `wire`, if its answer is ready.
pub(super) async fn answer(wire: &mut Wire, edge: &Edge, peer: &Peer, head: Head) -> Outcome {
    let Some(simple) = head.simple else {
        return Outcome::NotReady(None);
    };
    let started = Instant::now();
    let reply = match seek(wire, &edge.snapshot.load(), peer, head.length, &simple) {
        Sought::Found(reply) => reply,
        Sought::Missing(tape) => return Outcome::NotReady(Some(tape)),
        Sought::Never => return Outcome::NotReady(None),
    };
    // Answers to requests that came together leave together.
    let waits = wire.ahead().len() > head.length
        && simple.keeps_alive()
        && reply.rest.is_empty()
        && !wire.has_much_to_send();
    let sent = if waits {
        Ok(())
    } else {
        wire.send(&reply.rest).await
    };
    let took = started.elapsed();
    let head_bytes = &wire.ahead()[..head.length];
    let body_bytes = if sent.is_ok() { reply.body_bytes } else { 0 };
    reply
        .cells
        .count_ready(simple.is_head, reply.status, took, body_bytes);
    if reply.is_cached {
        edge.cache.note(cache::Outcome::Hit);
    }
    log(edge, head_bytes, &simple, &reply, body_bytes, took);
    wire.skip(head.length);
    if sent.is_ok() && simple.keeps_alive() {
        Outcome::Answered
    } else {
        Outcome::Ended
    }
}

/// Looks for the answer and puts it on the wire.
fn seek(
    wire: &mut Wire,
    snapshot: &Snapshot,
    peer: &Peer,
    head_length: usize,
    simple: &Simple,
) -> Sought<Reply> {
    if peer.farewell.has_begun() {
        return Sought::Never;
    }
    let (ahead, replies) = wire.dialogue();
    let head = &ahead[..head_length];
    let trusted = &snapshot.config.server.trusted_proxies;
    let forwarding = if simple.fields.is_forwarded && !trusted.is_empty() {
        simple::forwarding_fields(head)
    } else {
        HeaderMap::new()
    };
    let caller = Caller::identify(peer.address, peer.tls, &forwarding, trusted);
    let part = |span: simple::Span| span.read(head);
    let question = Question {
        shape: Shape {
            is_head: simple.is_head,
            version: simple.version(),
            is_https: caller.is_https,
            has_cookies: simple.fields.has_cookies,
            asks_for_fresh: simple.fields.asks_for_fresh,
        },
        accepted: Accepted::read(
            simple.fields.accept_encoding.map(part),
            &snapshot.config.compression.algorithms,
        ),
        host: part(simple.host),
        target: part(simple.target),
        none_match: simple.fields.none_match.map(part),
        modified_since: simple.fields.modified_since.map(part),
    };
    let replay = |recording: &Recording| {
        let rest = clock::with_second(|second| {
            let patches = Patches {
                date: &second.http,
                connection: if simple.keeps_alive() {
                    "keep-alive"
                } else {
                    "close"
                },
                request_id: &caller.id,
            };
            recording.write(&patches, replies)
        })?;
        Some((
            recording.status,
            recording.body_bytes,
            recording.cells,
            recording.is_cached(),
            rest,
        ))
    };
    match snapshot.ready.seek(&question, replay) {
        Sought::Found((status, body_bytes, cells, is_cached, rest)) => Sought::Found(Reply {
            client: caller.client.address,
            id: caller.id,
            is_https: caller.is_https,
            incoming: caller.incoming,
            status,
            body_bytes,
            cells,
            is_cached,
            rest,
        }),
        Sought::Missing(tape) => Sought::Missing(tape),
        Sought::Never => Sought::Never,
    }
}

fn log(edge: &Edge, head: &[u8], simple: &Simple, reply: &Reply, body_bytes: u64, took: Duration) {
    // The strict reading has let only ASCII through in these.
    let text = |span: simple::Span| std::str::from_utf8(span.read(head)).unwrap_or_default();
    let line = Line {
        client: reply.client,
        // What somebody has to sign in for is never ready.
        user: None,
        request: Some(Request {
            method: if simple.is_head { "HEAD" } else { "GET" },
            target: text(simple.target),
            version: simple.version(),
            host: text(simple.host),
            referer: simple.fields.referer.map(|span| span.read(head)),
            user_agent: simple.fields.user_agent.map(|span| span.read(head)),
        }),
        status: reply.status,
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
