//! A request's way through the edge, phase by phase, in running order:
//!
//! 1. [`request_filter`](ProxyHttp::request_filter): who asks, is it a CA, is it a request we serve,
//!    and which route takes it; everything but an upstream is answered right there ([`local`](super::local)).
//! 2. [`request_cache_filter`](ProxyHttp::request_cache_filter) and the phases up to
//!    [`proxy_upstream_filter`](ProxyHttp::proxy_upstream_filter): a [`cache`] may have what the
//!    upstream would answer; where it comes from the upstream, it may be kept.
//! 3. [`upstream_peer`](ProxyHttp::upstream_peer), [`upstream_request_filter`](ProxyHttp::upstream_request_filter),
//!    [`request_body_filter`](ProxyHttp::request_body_filter): the way to an upstream; after
//!    [`fail_to_connect`](ProxyHttp::fail_to_connect) or [`error_while_proxy`](ProxyHttp::error_while_proxy)
//!    perhaps once more, to another server.
//! 4. [`upstream_response_filter`](ProxyHttp::upstream_response_filter) and, from the cache as well,
//!    [`response_filter`](ProxyHttp::response_filter): the way back. Compression
//!    and headers are downstream modules and run for every answer, wherever it comes from.
//! 5. [`fail_to_proxy`](ProxyHttp::fail_to_proxy): what went wrong, as an error page.
//! 6. [`logging`](ProxyHttp::logging): the line in the access log, and the counts, whichever way it ended.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use http::{Method, StatusCode, header};
use pingora_cache::key::CacheKey;
use pingora_cache::{CacheMeta, ForcedFreshness, HitHandler, RespCacheable};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, RangeType, Session};

use super::access_log::Line;
use super::compression::Compression;
use super::connection::farewell_of;
use super::event_stream::EventStream;
use super::exchange::Exchange;
use super::message::{asks_for_websocket, content_length, is_interim};
use super::outgoing::Changes;
use super::ready::{self, Recorder};
use super::reply;
use super::security_headers::SecurityHeaders;
use super::upstream::{self, Sent, Try, Wish};
use super::{Edge, admission, cache, door, http2, rewrite};
use crate::config::{AccessFormat, Log};
use crate::telemetry::Tally;

/// Clients provoke these as often as they like while an upstream is not well.
static FAILED: Tally = Tally::new("requests failed", 10);
static STALE: Tally = Tally::new("stale answers were given", 10);
/// Scanners ask for hosts and paths that are not here; each is counted by its reason.
static STRAY: Tally = Tally::new("requests came to no route", 10);

/// The edge as Pingora sees it.
pub(super) struct Proxy {
    pub(super) edge: Arc<Edge>,
}

impl Proxy {
    pub(super) fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }
}

/// Whether the client has the head of an answer already.
pub(super) fn has_begun(session: &Session) -> bool {
    let head = session.response_written();
    head.is_some_and(|head| !is_interim(head.status))
}

/// Whether `sent` bytes are as many as the answer said.
fn has_all(session: &Session, sent: u64) -> bool {
    let head = session.response_written();
    head.and_then(|head| content_length(&head.headers)) == Some(sent)
}

/// Whether the access log has a line for it.
fn is_told(log: &Log, exchange: &Exchange, line: &Line<'_>) -> bool {
    log.access != AccessFormat::Off
        && (exchange.route.is_some()
            || line.status < 400
            || STRAY.count(|| format!("{}: {}", line.client, line.status)))
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.edge.snapshot(), self.edge.measures.begin())
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Compression::builder());
        modules.add_module(SecurityHeaders::builder(
            self.edge.snapshot().headers.clone(),
        ));
        modules.add_module(Recorder::builder());
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        let opened = AssertUnwindSafe(self.open(session, exchange)).catch_unwind();
        match opened.await {
            Ok(opened) => opened,
            Err(_) => self.apologise(session, exchange).await,
        }
    }

    fn request_cache_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<()> {
        let snapshot = exchange.snapshot.clone();
        if let Some(plan) = snapshot.cache(exchange.route.as_deref()) {
            let look = cache::begin(self.edge.cache, plan, session, exchange);
            exchange.look = Some(Box::new(look));
        }
        Ok(())
    }

    fn cache_key_callback(&self, _: &Session, exchange: &mut Exchange) -> Result<CacheKey> {
        self.edge.cache.key(exchange.look.as_deref())
    }

    async fn cache_hit_filter(
        &self,
        _: &mut Session,
        meta: &CacheMeta,
        _: &mut HitHandler,
        is_fresh: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<ForcedFreshness>> {
        let look = exchange.look.as_mut();
        Ok(look.and_then(|look| look.freshness_of(meta, is_fresh)))
    }

    fn range_header_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Exchange,
    ) -> RangeType {
        cache::part(session, response)
    }

    fn should_serve_stale(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        error: Option<&Error>,
    ) -> bool {
        match (error, &mut exchange.look) {
            (Some(error), _) => {
                // RFC 5861, section 4.
                let is_excused = *error.esource() == ErrorSource::Upstream
                    && match error.etype() {
                        ErrorType::HTTPStatus(status) => matches!(status, 500 | 502 | 503 | 504),
                        _ => true,
                    };
                let error = upstream::Told(error);
                if is_excused && STALE.count(|| error.to_string()) {
                    tracing::warn!(%error, "a stale answer is given");
                }
                is_excused
            }
            (None, Some(look)) => {
                look.make_repeatable(session, exchange.authority.as_ref());
                true
            }
            (None, None) => false,
        }
    }

    async fn proxy_upstream_filter(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<bool> {
        let look = exchange.look.as_mut();
        if look.is_none_or(|look| look.may_ask(session)) {
            return Ok(true);
        }
        reply::send(session, exchange, reply::empty(StatusCode::GATEWAY_TIMEOUT)).await?;
        Ok(false)
    }

    async fn upstream_peer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        let snapshot = exchange.snapshot.clone();
        // What another server was sent is sent again.
        exchange.forwarded = None;
        match snapshot.forward(exchange.route.as_deref()) {
            Some(forward) => {
                let head = session.req_header();
                let wish = Wish::of(&head.headers, asks_for_websocket(head));
                exchange.events = match wish {
                    Wish::EventStream if session.req_header().method == Method::GET => {
                        farewell_of(session).map(EventStream::awaited)
                    }
                    _ => None,
                };
                let (tries, client) = (&mut exchange.tries, exchange.client);
                let events = exchange.events.as_ref();
                let peer = forward.upstream.begin(tries, client, wish, events).await?;
                if let Some(trace) = &mut exchange.trace {
                    trace.asks();
                }
                Ok(peer)
            }
            None => Err(Error::explain(
                ErrorType::InternalError,
                "the route has no upstream",
            )),
        }
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::fd::RawFd,
        _: Option<&Digest>,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if !reused {
            exchange.tries.connected();
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let peer = admission::peer_address(session);
        // In this order, so that an upstream may say otherwise, and then a route.
        if let Some(look) = &exchange.look {
            look.prepare(request, exchange.authority.as_ref())?;
        }
        if let Some(forward) = exchange.forward() {
            forward.rewrite(request, &exchange.tries)?;
        }
        Changes::of(exchange, peer, &session.req_header().headers).apply(request)?;
        if let Some(template) = exchange
            .route
            .as_ref()
            .and_then(|route| route.route().rewrite.as_deref())
        {
            rewrite::apply(request, template)?;
        }
        if let Some(trace) = &mut exchange.trace {
            let target = request.uri.path_and_query();
            let target = target.map_or("/", |target| target.as_str());
            trace.asks_for(target, &exchange.snapshot.config.log.mask);
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        exchange: &mut Exchange,
        mut error: Box<Error>,
    ) -> Box<Error> {
        exchange.tries.not_connected(&mut error);
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        exchange: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        // It was we who have broken it.
        if exchange.events_have_ended() {
            error.set_retry(false);
            return error;
        }
        let sent = Sent {
            reused,
            body: exchange.forwarded.is_some(),
            is_whole: session.as_downstream_mut().is_body_done(),
        };
        exchange.tries.broke(session, sent, &mut error);
        error
    }

    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        // What a WebSocket says is no body, and has no end.
        if session.as_downstream().was_upgraded() || session.as_mut().is_body_empty() {
            return Ok(());
        }
        // An empty one has an end too, where it comes in chunks.
        let forwarded = exchange.forwarded.get_or_insert(0);
        *forwarded += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if *forwarded > exchange.max_body {
            return Err(
                Error::explain(ErrorType::HTTPStatus(413), "the body is too large").into_down(),
            );
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        upstream::remove_hop_by_hop(response);
        // Pingora gives a connection up with any head written before the request's end, an interim one too.
        if is_interim(response.status) {
            exchange.keepalive = exchange.keepalive.or(session.get_keepalive());
        } else {
            if let Some(keepalive) = exchange.keepalive.take() {
                session.set_keepalive(Some(keepalive));
            }
            exchange.tries.answered();
            if let Some(events) = &exchange.events {
                events.begin(response.status, &response.headers);
            }
            if let Some(trace) = &mut exchange.trace {
                trace.answered(response.status.as_u16());
            }
        }
        if let Some(look) = &mut exchange.look {
            look.note_head(session, response);
        }
        if let Some(plan) = exchange.snapshot.cache(exchange.route.as_deref()) {
            cache::invalidate(self.edge.cache, plan, session, exchange, response.status);
        }
        // Either side of a WebSocket may be silent for as long as the upstream's `stream_timeout` says.
        if response.status == StatusCode::SWITCHING_PROTOCOLS {
            session.set_read_timeout(None);
        }
        Ok(())
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<RespCacheable> {
        let delay = exchange.tries.iter().last().and_then(Try::answered);
        match &mut exchange.look {
            Some(look) => Ok(look.judge(session, response, delay.unwrap_or_default())),
            None => Error::e_explain(ErrorType::InternalError, "nobody has asked the cache"),
        }
    }

    fn upstream_response_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        exchange: &mut Exchange,
    ) -> Result<Option<Duration>> {
        if let Some(look) = &mut exchange.look {
            look.count(session, body.as_ref().map_or(0, Bytes::len));
        }
        if let Some(events) = &exchange.events {
            events.pass(body);
        }
        Ok(None)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        // The end of the connection is that of such a body.
        let ends_with_it =
            door::is_http_10(session) && !response.headers.contains_key(header::CONTENT_LENGTH);
        if ends_with_it || door::is_last_answer(session) {
            session.set_keepalive(None);
        }
        if is_interim(response.status) {
            return Ok(());
        }
        exchange.note_head();
        if let Some(look) = &mut exchange.look {
            exchange.freshness = look.mark(session, response)?;
            ready::offer(session, exchange);
        }
        Ok(())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        if exchange.events_have_ended() && session.write_response_body(None, true).await.is_ok() {
            exchange.ends_connection = true;
            return FailToProxy {
                error_code: StatusCode::OK.as_u16(),
                can_reuse_downstream: false,
            };
        }
        let status = upstream::status_of(error);
        let breaks_off = has_begun(session);
        if let Some(status) = status
            && !breaks_off
        {
            session.set_keepalive(None);
            if status.is_server_error() {
                let servers = exchange.tries.servers();
                let error = upstream::Told(error);
                if FAILED.count(|| format!("{servers}: {error}")) {
                    tracing::warn!(servers, %error, "request failed");
                }
            }
            // The client may leave before it has the page; then there is nobody to tell.
            let _ = reply::send(session, exchange, reply::empty(status)).await;
        }
        // What was begun and can't be finished must not end in order where that means "finished".
        exchange.ends_connection = !(breaks_off && door::misleads(session));
        FailToProxy {
            error_code: status.map_or(0, |status| status.as_u16()),
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        // What the cache has asked for itself nobody else has asked for.
        if session.subrequest_ctx.is_some() {
            return;
        }
        // It was we who have broken it, and the client has seen no error.
        let error = error.filter(|_| !exchange.events_have_ended());
        if error.is_none() {
            door::is_whole(session);
        }
        if let Some(outcome) = exchange.look.as_ref().and_then(|look| look.outcome()) {
            self.edge.cache.note(outcome);
        }
        exchange.tries.end();
        let line = Line::answered(session, exchange, error);
        let log = &exchange.snapshot.config.log;
        if is_told(log, exchange, &line) {
            self.edge.access_log.write(log, &line);
        }
        self.edge.measures.ended(session, exchange, &line);
        if let Some(trace) = &exchange.trace {
            trace.told(exchange, &line);
        }
        let body_bytes = line.body_bytes;
        if error.is_none() {
            ready::complete(session, body_bytes);
        }
        if error.is_none() || has_all(session, body_bytes) {
            http2::linger(session, exchange.max_body).await;
        }
        // The client may be listened to for a while: that is no part of the request.
        if exchange.ends_connection {
            session.shutdown().await;
        }
    }

    /// Whatever Pingora has to say: the access log masks what a URL may hold, and this would not.
    fn request_summary(&self, _: &Session, exchange: &Exchange) -> String {
        format!("request_id={}", exchange.id)
    }

    /// What is tried again is logged where that is decided.
    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }

    /// What failed is in the access log, and what is our fault or an upstream's in the log too.
    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }
}
