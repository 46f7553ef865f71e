//! What heads say of their messages.

use http::{HeaderMap, StatusCode, header};

/// Whether an answer with this status is still to come. After 101 there is none.
pub(super) fn is_interim(status: StatusCode) -> bool {
    status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS
}

/// The length in bytes that the content is said to have.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}
