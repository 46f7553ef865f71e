//! One request and its answer, from the moment the head is read to the line in the access log.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::cache::Look;
use super::client_address::Proto;
use super::event_stream::EventStream;
use super::freshness::Freshness;
use super::measure::{RouteCells, Running};
use super::request_id::{self, X_REQUEST_ID};
use super::route::PreparedRoute;
use super::snapshot::Snapshot;
use super::trace::{TRACEPARENT, Trace};
use super::upstream::{Forward, Tries};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// What is known about a request while it is answered.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and every combination can be"
)]
pub(crate) struct Exchange {
    /// The configuration this request keeps to its end.
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) started: Instant,
    /// Follows the request through logs, app and upstream.
    pub(crate) id: String,
    /// The client's address: the peer's, or what trusted proxies say of it.
    pub(crate) client: IpAddr,
    /// Whether the peer is one of `server.trusted_proxies`.
    pub(crate) trusted_peer: bool,
    /// Whether the connection to us is encrypted.
    pub(crate) tls: bool,
    /// Whether the client speaks HTTPS: to us, or to the trusted proxy before us.
    pub(crate) https: bool,
    /// The host asked for, lower case, without port.
    pub(crate) host: String,
    /// Who has signed in by `basic_auth`.
    pub(crate) user: Option<String>,
    /// `None` where nobody wants traces.
    pub(crate) trace: Option<Box<Trace>>,
    /// The authority as the client wrote it.
    pub(crate) authority: Option<HeaderValue>,
    pub(crate) route: Option<Arc<PreparedRoute>>,
    /// Largest request body in bytes.
    pub(crate) max_body: u64,
    /// Bytes of the request body forwarded to the server that is being asked; `None` before the first,
    /// which may be its end.
    pub(crate) forwarded: Option<u64>,
    /// How long the connection may be kept, in seconds, as it was before an interim answer.
    pub(crate) keepalive: Option<u64>,
    /// Whether the connection is to be closed when all is said of the request.
    pub(crate) ends_connection: bool,
    /// The servers of an upstream that were asked.
    pub(crate) tries: Tries,
    /// How long the app has taken to the head of its answer.
    pub(crate) on_app: Duration,
    /// How long nobody else had to be waited for until the head of the answer; `None` before that.
    pub(crate) on_edge: Option<Duration>,
    /// What the cache is asked; `None` where the route has none.
    pub(crate) look: Option<Box<Look>>,
    /// What the upstream sends may be an event stream, which ends when its connection has to.
    pub(crate) events: Option<Arc<EventStream>>,
    /// How long the answer may be given again to the same question: `None` for never.
    pub(crate) freshness: Option<Freshness>,
    /// Counts the request while it runs.
    _running: Running,
}

impl Exchange {
    pub(crate) fn new(snapshot: Arc<Snapshot>, running: Running) -> Self {
        let max_body = snapshot.config.server.max_body;
        Self {
            snapshot,
            started: Instant::now(),
            id: String::new(),
            client: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            trusted_peer: false,
            tls: false,
            https: false,
            host: String::new(),
            user: None,
            trace: None,
            authority: None,
            route: None,
            max_body,
            forwarded: None,
            keepalive: None,
            ends_connection: false,
            tries: Tries::default(),
            on_app: Duration::ZERO,
            on_edge: None,
            look: None,
            events: None,
            freshness: None,
            _running: running,
        }
    }

    /// Whether the answer is an event stream that we have ended.
    pub(crate) fn events_have_ended(&self) -> bool {
        let events = self.events.as_ref();
        events.is_some_and(|events| events.has_ended())
    }

    /// The head of the answer is about to be sent.
    pub(crate) fn note_head(&mut self) {
        if self.on_edge.is_none() {
            let waited = self.on_app + self.tries.taken();
            self.on_edge = Some(self.started.elapsed().saturating_sub(waited));
        }
    }

    /// Where the request goes if it isn't answered here, once it is routed.
    pub(crate) fn forward(&self) -> Option<&Forward> {
        self.snapshot.forward(self.route.as_deref())
    }

    /// Where the request is counted, once it is routed.
    pub(super) fn cells(&self) -> Option<&'static RouteCells> {
        let route = self.route.as_deref()?;
        Some(self.snapshot.cells(route))
    }

    /// The headers that tell an app or upstream who asked, and over what.
    ///
    /// SECURITY: every one of them replaces what the client sent under that name; only a trusted
    /// proxy's `X-Forwarded-For` is continued.
    pub(crate) fn forwarding_headers(
        &self,
        peer: IpAddr,
        received: &HeaderMap,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let client = text_value(&self.client.to_string());
        let forwarded_for = if self.trusted_peer {
            continue_list(received, peer)
        } else {
            client.clone()
        };
        let scheme = if self.https {
            Proto::Https
        } else {
            Proto::Http
        };
        let mut headers = vec![
            (X_REQUEST_ID, request_id::header_value(&self.id)),
            (X_FORWARDED_FOR, forwarded_for),
            (X_FORWARDED_PROTO, HeaderValue::from_static(scheme.as_str())),
            (X_REAL_IP, client),
        ];
        if let Some(trace) = &self.trace {
            headers.push((TRACEPARENT, trace.traceparent()));
        }
        if let Some(authority) = &self.authority {
            headers.push((X_FORWARDED_HOST, authority.clone()));
        }
        headers
    }
}

fn continue_list(received: &HeaderMap, peer: IpAddr) -> HeaderValue {
    let mut list = Vec::new();
    for line in received.get_all(&X_FORWARDED_FOR) {
        list.extend_from_slice(line.as_bytes());
        list.extend_from_slice(b", ");
    }
    list.extend_from_slice(peer.to_string().as_bytes());
    HeaderValue::from_bytes(&list).unwrap_or_else(|_| text_value(&peer.to_string()))
}

fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("addresses are visible ASCII")
}
