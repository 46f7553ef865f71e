//! What of an answer's head is kept, and how a confirmation changes it.

use http::HeaderName;
use http::header::{
    AGE, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    PROXY_AUTHENTICATE, SET_COOKIE, TRAILER, TRANSFER_ENCODING, VARY,
};
use pingora_http::ResponseHeader;

/// Tells clients what the cache has done.
pub(super) const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Of an answer, what is about its connection or about one client.
const NOT_KEPT: [HeaderName; 9] = [
    AGE,
    CONNECTION,
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    SET_COOKIE,
    TRAILER,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    X_CACHE,
];

/// Of a confirmation, what is not about the answer that it confirms (RFC 9111, section 3.2).
const NOT_CONFIRMED: [HeaderName; 5] = [
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    VARY,
];

/// Leaves out of an answer's head what is not kept.
pub(super) fn strip(head: &mut ResponseHeader) {
    for name in &NOT_KEPT {
        head.remove_header(name);
    }
}

/// The stored head as `confirmation` brings it up to date (RFC 9111, section 3.2).
pub(super) fn confirmed(stored: &ResponseHeader, confirmation: &ResponseHeader) -> ResponseHeader {
    let mut head = stored.clone();
    let news = confirmation.headers.keys().filter(|name| {
        !NOT_CONFIRMED.contains(name) && (!NOT_KEPT.contains(name) || **name == AGE)
    });
    for name in news {
        head.remove_header(name);
        for value in confirmation.headers.get_all(name) {
            // Both are headers already; there is room for as many.
            let _ = head.append_header(name, value);
        }
    }
    head
}
