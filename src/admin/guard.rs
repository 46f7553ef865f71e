//! What web pages of somebody else must not reach through the browser of somebody who may.
//!
//! Two ways lead there. A name of the attacker's that suddenly means this machine (DNS rebinding)
//! makes a page the same origin as this listener, so the `Host` must be one that no attacker owns.
//! And any page may send a form anywhere, so a foreign `Origin` is refused; [`renew`](super::renew)
//! takes JSON only, which a form cannot send. What a page embeds, such as pictures, comes without an
//! `Origin`: browsers say of that whether another site asked (`Sec-Fetch-Site`), else such a page could
//! take all seats at the dashboard. Only links may lead here from anywhere.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HOST, HeaderMap, ORIGIN, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderName, HeaderValue, StatusCode};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// Yesterday's state is of no use; browsers shall guess no types, and give nothing here to other sites.
const ALWAYS: [(HeaderName, HeaderValue); 3] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Lets a request to the listener at `address` through, or refuses it.
pub(super) async fn pass(address: SocketAddr, request: Request, next: Next) -> Response {
    let mut response = match refuse(address, request.headers()) {
        Some(words) => (StatusCode::FORBIDDEN, format!("{words}\n")).into_response(),
        None => next.run(request).await,
    };
    response.headers_mut().extend(ALWAYS);
    response
}

/// Why a request with these headers gets no answer.
fn refuse(address: SocketAddr, headers: &HeaderMap) -> Option<&'static str> {
    let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let host = text(HOST).unwrap_or_default();
    let known = host
        .parse::<Authority>()
        .is_ok_and(|host| is_ours(address, host.host()));
    if !known {
        return Some(
            "this listener is asked by its address, by \"localhost\", or on a network by a name without dots",
        );
    }
    let foreign = headers.contains_key(ORIGIN)
        && text(ORIGIN).and_then(|origin| origin.strip_prefix("http://")) != Some(host);
    // Empty where the browser doesn't say, or is none.
    let site = text(SEC_FETCH_SITE).unwrap_or_default();
    let is_link = text(SEC_FETCH_DEST) == Some("document");
    let embedded = !matches!(site, "" | "none" | "same-origin") && !is_link;
    (foreign || embedded).then_some("web pages of other sites get no answer here")
}

/// Whether nobody but us can be meant by `host`. An address cannot be made to mean another machine,
/// and who serves a page under a name without dots sits on the network that the owner opened this
/// listener to: that is how containers call each other.
fn is_ours(address: SocketAddr, host: &str) -> bool {
    if host.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(asked) = literal.parse::<IpAddr>() {
        return address.ip().is_unspecified() || asked == address.ip();
    }
    !address.ip().is_loopback() && !host.is_empty() && !host.contains('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_that_nobody_else_can_own_are_known() {
        let table = [
            ("127.0.0.1:9180", "127.0.0.1:9180", true, "its address"),
            ("127.0.0.1:9180", "127.0.0.1", true, "the port says nothing"),
            ("127.0.0.1:9180", "LocalHost:9180", true, "localhost"),
            ("127.0.0.1:9180", "127.0.0.2:9180", false, "not its address"),
            ("127.0.0.1:9180", "evil.example:9180", false, "rebinding"),
            (
                "127.0.0.1:9180",
                "unibody:9180",
                false,
                "nobody on loopback asks so",
            ),
            ("127.0.0.1:9180", "", false, "no host"),
            (
                "127.0.0.1:9180",
                "user@localhost",
                true,
                "a user is no host",
            ),
            ("[::1]:9180", "[::1]:9180", true, "IPv6"),
            ("0.0.0.0:9180", "10.1.2.3:9180", true, "a pod's address"),
            ("0.0.0.0:9180", "unibody:9180", true, "a container's name"),
            ("0.0.0.0:9180", "evil.example", false, "rebinding"),
            ("0.0.0.0:9180", "127.0.0.1.evil.example", false, "rebinding"),
        ];
        for (address, host, expected, why) in table {
            let headers = HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]);
            let known = refuse(address.parse().unwrap(), &headers).is_none();
            assert_eq!(known, expected, "{address} asked as {host:?}: {why}");
        }
    }

    #[test]
    fn pages_of_other_sites_are_refused() {
        let table = [
            ("http://localhost:9180", true),
            ("http://localhost:3000", false),
            ("https://localhost:9180", false),
            ("https://evil.example", false),
            ("null", false),
        ];
        for (origin, expected) in table {
            let headers = HeaderMap::from_iter([
                (HOST, HeaderValue::from_static("localhost:9180")),
                (ORIGIN, HeaderValue::from_static(origin)),
            ]);
            let passed = refuse("127.0.0.1:9180".parse().unwrap(), &headers).is_none();
            assert_eq!(passed, expected, "{origin}");
        }
    }

    #[test]
    fn other_sites_may_link_and_not_embed() {
        let table = [
            ("none", "document", true, "typed into the address bar"),
            ("same-origin", "empty", true, "our own page's stream"),
            ("cross-site", "document", true, "a link in a runbook"),
            ("cross-site", "image", false, "a picture that is our stream"),
            ("same-site", "empty", false, "another port's script"),
            ("cross-site", "iframe", false, "a frame"),
            ("", "", true, "no browser"),
        ];
        for (site, dest, expected, why) in table {
            let headers = HeaderMap::from_iter([
                (HOST, HeaderValue::from_static("localhost:9180")),
                (SEC_FETCH_SITE, HeaderValue::from_static(site)),
                (SEC_FETCH_DEST, HeaderValue::from_static(dest)),
            ]);
            let passed = refuse("127.0.0.1:9180".parse().unwrap(), &headers).is_none();
            assert_eq!(passed, expected, "{why}");
        }
    }
}
