//! A request's way through the edge, phase by phase, in running order:
//!
//! 1. [`request_filter`](ProxyHttp::request_filter): who asks, is it a request we serve, and which
//!    route takes it; everything but an upstream is answered right there.
//! 2. [`upstream_peer`](ProxyHttp::upstream_peer), [`upstream_request_filter`](ProxyHttp::upstream_request_filter),
//!    [`request_body_filter`](ProxyHttp::request_body_filter): the way to an upstream.
//! 3. [`upstream_response_filter`](ProxyHttp::upstream_response_filter): the way back. Compression
//!    and headers are downstream modules and run for every answer, wherever it comes from.
//! 4. [`fail_to_proxy`](ProxyHttp::fail_to_proxy): what went wrong, as an error page.
//! 5. [`logging`](ProxyHttp::logging): the line in the access log, whichever way it ended.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use pingora_core::modules::http::HttpModules;
use pingora_core::protocols::Digest;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{FailToProxy, ProxyHttp, Session};

use super::access_log::Line;
use super::client_address::{ClientAddress, Proto};
use super::compression::{self, Compression};
use super::exchange::{Exchange, UNTRUSTED};
use super::host_name::{self, HostName};
use super::reply::{self, Answer, Body};
use super::route::PreparedRoute;
use super::security_headers::SecurityHeaders;
use super::snapshot::Destination;
use super::{Edge, bridge, plain_http, request_id, request_path, upstream};
use crate::config::Action;

/// The edge as Pingora sees it.
pub(super) struct Proxy {
    edge: Arc<Edge>,
}

impl Proxy {
    pub(super) fn new(edge: Arc<Edge>) -> Self {
        Self { edge }
    }

    /// Steps 1 to 5 of a request; the answer is given where it can be given without I/O.
    fn admit(
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Arc<PreparedRoute>, Box<Answer>> {
        normalise_target(session)?;
        let port = identify_host(session, exchange)?;
        redirect_to_https(session, exchange, port)?;
        let route = find_route(session, exchange)?;
        check_body_length(session, exchange)?;
        Ok(route)
    }

    /// Answers the request, unless its route leads to an upstream.
    async fn answer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        route: &PreparedRoute,
    ) -> Result<bool> {
        let snapshot = exchange.snapshot.clone();
        match (&snapshot.destinations[route.index()], &route.route().action) {
            (Destination::App, _) => bridge::answer(session, exchange, &self.edge.app).await?,
            (Destination::Files(files), _) => {
                let head = session.req_header();
                let rest = route.rest(head.uri.path());
                // One slash: what another one begins is an empty segment, which names no file.
                let rest = rest.strip_prefix('/').unwrap_or(rest);
                let answer = files
                    .answer(&head.method, &head.headers, &head.uri, rest)
                    .await;
                reply::send(session, exchange, answer).await?;
            }
            (Destination::Upstream(_), _) => return Ok(false),
            (Destination::Redirect, Action::Redirect { to, status }) => {
                let answer = redirect(session, exchange, to, *status);
                reply::send(session, exchange, answer).await?;
            }
            (
                _,
                Action::Respond {
                    status,
                    body,
                    content_type,
                },
            ) => {
                let answer = respond(*status, body, content_type);
                reply::send(session, exchange, answer).await?;
            }
            (Destination::Redirect | Destination::Respond, _) => {
                unreachable!("destinations are prepared from the actions themselves")
            }
        }
        Ok(true)
    }
}

#[async_trait]
impl ProxyHttp for Proxy {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::new(self.edge.snapshot())
    }

    fn init_downstream_modules(&self, modules: &mut HttpModules) {
        modules.add_module(Compression::builder());
        modules.add_module(SecurityHeaders::builder(
            self.edge.snapshot().headers.clone(),
        ));
    }

    async fn request_filter(&self, session: &mut Session, exchange: &mut Exchange) -> Result<bool> {
        open(session, exchange);
        let route = match Self::admit(session, exchange) {
            Ok(route) => route,
            Err(answer) => {
                reply::send(session, exchange, *answer).await?;
                return Ok(true);
            }
        };
        self.answer(session, exchange, &route).await
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<Box<HttpPeer>> {
        exchange.upstream.began = Some(Instant::now());
        exchange.upstream.connected = None;
        exchange.upstream.answered = None;
        let index = exchange.route.as_ref().map(|route| route.index());
        match index.map(|index| &exchange.snapshot.destinations[index]) {
            Some(Destination::Upstream(upstream)) => upstream.peer(&exchange.host).await,
            _ => Err(Error::explain(
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
            exchange.upstream.connected = exchange.upstream.began.map(|began| began.elapsed());
        }
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        let peer = peer_address(session);
        for name in UNTRUSTED.iter().filter(|_| !exchange.trusted_peer) {
            request.remove_header(name);
        }
        for (name, value) in exchange.forwarding_headers(peer, &session.req_header().headers) {
            request.insert_header(name, value)?;
        }
        strip_prefix(exchange, request)
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _: bool,
        exchange: &mut Exchange,
    ) -> Result<()> {
        exchange.forwarded += body.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if exchange.forwarded > exchange.max_body {
            return Err(
                Error::explain(ErrorType::HTTPStatus(413), "the body is too large").into_down(),
            );
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        _: &mut ResponseHeader,
        exchange: &mut Exchange,
    ) -> Result<()> {
        if exchange.upstream.answered.is_none() {
            exchange.upstream.answered = exchange.upstream.began.map(|began| began.elapsed());
        }
        if exchange.snapshot.is_closing() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        exchange: &mut Exchange,
    ) -> FailToProxy {
        let status = upstream::status_of(error);
        if let Some(status) = status
            && session
                .response_written()
                .is_none_or(|head| head.status.is_informational())
        {
            session.set_keepalive(None);
            if status.is_server_error() {
                tracing::warn!(request_id = %exchange.id, %error, "request failed");
            }
            // The client may leave before it has the page; then there is nobody to tell.
            let _ = reply::send(session, exchange, reply::empty(status)).await;
        }
        session.shutdown().await;
        FailToProxy {
            error_code: status.map_or(0, |status| status.as_u16()),
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, exchange: &mut Exchange) {
        self.edge
            .access_log
            .write(&Line::answered(session, exchange, error));
    }

    /// What failed is in the access log, and what is our fault or an upstream's in the log too.
    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }
}

/// The peer of the connection, IPv4-mapped addresses as IPv4.
pub(super) fn peer_address(session: &Session) -> IpAddr {
    session
        .client_addr()
        .and_then(|peer| peer.as_inet())
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
            peer.ip().to_canonical()
        })
}

/// Opens the exchange: who asks, over what, under which id; from here on answers have our headers.
fn open(session: &mut Session, exchange: &mut Exchange) {
    let timeouts = exchange.snapshot.config.server.timeouts;
    session.set_read_timeout(Some(timeouts.body_idle));
    session.set_write_timeout(Some(timeouts.write_idle));

    exchange.tls = session
        .digest()
        .is_some_and(|digest| digest.ssl_digest.is_some());
    let head = session.as_downstream().req_header();
    let trusted = &exchange.snapshot.config.server.trusted_proxies;
    let client = ClientAddress::resolve(peer_address(session), &head.headers, trusted);
    exchange.client = client.address;
    exchange.trusted_peer = client.trusted_peer;
    exchange.https = client
        .scheme_override
        .map_or(exchange.tls, |scheme| scheme == Proto::Https);
    exchange.id = client
        .trusted_peer
        .then(|| request_id::from_proxy(&head.headers))
        .flatten()
        .unwrap_or_else(request_id::make);

    let snapshot = exchange.snapshot.clone();
    if let Some(headers) = session.downstream_modules_ctx.get_mut::<SecurityHeaders>() {
        let id = request_id::header_value(&exchange.id);
        headers.arm(snapshot.headers.clone(), exchange.https, id);
    }
}

/// Brings an absolute-form target (RFC 9112, section 3.2.2) to the origin form that everything
/// behind here expects, and answers `OPTIONS *`.
fn normalise_target(session: &mut Session) -> Result<(), Box<Answer>> {
    let head = session.req_header_mut();
    if head.uri.scheme().is_some() && head.version != http::Version::HTTP_2 {
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let origin = path
            .parse()
            .map_err(|_| reply::boxed(StatusCode::BAD_REQUEST))?;
        head.set_uri(origin);
    }
    if head.uri.path() == "*" {
        let mut answer = reply::empty(StatusCode::NO_CONTENT);
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        answer.headers_mut().insert(header::ALLOW, allow);
        return Err(Box::new(answer));
    }
    Ok(())
}

/// Reads the host asked for and refuses one that isn't ours (421: RFC 9110, section 15.5.20);
/// returns the port the client named.
fn identify_host(session: &Session, exchange: &mut Exchange) -> Result<Option<u16>, Box<Answer>> {
    let head = session.req_header();
    let authority = match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(header::HOST).cloned(),
    };
    // Only HTTP/1.0 may come without (the door and Pingora's HTTP/2 see to it); then it asks for a
    // server that takes any name.
    let Some(authority) = authority else {
        let any = exchange.snapshot.config.server.hosts.is_empty();
        return if any {
            Ok(None)
        } else {
            Err(reply::boxed(StatusCode::MISDIRECTED_REQUEST))
        };
    };
    exchange.authority = Some(authority.clone());
    let name = authority
        .to_str()
        .ok()
        .and_then(|authority| HostName::parse(authority).ok())
        .ok_or_else(|| reply::boxed(StatusCode::BAD_REQUEST))?;
    exchange.host = name.name.into_owned();
    let port = name.port;
    if !host_name::served(&exchange.snapshot.config.server.hosts, &exchange.host) {
        return Err(reply::boxed(StatusCode::MISDIRECTED_REQUEST));
    }
    Ok(port)
}

fn redirect_to_https(
    session: &Session,
    exchange: &Exchange,
    port: Option<u16>,
) -> Result<(), Box<Answer>> {
    let Some(ports) = exchange.snapshot.redirect.filter(|_| !exchange.https) else {
        return Ok(());
    };
    if exchange.host.is_empty() {
        return Err(reply::boxed(StatusCode::BAD_REQUEST));
    }
    let head = session.req_header();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    Err(Box::new(plain_http::redirect(
        &head.method,
        &exchange.host,
        port,
        target,
        ports,
    )))
}

fn find_route(
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<Arc<PreparedRoute>, Box<Answer>> {
    let path = session.req_header().uri.path();
    // SECURITY: a path that another program could read as another path is nobody's.
    let route = request_path::check(path)
        .and_then(|path| {
            exchange
                .snapshot
                .router
                .select(&exchange.host, &path)
                .map(Option::<&Arc<PreparedRoute>>::cloned)
        })
        .map_err(|_| reply::boxed(StatusCode::BAD_REQUEST))?
        .ok_or_else(|| reply::boxed(StatusCode::NOT_FOUND))?;
    if let Some(max_body) = route.route().max_body {
        exchange.max_body = max_body;
    }
    exchange.route = Some(route.clone());
    arm_modules(session, exchange, &route);
    Ok(route)
}

fn arm_modules(session: &mut Session, exchange: &Exchange, route: &Arc<PreparedRoute>) {
    let head = session.as_downstream().req_header();
    let config = exchange.snapshot.compression.clone();
    let request = compression::Request::new(head, route.route().compress, config);
    let modules = &mut session.downstream_modules_ctx;
    if let Some(compression) = modules.get_mut::<Compression>() {
        compression.arm(request);
    }
    if let Some(headers) = modules.get_mut::<SecurityHeaders>() {
        headers.arm_route(route.clone());
    }
}

/// Refuses an announced body that is too large before a byte of it is read.
fn check_body_length(session: &Session, exchange: &Exchange) -> Result<(), Box<Answer>> {
    let length = session.req_header().headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > exchange.max_body) {
        return Err(reply::boxed(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Ok(())
}

fn strip_prefix(exchange: &Exchange, request: &mut RequestHeader) -> Result<()> {
    let prefix = match exchange.route.as_ref().map(|route| &route.route().action) {
        Some(Action::Upstream {
            strip_prefix: Some(prefix),
            ..
        }) => prefix.as_str(),
        _ => return Ok(()),
    };
    let target = String::from_utf8_lossy(request.raw_path()).into_owned();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target.as_str(), None),
    };
    let prefix = request_path::normalise(prefix);
    let Some(rest) = request_path::rest_as_written(path, &prefix) else {
        return Ok(());
    };
    let mut stripped = if rest.is_empty() {
        "/".to_owned()
    } else {
        rest.to_owned()
    };
    if let Some(query) = query {
        stripped.push('?');
        stripped.push_str(query);
    }
    request.set_raw_path(stripped.as_bytes())
}

fn redirect(session: &Session, exchange: &Exchange, to: &str, status: StatusCode) -> Answer {
    let head = session.req_header();
    let target = head
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    // SECURITY: `//evil.test` at the start of a location would name another host.
    let target = format!("/{}", target.trim_start_matches('/'));
    let location = to
        .replace("{host}", &exchange.host)
        .replace("{path}", &target);
    let mut answer = reply::empty(status);
    match HeaderValue::from_str(&location) {
        Ok(location) => {
            answer.headers_mut().insert(header::LOCATION, location);
            answer
        }
        Err(_) => reply::empty(StatusCode::BAD_REQUEST),
    }
}

fn respond(status: StatusCode, body: &str, content_type: &HeaderValue) -> Answer {
    if body.is_empty() {
        return reply::empty(status);
    }
    let mut answer = Answer::new(Body::Full(Bytes::copy_from_slice(body.as_bytes())));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(header::CONTENT_TYPE, content_type.clone());
    answer
}
