//! One line for each exchange, whichever way it ended, as [`combined`] text or as [`json`].
//!
//! What never became a request has none: connections that were refused, handshakes and PROXY headers
//! that failed, HTTP/2 streams that were malformed.

mod combined;
mod json;
#[cfg(test)]
mod tests;
mod text;

use std::cell::RefCell;
use std::net::IpAddr;
use std::time::Duration;

use http::{StatusCode, Version, header};
use pingora_core::Error;
use pingora_proxy::Session;

use super::cache::Outcome;
use super::connection::Peer;
use super::exchange::Exchange;
use super::message::is_interim;
use super::upstream::{self, Tries, Try};
use crate::config::{AccessFormat, Log};
use crate::telemetry::Output;

/// nginx's status for a client that left before its answer; the log's only.
pub(crate) const CLIENT_LEFT: u16 = 499;

/// The access log. How its lines look each request's configuration says.
pub(crate) struct AccessLog(pub(crate) Output);

/// What is told of one exchange.
pub(crate) struct Line<'a> {
    pub(crate) client: IpAddr,
    /// Who has signed in by `basic_auth`. A name that was refused is not told: it may be a password
    /// that was typed into the wrong field.
    pub(crate) user: Option<&'a str>,
    /// `None` where no request could be read.
    pub(crate) request: Option<Request<'a>>,
    pub(crate) status: u16,
    pub(crate) body_bytes: u64,
    pub(crate) took: Duration,
    /// `None` where there is no upstream.
    pub(crate) tries: Option<&'a Tries>,
    /// What the cache has done; `None` where there is none.
    pub(crate) cache: Option<Outcome>,
    pub(crate) id: &'a str,
}

/// What is told of a request.
pub(crate) struct Request<'a> {
    pub(crate) method: &'a str,
    /// Path and query.
    pub(crate) target: &'a str,
    pub(crate) version: Version,
    /// As it was asked for, or in any form that means the same.
    pub(crate) host: &'a str,
    pub(crate) referer: Option<&'a [u8]>,
    pub(crate) user_agent: Option<&'a [u8]>,
}

thread_local! {
    /// Where a line is put together.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl AccessLog {
    /// Writes `line` as `log` says.
    pub(crate) fn write(&self, log: &Log, line: &Line<'_>) {
        LINE.with_borrow_mut(|text| {
            text.clear();
            match log.access {
                AccessFormat::CombinedTiming => combined::push(line, &log.mask, text),
                AccessFormat::Json => json::push(line, &log.mask, text),
                AccessFormat::Off => return,
            }
            self.0.write(text);
        });
    }
}

impl Request<'_> {
    /// `2` or `1.1`.
    pub(crate) fn protocol_version(&self) -> &'static str {
        match self.version {
            Version::HTTP_2 => "2",
            version => &super::access_log::version(version)["HTTP/".len()..],
        }
    }
}

impl<'a> Line<'a> {
    /// An exchange that came as far as a request.
    pub(crate) fn answered(
        session: &'a Session,
        exchange: &'a Exchange,
        error: Option<&Error>,
    ) -> Self {
        let head = session.as_downstream().req_header();
        let status = match session.response_written() {
            Some(head) if !is_interim(head.status) => head.status.as_u16(),
            _ => error
                .and_then(upstream::status_of)
                .map_or(CLIENT_LEFT, |status| status.as_u16()),
        };
        let field = |name| {
            let value: Option<&http::HeaderValue> = head.headers.get(name);
            value.map(http::HeaderValue::as_bytes)
        };
        Self {
            client: exchange.client,
            user: exchange.user.as_deref(),
            request: Some(Request {
                method: head.method.as_str(),
                target: head
                    .uri
                    .path_and_query()
                    .map_or("*", |target| target.as_str()),
                version: head.version,
                host: &exchange.host,
                referer: field(header::REFERER),
                user_agent: field(header::USER_AGENT),
            }),
            status,
            body_bytes: session.body_bytes_sent() as u64,
            took: exchange.started.elapsed(),
            tries: Some(&exchange.tries),
            cache: exchange.look.as_ref().and_then(|look| look.outcome()),
            id: &exchange.id,
        }
    }

    /// A connection whose head was refused before it became a request.
    pub(crate) fn refused(
        peer: &Peer,
        status: StatusCode,
        body_bytes: usize,
        took: Duration,
        id: &'a str,
    ) -> Self {
        Self {
            client: peer.address,
            user: None,
            request: None,
            status: status.as_u16(),
            body_bytes: body_bytes as u64,
            took,
            tries: None,
            cache: None,
            id,
        }
    }

    fn referer(&self) -> &str {
        readable(self.request.as_ref().and_then(|request| request.referer))
    }

    fn user_agent(&self) -> &str {
        readable(self.request.as_ref().and_then(|request| request.user_agent))
    }

    fn tries(&self) -> impl Iterator<Item = &Try> {
        self.tries.into_iter().flat_map(Tries::iter)
    }
}

/// A field's value if it is plain text, else nothing in particular.
fn readable(value: Option<&[u8]>) -> &str {
    value
        .filter(|value| value.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t')))
        .and_then(|value| std::str::from_utf8(value).ok())
        .unwrap_or("-")
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 => "HTTP/0.9",
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}
