//! What the app or an upstream is told of a request beyond what the client has sent.
//!
//! 1. What the client has no business to say is left out: forwarding headers of a peer that is not
//!    trusted, and any header that some programs would take for one of ours, because they read `_`
//!    and `-` as the same (CGI, WSGI, Rack).
//! 2. Who asked, over what, and under which id, in the place of what was there.
//! 3. What `request_headers` of the route removes and sets: its owner has the last word.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header};
use pingora_core::Result;
use pingora_http::RequestHeader;

use super::exchange::Exchange;
use super::trace::TRACESTATE;
use crate::config::RequestHeaders;

/// Begins the names under which proxies tell of clients.
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// What is to be done to the headers of one request.
#[derive(Debug)]
pub(super) struct Changes {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
}

impl Changes {
    /// What is to be done to `received`, which came from `peer`.
    pub(super) fn of(exchange: &Exchange, peer: IpAddr, received: &HeaderMap) -> Self {
        let mut ours = exchange.forwarding_headers(peer, received);
        let route = exchange.route.as_ref().map(|route| route.route());
        let asked = route.map(|route| &route.request_headers);
        if asked.is_some_and(|asked| asked.forwarded) {
            ours.push((header::FORWARDED, forwarded(exchange, peer, received)));
        }
        let mut changes = Self::between(received, ours, asked, exchange.trusted_peer);
        if exchange
            .trace
            .as_ref()
            .is_some_and(|trace| trace.drops_state())
        {
            changes.remove.push(TRACESTATE);
        }
        changes
    }

    fn between(
        received: &HeaderMap,
        mut ours: Vec<(HeaderName, HeaderValue)>,
        asked: Option<&RequestHeaders>,
        trusted_peer: bool,
    ) -> Self {
        let (set, removed) = asked.map_or((&[][..], &[][..]), |asked| (&asked.set, &asked.remove));
        let is_told_by_us = |name: &str| {
            let mut names = ours.iter().chain(set).map(|(name, _)| name).chain(removed);
            name == header::FORWARDED
                || name.starts_with(FORWARDED_PREFIX)
                || names.any(|ours| ours == name)
        };
        let is_of_proxies = |name: &HeaderName| {
            *name == header::FORWARDED || name.as_str().starts_with(FORWARDED_PREFIX)
        };
        // SECURITY: `X_Forwarded_For` reaches such programs as `X-Forwarded-For`, even beside ours.
        let is_twin = |name: &HeaderName| {
            name.as_str().contains('_') && is_told_by_us(&name.as_str().replace('_', "-"))
        };
        let remove = received
            .keys()
            .filter(|name| (!trusted_peer && is_of_proxies(name)) || is_twin(name))
            .chain(removed)
            .cloned()
            .collect();
        ours.retain(|(name, _)| !removed.contains(name));
        ours.extend_from_slice(set);
        Self { remove, set: ours }
    }

    /// Changes a request of Pingora's.
    pub(super) fn apply(self, request: &mut RequestHeader) -> Result<()> {
        for name in &self.remove {
            request.remove_header(name);
        }
        for (name, value) in self.set {
            request.insert_header(name, value)?;
        }
        Ok(())
    }

    /// Changes headers.
    pub(super) fn apply_to(self, headers: &mut HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in self.set {
            headers.insert(name, value);
        }
    }
}

/// `Forwarded` (RFC 7239): a trusted proxy's list is continued by that proxy; where it has told by
/// `X-Forwarded-For` only, the client begins the list.
fn forwarded(exchange: &Exchange, peer: IpAddr, received: &HeaderMap) -> HeaderValue {
    let mut list = Vec::new();
    if exchange.trusted_peer {
        for line in received.get_all(header::FORWARDED) {
            list.extend_from_slice(line.as_bytes());
            list.extend_from_slice(b", ");
        }
        if list.is_empty() && exchange.client != peer {
            list.extend_from_slice(format!("for={}, ", node(exchange.client)).as_bytes());
        }
    }
    let mut element = format!("for={}", node(peer));
    let host = exchange.authority.as_ref();
    // Of a host there is no other; the check keeps it from ending the string.
    if let Some(host) = host.and_then(|host| host.to_str().ok())
        && !host.contains(['"', '\\'])
    {
        let _ = write!(element, ";host=\"{host}\"");
    }
    let scheme = if exchange.https { "https" } else { "http" };
    let _ = write!(element, ";proto={scheme}");
    list.extend_from_slice(element.as_bytes());
    let value = HeaderValue::from_bytes(&list).or_else(|_| HeaderValue::try_from(element));
    value.expect("addresses and hosts are visible ASCII")
}

/// A node of RFC 7239, section 6: IPv6 in brackets, and quoted for their sake.
fn node(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("\"[{address}]\""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_would_take_for_ours_is_left_out() {
        let asked = RequestHeaders {
            set: vec![(
                HeaderName::from_static("x-auth-user"),
                HeaderValue::from_static("gateway"),
            )],
            remove: vec![HeaderName::from_static("authorization")],
            forwarded: false,
        };
        let ours = vec![(
            HeaderName::from_static("x-real-ip"),
            HeaderValue::from_static("192.0.2.7"),
        )];
        for (name, untrusted, trusted, why) in [
            ("x-forwarded-for", true, false, "a proxy's"),
            ("x-forwarded-port", true, false, "one we don't set"),
            ("forwarded", true, false, "a proxy's"),
            ("x_forwarded_for", true, true, "read as a proxy's"),
            ("x-forwarded_for", true, true, "mixed"),
            ("x_real_ip", true, true, "read as ours"),
            ("x_auth_user", true, true, "read as the route's"),
            ("authorization", true, true, "removed by the route"),
            ("my_key", false, false, "an app's own, such as gRPC's"),
            ("cookie", false, false, "no business of ours"),
            ("x-real-ip", false, false, "replaced, not removed"),
        ] {
            let name = HeaderName::from_static(name);
            let received = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x"))]);
            for (is_trusted, expected) in [(false, untrusted), (true, trusted)] {
                let changes = Changes::between(&received, ours.clone(), Some(&asked), is_trusted);
                let is_removed = changes.remove.contains(&name);
                assert_eq!(is_removed, expected, "{name}, trusted {is_trusted}: {why}");
            }
        }
    }
}
