//! What heads say of their messages.

use http::{HeaderMap, StatusCode, Version, header, request};

/// Whether an answer with this status is still to come. After 101 there is none.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether `Connection` says that this is the last request: all its lines are one list (RFC 9110, section 5.3), in
/// which nothing outweighs `close` (RFC 9112, section 9.3). Pingora reads the first, and prefers `keep-alive`.
pub(super) fn says_close(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(header::CONNECTION).iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
}

/// Whether the request asks for a WebSocket (RFC 6455, section 4.1); other protocols are offered in vain.
pub(super) fn asks_for_websocket(head: &request::Parts) -> bool {
    let protocol = head.headers.get(header::UPGRADE);
    head.version == Version::HTTP_11
        && protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// The length in bytes that the content is said to have.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}
