//! Requests so simple that a ready answer may do, as they come over HTTP/1.1.

use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Version};

use super::head::Framing;
use crate::edge::ready::{Heeded, is_forwarding};

/// Where the parts of a simple request stand in its head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Simple {
    pub(super) is_head: bool,
    is_http_10: bool,
    pub(super) target: Span,
    pub(super) host: Span,
    pub(super) fields: Heeded<Span>,
}

/// A part of a head. Heads are shorter than 64 KiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    start: u16,
    end: u16,
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
        let mut fields = Heeded::NOTHING;
        for field in request.headers.iter() {
            fields.take(field.name, field.value, Span::of(head, field.value))?;
        }
        // Without one it is asked for whatever this server takes to be the host.
        let host = fields.host.filter(|host| *host != Span::default())?;
        Some(Self {
            is_head,
            is_http_10: request.version == Some(0),
            target: Span::of(head, target.as_bytes()),
            host,
            fields,
        })
    }

    pub(super) fn version(&self) -> Version {
        if self.is_http_10 {
            Version::HTTP_10
        } else {
            Version::HTTP_11
        }
    }

    /// Whether the client wants the connection to live on (RFC 9112, section 9.3).
    pub(super) fn keeps_alive(&self) -> bool {
        self.fields.keeps_alive.unwrap_or(!self.is_http_10)
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
        if std::str::from_utf8(name).is_ok_and(is_forwarding)
            && let Ok(name) = HeaderName::from_bytes(name)
            && let Ok(value) = HeaderValue::from_bytes(value)
        {
            fields.append(name, value);
        }
    }
    fields
}
