//! Headers of an answer that are about the upstream's connection, not about ours.

use http::{HeaderName, StatusCode, header};
use pingora_http::ResponseHeader;

/// Headers of one connection, nominated by `Connection` or not.
const HOP_BY_HOP: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::UPGRADE,
];
const FRAMING: [HeaderName; 3] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// Removes what an upstream says of its own connection (RFC 9110, section 7.6.1). Pingora does so for
/// requests only; to a client `Keep-Alive: timeout=5` would be another connection's promise.
pub(crate) fn remove_hop_by_hop(response: &mut ResponseHeader) {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        // SECURITY: what frames the body is Pingora's, whatever the upstream calls it.
        if !FRAMING.contains(name) {
            response.remove_header(name);
        }
    }
}
