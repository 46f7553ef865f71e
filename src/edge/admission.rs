//! Whether a request comes in, and which way it goes: the steps before anything answers it.
//!
//! 1. Who asks, over what, under which id: the exchange is opened.
//! 2. A method and a target that the door lets in, over HTTP/2 as well; the target in the one form
//!    that everything behind here expects.
//! 3. The host: ours, or 421.
//! 4. A plain request that belongs on HTTPS is sent there.
//! 5. The route, or 404; what the modules need to know of it.
//! 6. What the route asks of its clients ([`policy`](super::policy)).
//! 7. A body that is announced too large is refused before it comes.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, StatusCode, header};
use ipnet::IpNet;
use pingora_core::protocols::http::authority::raw_target_authority;
use pingora_http::RequestHeader;
use pingora_proxy::Session;

use super::client_address::{Client, ClientAddress, Proto};
use super::compression::{self, Compression};
use super::exchange::Exchange;
use super::host_name::{self, HostName};
use super::message::content_length;
use super::message::says_close;
use super::policy::Asked;
use super::reply::{self, Answer};
use super::route::PreparedRoute;
use super::security_headers::SecurityHeaders;
use super::trace::{self, Trace};
use super::{door, plain_http, request_id, request_path};
use crate::telemetry::request;
use crate::telemetry::traces::{Incoming, Tracer};

/// Who asks, over what, under which id.
pub(super) struct Caller {
    pub(super) client: Client,
    /// Whether the client speaks HTTPS: to us, or to the trusted proxy before us.
    pub(super) is_https: bool,
    pub(super) id: String,
    /// The trace that a trusted proxy continues here.
    pub(super) incoming: Option<Incoming>,
}

impl Caller {
    /// Finds out for a request with `headers` that came from `peer`, encrypted or not.
    pub(super) fn identify(
        peer: IpAddr,
        tls: bool,
        headers: &HeaderMap,
        trusted: &[IpNet],
    ) -> Self {
        let client = ClientAddress::resolve(peer, headers, trusted);
        let id = client
            .trusted_peer
            .then(|| request_id::from_proxy(headers))
            .flatten();
        let incoming = client
            .trusted_peer
            .then(|| trace::incoming(headers))
            .flatten();
        Self {
            incoming,
            client,
            is_https: client
                .scheme_override
                .map_or(tls, |scheme| scheme == Proto::Https),
            id: id.unwrap_or_else(request_id::make),
        }
    }
}

/// Takes the request through steps 2 to 7: its route, or the answer that ends it here.
pub(super) async fn admit(
    session: &mut Session,
    exchange: &mut Exchange,
) -> Result<Arc<PreparedRoute>, Box<Answer>> {
    check_request_line(session).map_err(reply::boxed)?;
    normalise_target(session)?;
    let port = identify_host(session, exchange)?;
    redirect_to_https(session, exchange, port)?;
    let route = find_route(session, exchange)?;
    // What the cache asks anew for itself was let in when a client asked.
    if session.subrequest_ctx.is_none() {
        apply_policy(session, exchange, &route).await?;
    }
    check_body_length(session, exchange)?;
    Ok(route)
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
pub(super) fn open(session: &mut Session, exchange: &mut Exchange, tracer: Option<&Tracer>) {
    let timeouts = exchange.snapshot.config.server.timeouts;
    session.set_read_timeout(Some(timeouts.body_idle));
    session.set_write_timeout(Some(timeouts.write_idle));

    exchange.tls = session
        .digest()
        .is_some_and(|digest| digest.ssl_digest.is_some());
    if says_close(&session.req_header().headers) {
        session.set_keepalive(None);
    }
    let head = session.as_downstream().req_header();
    let trusted = &exchange.snapshot.config.server.trusted_proxies;
    let caller = Caller::identify(peer_address(session), exchange.tls, &head.headers, trusted);
    exchange.client = caller.client.address;
    exchange.trusted_peer = caller.client.trusted_peer;
    exchange.https = caller.is_https;
    exchange.id = caller.id;
    exchange.trace = tracer.map(|tracer| Box::new(Trace::begin(tracer, caller.incoming)));
    let told = exchange.trace.as_ref().and_then(|trace| trace.traced());
    request::begin(&exchange.id, told);

    let snapshot = exchange.snapshot.clone();
    if let Some(headers) = session.downstream_modules_ctx.get_mut::<SecurityHeaders>() {
        let id = request_id::header_value(&exchange.id);
        headers.arm(snapshot.headers.clone(), exchange.https, id);
    }
}

/// Holds HTTP/2 to what the door has seen to in HTTP/1.1: the same methods, the same targets.
fn check_request_line(session: &Session) -> Result<(), StatusCode> {
    let head = session.req_header();
    if head.version != http::Version::HTTP_2 {
        return Ok(());
    }
    let target = head.uri.path_and_query();
    let target = target.map_or("/", |target| target.as_str());
    door::check_request_line(head.method.as_str(), target)
}

/// Brings an absolute-form target (RFC 9112, section 3.2.2) to the origin form that everything
/// behind here expects, and answers `OPTIONS *`.
fn normalise_target(session: &mut Session) -> Result<(), Box<Answer>> {
    let head = session.req_header_mut();
    let is_usual = matches!(head.raw_path(), [b'/', ..] | b"*");
    if !is_usual && head.version != http::Version::HTTP_2 {
        make_origin_form(head).map_err(|_| reply::boxed(StatusCode::BAD_REQUEST))?;
    }
    if head.uri.path() == "*" {
        let mut answer = reply::empty(StatusCode::NO_CONTENT);
        let allow = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
        answer.headers_mut().insert(header::ALLOW, allow);
        return Err(Box::new(answer));
    }
    Ok(())
}

/// Pingora keeps the whole of such a target beside its path and query, for caches and upstreams to see.
fn make_origin_form(head: &mut RequestHeader) -> pingora_core::Result<()> {
    let authority = raw_target_authority(head.raw_path()).authority();
    // The door has compared it with `Host`, which HTTP/1.0 needn't have.
    if let Some(authority) = authority.map(<[u8]>::to_vec)
        && !head.headers.contains_key(header::HOST)
    {
        head.insert_header(header::HOST, authority)?;
    }
    head.set_uri(head.uri.clone());
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
    let encoders = exchange.snapshot.encoders.clone();
    let request = compression::Request::new(head, route.route().compress, encoders);
    let modules = &mut session.downstream_modules_ctx;
    // What the cache asks for itself has no client to be compressed for.
    if session.subrequest_ctx.is_none()
        && let Some(compression) = modules.get_mut::<Compression>()
    {
        compression.arm(request);
    }
    if let Some(headers) = modules.get_mut::<SecurityHeaders>() {
        headers.arm_route(route.clone());
    }
}

async fn apply_policy(
    session: &mut Session,
    exchange: &mut Exchange,
    route: &PreparedRoute,
) -> Result<(), Box<Answer>> {
    let head = session.as_downstream().req_header();
    let asked = Asked {
        client: exchange.client,
        method: &head.method,
        path: head.uri.path(),
        headers: &head.headers,
    };
    let verdict = exchange.snapshot.policies.of(route.index()).admit(&asked);
    let modules = &mut session.downstream_modules_ctx;
    if let Some(headers) = modules.get_mut::<SecurityHeaders>() {
        headers.arm_policy(verdict.marks);
    }
    exchange.user = match (verdict.refusal, verdict.login) {
        (Some(refusal), _) => return Err(refusal),
        // Boxed: most requests have none, and theirs needn't have room for it.
        (None, Some(login)) => Some(Box::pin(login.verify()).await?),
        (None, None) => verdict.user,
    };
    Ok(())
}

/// Refuses an announced body that is too large before a byte of it is read.
fn check_body_length(session: &Session, exchange: &Exchange) -> Result<(), Box<Answer>> {
    let length = content_length(&session.req_header().headers);
    if length.is_some_and(|length| length > exchange.max_body) {
        return Err(reply::boxed(StatusCode::PAYLOAD_TOO_LARGE));
    }
    Ok(())
}
