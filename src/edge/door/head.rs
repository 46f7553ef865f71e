//! One strict reading of a request head (RFC 9112, sections 2 to 7).
//!
//! A head that passes has one meaning only, so neither Pingora's parser behind the door nor an
//! upstream's can read another request into it. Everything ambiguous is refused and ends the
//! connection:
//!
//! 1. lines end in CRLF, and nothing else does: no bare CR or LF, no NUL, no other control byte;
//! 2. method, target and version have the only forms a server needs to take;
//! 3. field names are tokens without white space before the colon, lines are not folded;
//! 4. exactly one valid `Host`;
//! 5. the body is framed in one way: one `Content-Length` of digits, or one `chunked`, or none; another coding
//!    before `chunked` frames it, but is 501.
//!
//! What a chunked body may be is said in [`chunks`](super::chunks).

use http::StatusCode;

use super::simple::Simple;
use crate::edge::host_name::HostName;

/// Longest request target in bytes; a longer one is 414.
pub(super) const MAX_TARGET: usize = 8 * 1024;
/// Longest head in bytes, request line included; a longer one is 431.
pub(in crate::edge) const MAX_HEAD: usize = 32 * 1024;
/// Most header fields; more are 431.
pub(in crate::edge) const MAX_FIELDS: usize = 100;
/// Longest method in bytes (the longest registered one has 17).
const MAX_METHOD: usize = 20;

/// What a head says about the bytes that follow it, and how long it is itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct Head {
    /// Length in bytes, the empty line included.
    pub(in crate::edge) length: usize,
    /// How the body is framed.
    pub(in crate::edge) body: Framing,
    /// Whether the client speaks HTTP/1.0.
    pub(in crate::edge) is_http_10: bool,
    /// What a ready answer is looked for with, if one may do.
    pub(super) simple: Option<Simple>,
}

/// How the body after a head is framed (RFC 9112, section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) enum Framing {
    /// `Content-Length`; 0 also where no body is announced.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// The client asks for a WebSocket (RFC 6455, section 4.1): if it gets one, what follows may be
    /// anything. Other protocols are offered in vain, so they frame nothing.
    Upgrade,
}

/// Why a head is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::edge) struct Refusal {
    /// What the client is told.
    pub(in crate::edge) status: StatusCode,
    /// In a few words, for the client and the log.
    pub(in crate::edge) reason: &'static str,
}

/// The state of the bytes read so far.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::edge) enum Reading {
    /// The head has not ended, and nothing is wrong yet.
    Incomplete,
    /// A whole, unambiguous head.
    Complete(Head),
    /// Not a head that anyone should act on.
    Refused(Refusal),
}

/// Reads the head at the start of `bytes`.
///
/// `from` is how many bytes an earlier call has already found to hold no end of a head.
pub(in crate::edge) fn read(bytes: &[u8], from: usize) -> Reading {
    let end = match find_end(bytes, from) {
        Some(end) if end <= MAX_HEAD => end,
        Some(_) => return Reading::Refused(too_large(bytes)),
        None if bytes.len() >= MAX_HEAD => return Reading::Refused(too_large(bytes)),
        None => {
            return match check_start(bytes) {
                Ok(()) => Reading::Incomplete,
                Err(refusal) => Reading::Refused(refusal),
            };
        }
    };
    match parse(&bytes[..end]) {
        Ok(head) => Reading::Complete(head),
        Err(refusal) => Reading::Refused(refusal),
    }
}

/// How many bytes a client's stray line end before a request takes (RFC 9112, section 2.2); `None`
/// while its CR alone has come.
pub(super) fn leading_line_end(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [] | [b'\r'] => None,
        [b'\r', b'\n', ..] => Some(2),
        _ => Some(0),
    }
}

fn find_end(bytes: &[u8], from: usize) -> Option<usize> {
    let start = from.saturating_sub(3);
    memchr::memmem::find(&bytes[start..], b"\r\n\r\n").map(|at| start + at + 4)
}

fn too_large(bytes: &[u8]) -> Refusal {
    let line = memchr::memchr(b'\n', &bytes[..bytes.len().min(MAX_TARGET + MAX_METHOD)]);
    if line.is_none() {
        refuse(StatusCode::URI_TOO_LONG, "the request target is too long")
    } else {
        refuse(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "the request head is too large",
        )
    }
}

/// Refuses what can't become a request however it goes on, so that a client speaking another
/// protocol is told at once instead of waiting for the deadline.
fn check_start(bytes: &[u8]) -> Result<(), Refusal> {
    let method = bytes.split(|&byte| byte == b' ').next().unwrap_or_default();
    if method.len() == bytes.len()
        && method.len() <= MAX_METHOD
        && method.iter().copied().all(is_method)
    {
        return Ok(());
    }
    check_method(method)?;
    check_line_ends(bytes, false)
}

fn parse(head: &[u8]) -> Result<Head, Refusal> {
    check_line_ends(head, true)?;
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(bad("the request head is incomplete")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(refuse(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "too many header fields",
            ));
        }
        Err(httparse::Error::Version) => return Err(check_version(head)),
        Err(httparse::Error::HeaderName) => return Err(bad("invalid header field name")),
        Err(httparse::Error::HeaderValue) => return Err(bad("invalid header field value")),
        Err(_) => return Err(bad("invalid request line")),
    }
    let method = request.method.unwrap_or_default();
    let target = request.path.unwrap_or_default();
    let version = request.version.unwrap_or_default();
    check_method(method.as_bytes())?;
    let authority = check_target(method, target)?;
    let body = Fields::collect(request.headers)?.framing(version, authority)?;
    Ok(Head {
        length: head.len(),
        body,
        is_http_10: version == 0,
        simple: Simple::read(head, &request, body),
    })
}

/// Every LF follows a CR and every CR precedes an LF; no other control byte but HTAB.
fn check_line_ends(head: &[u8], complete: bool) -> Result<(), Refusal> {
    let mut previous = 0;
    for &byte in head {
        let wrong = match byte {
            b'\n' => previous != b'\r',
            b'\t' => previous == b'\r',
            0..=31 | 127 => byte != b'\r' || previous == b'\r',
            _ => previous == b'\r',
        };
        if wrong {
            return Err(bad("a stray control byte in the request head"));
        }
        previous = byte;
    }
    if complete && previous != b'\n' {
        return Err(bad("the request head is incomplete"));
    }
    Ok(())
}

fn is_method(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'-'
}

pub(super) fn check_method(method: &[u8]) -> Result<(), Refusal> {
    if method.is_empty() || method.len() > MAX_METHOD || !method.iter().copied().all(is_method) {
        return Err(bad("invalid method"));
    }
    // Nothing behind this door is to echo a request or become a tunnel.
    if method == b"TRACE" || method == b"CONNECT" {
        return Err(refuse(
            StatusCode::METHOD_NOT_ALLOWED,
            "the method is not allowed",
        ));
    }
    Ok(())
}

fn check_version(head: &[u8]) -> Refusal {
    let line = head.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let mut words = line.splitn(3, |&byte| byte == b' ').skip(2);
    match words.next().unwrap_or_default() {
        // With a second space in the target this would be what follows it.
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            refuse(
                StatusCode::HTTP_VERSION_NOT_SUPPORTED,
                "the HTTP version is not supported on this connection",
            )
        }
        _ => bad("invalid request line"),
    }
}

/// Checks the target's form (RFC 9112, section 3.2) and returns its authority in absolute form.
pub(super) fn check_target<'head>(
    method: &str,
    target: &'head str,
) -> Result<Option<&'head str>, Refusal> {
    if target.len() > MAX_TARGET {
        return Err(refuse(
            StatusCode::URI_TOO_LONG,
            "the request target is too long",
        ));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let is_query_byte = |byte| is_target_byte(byte) || b"^`\\".contains(&byte);
    if !path.bytes().all(is_target_byte) || !query.bytes().all(is_query_byte) {
        return Err(bad("invalid character in the request target"));
    }
    if target == "*" {
        return if method == "OPTIONS" {
            Ok(None)
        } else {
            Err(bad("invalid request target"))
        };
    }
    if target.starts_with('/') {
        return Ok(None);
    }
    let after_scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let Some(rest) = after_scheme else {
        return Err(bad("invalid request target"));
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    if path.starts_with('?') {
        return Err(bad("invalid request target"));
    }
    Ok(Some(authority))
}

/// What RFC 3986 allows in a path and query, and what browsers leave unescaped besides; in a query these are
/// three more (URL Standard, "query percent-encode set").
fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%[]|{}".contains(&byte)
}

/// The fields that decide where a request goes and where it ends.
#[derive(Default)]
struct Fields<'head> {
    host: Option<&'head str>,
    length: Option<u64>,
    chunked: bool,
    /// What the first `Upgrade` asks for is a WebSocket.
    websocket: Option<bool>,
}

impl<'head> Fields<'head> {
    fn collect(fields: &[httparse::Header<'head>]) -> Result<Self, Refusal> {
        let mut found = Self::default();
        for field in fields {
            found.take(field)?;
        }
        Ok(found)
    }

    fn take(&mut self, field: &httparse::Header<'head>) -> Result<(), Refusal> {
        let (name, value) = (field.name, field.value);
        if name.eq_ignore_ascii_case("host") {
            let host = std::str::from_utf8(value).map_err(|_| bad("invalid Host"))?;
            if self.host.replace(host).is_some() {
                return Err(bad("more than one Host"));
            }
            HostName::parse(host).map_err(|_| bad("invalid Host"))?;
        } else if name.eq_ignore_ascii_case("content-length") {
            let length = parse_length(value)?;
            if self.length.replace(length).is_some() {
                return Err(bad("more than one Content-Length"));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            if self.chunked {
                return Err(bad("more than one Transfer-Encoding"));
            }
            if !is_chunked(value) {
                return Err(other_coding(value));
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case("upgrade") {
            let websocket = value.eq_ignore_ascii_case(b"websocket");
            self.websocket.get_or_insert(websocket);
        } else if name.eq_ignore_ascii_case("expect")
            && !value.eq_ignore_ascii_case(b"100-continue")
        {
            return Err(refuse(
                StatusCode::EXPECTATION_FAILED,
                "the only expectation understood is 100-continue",
            ));
        }
        Ok(())
    }

    fn framing(self, version: u8, authority: Option<&str>) -> Result<Framing, Refusal> {
        match (self.host, authority) {
            (None, _) if version == 1 => return Err(bad("no Host")),
            // Byte by byte, as Pingora compares them too.
            (Some(host), Some(authority)) if host != authority => {
                return Err(bad("Host and the request target disagree"));
            }
            (None, Some(authority)) => {
                HostName::parse(authority).map_err(|_| bad("invalid request target"))?;
            }
            _ => {}
        }
        match (self.chunked, self.length) {
            (true, Some(_)) => Err(bad("both Content-Length and Transfer-Encoding")),
            (true, None) if version == 0 => Err(bad("Transfer-Encoding in HTTP/1.0")),
            (true, None) => Ok(Framing::Chunked),
            (false, None | Some(0)) if version == 1 && self.websocket == Some(true) => {
                Ok(Framing::Upgrade)
            }
            (false, length) => Ok(Framing::Length(length.unwrap_or(0))),
        }
    }
}

fn is_chunked(coding: &[u8]) -> bool {
    coding.eq_ignore_ascii_case(b"chunked")
}

/// Why a `Transfer-Encoding` other than `chunked` is refused: nobody knows where the body ends, unless it is
/// chunked at last and once (RFC 9112, section 6.3); then it is another coding that nobody here undoes
/// (section 6.1).
fn other_coding(value: &[u8]) -> Refusal {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    let is_other =
        |coding: &[u8]| !coding.is_empty() && coding.iter().all(is_name) && !is_chunked(coding);
    let mut codings = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    if codings.next_back().is_some_and(is_chunked) && codings.all(is_other) {
        refuse(
            StatusCode::NOT_IMPLEMENTED,
            "the only Transfer-Encoding understood is chunked",
        )
    } else {
        bad("the Transfer-Encoding does not end in chunked, or is none")
    }
}

fn parse_length(value: &[u8]) -> Result<u64, Refusal> {
    // Digits only, and few enough that no reader overflows: no sign, no list, no white space.
    if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
        return Err(bad("invalid Content-Length"));
    }
    Ok(value
        .iter()
        .fold(0, |length, digit| length * 10 + u64::from(digit - b'0')))
}

fn bad(reason: &'static str) -> Refusal {
    refuse(StatusCode::BAD_REQUEST, reason)
}

fn refuse(status: StatusCode, reason: &'static str) -> Refusal {
    Refusal { status, reason }
}
