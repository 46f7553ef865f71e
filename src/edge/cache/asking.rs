//! May the cache be asked for a request, and for what?

use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use http::header::{
    ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, COOKIE, IF_MATCH, IF_UNMODIFIED_SINCE,
};
use http::{HeaderMap, HeaderValue, Method};
use pingora_proxy::Session;

use super::Plan;
use super::control::CacheControl;
use super::rules::Credentials;
use super::wanted::{Key, Wanted};
use crate::config::Coding;
use crate::edge::admission;
use crate::edge::compression::accept_encoding::Accepted;
use crate::edge::exchange::Exchange;
use crate::edge::host_name::HostName;
use crate::edge::message::asks_for_websocket;
use crate::edge::outgoing::Changes;

/// What the request of `session` asks for; `None` where the cache has no say.
pub(super) fn read(plan: &Plan, session: &mut Session, exchange: &Exchange) -> Option<Wanted> {
    is_a_question(session).then(|| wanted(plan, session, exchange))?
}

/// The key of the URL that the request asks for; `None` where that is no text.
pub(super) fn key(plan: &Plan, session: &Session, exchange: &Exchange) -> Option<Key> {
    let target = std::str::from_utf8(session.req_header().raw_path()).ok()?;
    Some(Key {
        site: plan.site,
        is_https: exchange.https,
        host: exchange.host.as_str().into(),
        port: exchange
            .authority
            .as_ref()
            .and_then(|name| HostName::parse(name.to_str().ok()?).ok()?.port),
        target: target.into(),
    })
}

/// The host that the client has named, spelled as a [`Key`] has it.
///
/// SECURITY: an upstream makes links and policies of what it is told, and what it makes is kept for whoever
/// names the same host in another spelling.
pub(super) fn normal(authority: &HeaderValue) -> Option<HeaderValue> {
    let written = authority.to_str().ok()?;
    let HostName { name, port } = HostName::parse(written).ok()?;
    let normal = match port {
        Some(port) => format!("{name}:{port}"),
        None if name == written => return Some(authority.clone()),
        None => name.into_owned(),
    };
    HeaderValue::try_from(normal).ok()
}

/// Whether nothing in the request makes the answer one that only the upstream can give.
fn is_a_question(session: &mut Session) -> bool {
    let has_body = !session.as_mut().is_body_empty();
    let head = session.req_header();
    // `If-Match` and its like are for upstreams alone (RFC 9111, section 4.3.2).
    let is_for_upstream = |name| head.headers.contains_key(name);
    matches!(head.method, Method::GET | Method::HEAD)
        && !has_body
        && !asks_for_websocket(head)
        && !is_for_upstream(IF_MATCH)
        && !is_for_upstream(IF_UNMODIFIED_SINCE)
        && !nominates(&head.headers)
}

/// What `Connection` says every day.
const USUAL: [&str; 6] = ["", "close", "keep-alive", "te", "upgrade", "http2-settings"];

/// Whether `Connection` names fields that would have gone on without that (RFC 9110, section 7.6.1).
///
/// SECURITY: the upstream would not get them, and its answer would be kept for those who send them.
fn nominates(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(CONNECTION).iter();
    let mut options = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    options.any(|option| {
        let option = option.trim_ascii();
        // These end here whoever names them; Java's client offers HTTP/2 with each request.
        let mut usual = USUAL.into_iter();
        !usual.any(|usual| option.eq_ignore_ascii_case(usual.as_bytes()))
    })
}

fn wanted(plan: &Plan, session: &Session, exchange: &Exchange) -> Option<Wanted> {
    let head = session.req_header();
    let config = &exchange.snapshot.config;
    let control = CacheControl::of_request(&head.headers);
    let memory = usize::try_from(config.server.cached_answers).unwrap_or(usize::MAX);
    if control.no_store || memory == 0 {
        return None;
    }
    let peer = admission::peer_address(session);
    let mut headers = head.headers.clone();
    Changes::of(exchange, peer, &head.headers).apply_to(&mut headers);
    let algorithms = &config.compression.algorithms;
    match canonical(Accepted::of(&head.headers, algorithms)) {
        Some(codings) => headers.insert(ACCEPT_ENCODING, codings),
        None => headers.remove(ACCEPT_ENCODING),
    };
    let credentials = Credentials {
        has_authorization: head.headers.contains_key(AUTHORIZATION),
        has_cookies: !plan.ignore_cookies && head.headers.contains_key(COOKIE),
    };
    Some(Wanted {
        key: key(plan, session, exchange)?,
        headers,
        credentials,
        control,
        began: exchange.started,
        asked: OnceLock::new(),
        ttl: plan.ttl,
        max_size: plan.max_size,
        memory,
        is_void: AtomicBool::new(false),
    })
}

/// The codings that a client takes, always in one order: clients that take the same share answers.
///
/// SECURITY: it depends on nothing but what ready answers are selected by, so that these may be
/// made of what it has selected.
fn canonical(accepted: Accepted) -> Option<HeaderValue> {
    let names = Coding::ALL
        .iter()
        .filter(|coding| accepted.codings().any(|taken| taken == **coding))
        .map(|coding| coding.name());
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| {
        HeaderValue::try_from(names.join(", ")).expect("names of codings are visible ASCII")
    })
}
