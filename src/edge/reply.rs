//! What a handler of the edge answers with, and the one writer that sends it.
//!
//! Handlers speak [`http::Request`] and [`http::Response`] and never see Pingora's session, so that
//! another transport can be put beside it. [`send`] writes every local answer, error pages
//! included, through Pingora's downstream modules: compression and headers are the same for all.

use std::future::pending;

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::ResponseHeader;
use pingora_proxy::Session;

use super::door;
use super::error_page;
use super::exchange::Exchange;
use super::ready;

/// Why a body broke in the middle.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A complete answer of a handler.
///
/// The handler sets what it knows (type, length, validators, caching). Compression, the security
/// headers, `Date`, `Server` and the connection's headers are added on the way out. A status of
/// 400 or above with an empty body gets the error page.
pub(crate) type Answer = http::Response<Body>;

/// The content of an [`Answer`].
///
/// To a HEAD request a handler answers just as to GET; the body is dropped unread on the way out.
pub(crate) enum Body {
    /// No content.
    Empty,
    /// All of it, in memory.
    Full(Bytes),
    /// Read piece by piece as the client takes it.
    Stream(UnsyncBoxBody<Bytes, BodyError>),
}

/// What goes on towards the handler while its answer is written: the rest of the request's body, and
/// the watch for a client that leaves.
pub(crate) trait Inflow {
    /// Does the next piece of work; returns an error when the client is gone. May be dropped at
    /// any await point and called again.
    async fn step(&mut self, session: &mut Session) -> Result<()>;
}

/// Nothing flows in.
pub(crate) struct NoInflow;

impl Inflow for NoInflow {
    async fn step(&mut self, _: &mut Session) -> Result<()> {
        pending().await
    }
}

/// An answer without content.
pub(crate) fn empty(status: StatusCode) -> Answer {
    let mut answer = Answer::new(Body::Empty);
    *answer.status_mut() = status;
    answer
}

/// An answer without content that ends a request before it is routed; such ends are rare, so they
/// and not the others pay for carrying an answer about.
pub(crate) fn boxed(status: StatusCode) -> Box<Answer> {
    Box::new(empty(status))
}

/// Writes `answer` to the client.
pub(crate) async fn send(
    session: &mut Session,
    exchange: &mut Exchange,
    answer: Answer,
) -> Result<()> {
    send_beside(session, exchange, answer, &mut NoInflow).await
}

/// Writes `answer` to the client while `inflow` goes on.
pub(crate) async fn send_beside(
    session: &mut Session,
    exchange: &mut Exchange,
    mut answer: Answer,
    inflow: &mut impl Inflow,
) -> Result<()> {
    if answer.status().as_u16() >= 400 && says_nothing(&answer) {
        add_error_page(session, exchange, &mut answer);
    } else if !matches!(answer.body(), Body::Stream(_)) {
        ready::offer(session, exchange);
    }
    let (mut parts, body) = answer.into_parts();
    let without_content = parts.status.is_informational()
        || matches!(
            parts.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
    if without_content {
        // A framework that has added the length of nothing doesn't know that none may be told
        // (RFC 9110, section 8.6); of a 304 it would be the length of the answer not sent.
        parts.headers.remove(header::CONTENT_LENGTH);
        parts.headers.remove(header::TRANSFER_ENCODING);
    } else {
        frame(session, &mut parts, &body);
        // The end of the connection is that of a body whose length isn't known.
        if door::is_http_10(session) && !parts.headers.contains_key(header::CONTENT_LENGTH) {
            session.set_keepalive(None);
        }
    }
    if door::is_last_answer(session) {
        session.set_keepalive(None);
    }

    let ends = without_content
        || session.req_header().method == Method::HEAD
        || matches!(body, Body::Empty);
    let head = Box::new(ResponseHeader::from(parts));
    exchange.note_head();
    session.write_response_header(head, ends).await?;
    match body {
        Body::Full(bytes) if !ends => session.write_response_body(Some(bytes), true).await,
        Body::Stream(stream) if !ends => write_stream(session, stream, inflow).await,
        _ => session.write_response_body(None, true).await,
    }
}

/// Whether there is no content, not even what a HEAD request asks about.
fn says_nothing(answer: &Answer) -> bool {
    let length = answer.headers().get(header::CONTENT_LENGTH);
    matches!(answer.body(), Body::Empty) && length.is_none_or(|length| length == "0")
}

/// Says how long the content is, or that it comes in chunks.
fn frame(session: &Session, parts: &mut http::response::Parts, body: &Body) {
    let length = match body {
        Body::Empty => Some(0),
        Body::Full(bytes) => Some(bytes.len() as u64),
        Body::Stream(stream) => stream.size_hint().exact(),
    };
    let chunks = session.req_header().version == Version::HTTP_11;
    // To HEAD a handler may know the length of what it doesn't bring.
    let brings_nothing = length.is_none_or(|length| length == 0);
    if brings_nothing && parts.headers.contains_key(header::CONTENT_LENGTH) {
        return;
    }
    match length {
        Some(length) => {
            parts
                .headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        None if chunks => {
            let chunked = HeaderValue::from_static("chunked");
            parts.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        None => {}
    }
}

async fn write_stream(
    session: &mut Session,
    mut stream: UnsyncBoxBody<Bytes, BodyError>,
    inflow: &mut impl Inflow,
) -> Result<()> {
    loop {
        let frame = tokio::select! {
            biased;
            frame = stream.frame() => frame,
            done = inflow.step(session) => {
                done?;
                continue;
            }
        };
        match frame {
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    session.write_response_body(Some(bytes), false).await?;
                }
            }
            None => return session.write_response_body(None, true).await,
            // The client must not take what it has for the whole: no final chunk, no clean end.
            Some(Err(error)) => {
                return Error::e_explain(
                    ErrorType::InternalError,
                    format!("the body broke off: {error}"),
                );
            }
        }
    }
}

fn add_error_page(session: &Session, exchange: &Exchange, answer: &mut Answer) {
    let accept = session.req_header().headers.get(header::ACCEPT);
    let own = exchange.snapshot.config.error_pages.of(answer.status());
    let (content_type, page) = error_page::page(own, answer.status(), None, accept, &exchange.id);
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.remove(header::CONTENT_LENGTH);
    if !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    *answer.body_mut() = Body::Full(page);
}
