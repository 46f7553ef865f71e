//! Requests so simple that a ready answer may do.
//!
//! Everything that the normal way could treat in a way of its own makes a request not simple: it
//! takes the normal way, which needs no list of what is usual. Simple is GET or HEAD of a path,
//! without a body, credentials, ranges, and conditions other than whether things have changed.

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

use super::head::Framing;

/// Where the parts of a simple request stand in its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Simple {
    pub(super) is_head: bool,
    pub(super) is_http_10: bool,
    /// What it says of the connection: whether it is to live on.
    keeps_alive: Option<bool>,
    pub(super) has_cookies: bool,
    /// Whether there is something in the head that counts if it comes from a trusted proxy.
    pub(super) is_forwarded: bool,
    pub(super) target: Span,
    pub(super) host: Span,
    pub(super) accept_encoding: Option<Span>,
    pub(super) none_match: Option<Span>,
    pub(super) modified_since: Option<Span>,
    pub(super) referer: Option<Span>,
    pub(super) user_agent: Option<Span>,
}

/// A part of a head. Heads are shorter than 64 KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    end: u16,
}

/// What a field means for a request's simplicity.
enum Kind {
    Host,
    AcceptEncoding,
    NoneMatch,
    ModifiedSince,
    Connection,
    Cookie,
    Forwarding,
    Referer,
    UserAgent,
    /// The normal way knows what to do with it.
    Unusual,
    /// It changes nothing.
    Other,
}

impl Simple {
    /// Reads a request that was found to be unambiguous; `None` where it is not simple.
    pub(super) fn read(
        head: &[u8],
        request: &httparse::Request<'_, '_>,
        body: Framing,
    ) -> Option<Self> {
        let is_head = match request.method? {
            "GET" => false,
            "HEAD" => true,
            _ => return None,
        };
        let target = request.path.filter(|target| target.starts_with('/'))?;
        if body != Framing::Length(0) {
            return None;
        }
        let mut simple = Self {
            is_head,
            is_http_10: request.version == Some(0),
            keeps_alive: None,
            has_cookies: false,
            is_forwarded: false,
            target: Span::of(head, target.as_bytes()),
            host: Span::default(),
            accept_encoding: None,
            none_match: None,
            modified_since: None,
            referer: None,
            user_agent: None,
        };
        for field in request.headers.iter() {
            simple.take(head, field)?;
        }
        // Without one it is asked for whatever this server takes to be the host.
        (simple.host != Span::default()).then_some(simple)
    }

    /// Whether the client wants the connection to live on (RFC 9112, section 9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        self.keeps_alive.unwrap_or(!self.is_http_10)
    }

    fn take(&mut self, head: &[u8], field: &httparse::Header<'_>) -> Option<()> {
        let value = Span::of(head, field.value);
        match kind(field.name) {
            Kind::Other => {}
            Kind::Unusual => return None,
            Kind::Host => self.host = value,
            Kind::AcceptEncoding => only(&mut self.accept_encoding, value)?,
            Kind::NoneMatch => only(&mut self.none_match, value)?,
            Kind::ModifiedSince => only(&mut self.modified_since, value)?,
            Kind::Connection => {
                let keeps_alive = if field.value.eq_ignore_ascii_case(b"keep-alive") {
                    true
                } else if field.value.eq_ignore_ascii_case(b"close") {
                    false
                } else {
                    return None;
                };
                only(&mut self.keeps_alive, keeps_alive)?;
            }
            Kind::Cookie => self.has_cookies = true,
            Kind::Forwarding => self.is_forwarded = true,
            Kind::Referer => only(&mut self.referer, value)?,
            Kind::UserAgent => only(&mut self.user_agent, value)?,
        }
        Some(())
    }
}

impl Span {
    /// Where `part`, a part of `head`, stands in it.
    fn of(head: &[u8], part: &[u8]) -> Self {
        if part.is_empty() {
            // Where nothing stands is of no interest, and needn't be in the head.
            return Self::default();
        }
        let start = part.as_ptr().addr() - head.as_ptr().addr();
        let at = |place: usize| u16::try_from(place).expect("a head has at most MAX_HEAD bytes");
        Self {
            start: at(start),
            end: at(start + part.len()),
        }
    }

    /// The part of `head`.
    pub(super) fn read(self, head: &[u8]) -> &[u8] {
        &head[usize::from(self.start)..usize::from(self.end)]
    }
}

/// The fields of `head` that count if they come from a trusted proxy.
pub(super) fn forwarding_fields(head: &[u8]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for line in head.split(|&byte| byte == b'\n').skip(1) {
        let Some(colon) = memchr::memchr(b':', line) else {
            continue;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if std::str::from_utf8(name).is_ok_and(|name| matches!(kind(name), Kind::Forwarding))
            && let Ok(name) = HeaderName::from_bytes(name)
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            fields.append(name, value);
        }
    }
    fields
}

/// Lets a second field of the same name go the normal way.
fn only<T>(place: &mut Option<T>, value: T) -> Option<()> {
    place.replace(value).is_none().then_some(())
}

fn kind(name: &str) -> Kind {
    let is = |known: &str| name.eq_ignore_ascii_case(known);
    // The length tells most names apart without looking at them.
    match name.len() {
        2 if is("te") => Kind::Unusual,
        4 if is("host") => Kind::Host,
        5 if is("range") => Kind::Unusual,
        6 if is("cookie") => Kind::Cookie,
        6 if is("expect") || is("origin") => Kind::Unusual,
        7 if is("referer") => Kind::Referer,
        7 if is("upgrade") || is("trailer") => Kind::Unusual,
        8 if is("if-match") || is("if-range") => Kind::Unusual,
        9 if is("forwarded") => Kind::Forwarding,
        10 if is("connection") => Kind::Connection,
        10 if is("user-agent") => Kind::UserAgent,
        12 if is("x-request-id") => Kind::Forwarding,
        13 if is("if-none-match") => Kind::NoneMatch,
        13 if is("authorization") => Kind::Unusual,
        14 if is("content-length") => Kind::Unusual,
        15 if is("accept-encoding") => Kind::AcceptEncoding,
        15 if is("x-forwarded-for") => Kind::Forwarding,
        17 if is("if-modified-since") => Kind::ModifiedSince,
        17 if is("x-forwarded-proto") => Kind::Forwarding,
        17 if is("transfer-encoding") => Kind::Unusual,
        19 if is("if-unmodified-since") || is("proxy-authorization") => Kind::Unusual,
        _ => Kind::Other,
    }
}
