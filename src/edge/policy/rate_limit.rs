//! How often a client may ask: `[[rate_limit]]`.
//!
//! A request that is let on takes a token of each of its route's limits; one that is refused takes
//! none. Answers tell what is left, as draft-ietf-httpapi-ratelimit-headers-10 writes it:
//! `RateLimit-Policy` the size of the bucket (`q`) and the seconds that fill it (`w`), `RateLimit` the
//! requests left (`r`) and the seconds until the bucket is full (`t`).

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

use super::buckets::{Buckets, Level, Owner};
use super::{Asked, Marks};
use crate::config::{LimitKey, RateLimit, RoutePolicy};
use crate::edge::client_address::network_key;
use crate::edge::reply::{self, Answer};

pub(super) const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
pub(super) const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// Where a CA looks for a proof (RFC 8555, section 8.3).
const ACME_PATH: &str = "/.well-known/acme-challenge/";

/// One `[[rate_limit]]` and the clients it knows.
pub(super) struct Limit {
    config: Arc<RateLimit>,
    buckets: Buckets,
    /// Shared with the limits of this name before, so that the count only grows.
    refused: Arc<AtomicU64>,
}

/// The limits of one route.
pub(super) struct Limits {
    each: Vec<Arc<Limit>>,
    /// Methods that count; empty counts all.
    methods: Vec<Method>,
    /// `RateLimit-Policy` of every answer.
    policy: HeaderValue,
}

/// What tells clients apart.
#[derive(Hash)]
enum Key<'a> {
    Network(IpAddr),
    Token(&'a [u8]),
    /// All lines of a header.
    Header(Vec<&'a [u8]>),
}

impl Limit {
    /// The limit that `config` defines: the one `before` with all that it knows of clients, if
    /// nothing else was defined there.
    pub(super) fn following(config: &Arc<RateLimit>, before: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(before) = before
            && before.config == *config
        {
            return before.clone();
        }
        Arc::new(Self {
            buckets: Buckets::new(config.rate.interval(), config.burst),
            refused: before
                .map(|before| before.refused.clone())
                .unwrap_or_default(),
            config: config.clone(),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    /// Requests refused so far.
    pub(super) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn owner(&self, asked: &Asked<'_>) -> Owner {
        let key = match &self.config.key {
            LimitKey::Ip => None,
            LimitKey::Token => bearer_token(asked.headers).map(Key::Token),
            LimitKey::Header(name) => {
                let lines = asked.headers.get_all(name).iter();
                let lines: Vec<_> = lines.map(HeaderValue::as_bytes).collect();
                (!lines.is_empty()).then_some(Key::Header(lines))
            }
        };
        let key = key.unwrap_or_else(|| Key::Network(network_key(asked.client)));
        self.buckets.owner(key)
    }
}

impl Limits {
    pub(super) fn new(policy: &RoutePolicy, known: &HashMap<&str, Arc<Limit>>) -> Self {
        let mut shown = String::new();
        for limit in &policy.rate_limits {
            let window = seconds(limit.rate.interval().saturating_mul(limit.burst));
            list_item(&mut shown, &limit.name);
            let _ = write!(shown, ";q={};w={window}", limit.burst);
        }
        Self {
            // Every limit of a route stands in the configuration as well.
            each: policy
                .rate_limits
                .iter()
                .map(|limit| known[limit.name.as_str()].clone())
                .collect(),
            methods: policy.methods.clone(),
            policy: header_value(shown),
        }
    }

    /// Takes a token of each limit, or of none and refuses.
    pub(super) fn admit(&self, asked: &Asked<'_>, marks: &mut Marks) -> Option<Box<Answer>> {
        if !self.apply_to(asked) {
            return None;
        }
        // Looked at before any is taken from: what is refused must cost nothing. Between the two
        // somebody else may take the last token, and then one token of another limit is lost.
        let mut remaining = String::with_capacity(40);
        let mut wait = Duration::ZERO;
        let mut clients = Vec::with_capacity(self.each.len());
        for limit in &self.each {
            let (owner, now) = (limit.owner(asked), limit.buckets.now());
            let level = limit.buckets.look(owner, now);
            limit.note(level, &mut wait);
            clients.push((limit, owner, now));
        }
        for (limit, owner, now) in clients {
            let level = if wait.is_zero() {
                let taken = limit.buckets.take(owner, now);
                taken.unwrap_or_else(|level| {
                    limit.note(level, &mut wait);
                    level
                })
            } else {
                limit.buckets.look(owner, now)
            };
            list_item(&mut remaining, limit.name());
            let full_in = seconds(level.full_in);
            let _ = write!(remaining, ";r={};t={full_in}", level.tokens);
        }
        marks.set(RATE_LIMIT_POLICY, self.policy.clone());
        marks.set(RATE_LIMIT, header_value(remaining));
        (!wait.is_zero()).then(|| {
            let mut answer = reply::boxed(StatusCode::TOO_MANY_REQUESTS);
            let wait = HeaderValue::from(seconds(wait));
            answer.headers_mut().insert(header::RETRY_AFTER, wait);
            answer
        })
    }

    fn apply_to(&self, asked: &Asked<'_>) -> bool {
        let method = match *asked.method {
            Method::HEAD => &Method::GET,
            _ => asked.method,
        };
        let counts = self.methods.is_empty() || self.methods.contains(method);
        !self.each.is_empty() && counts && !is_a_cas(asked)
    }
}

impl Limit {
    /// Counts a refusal where there is no token, and the longest wait.
    fn note(&self, level: Level, wait: &mut Duration) {
        if !level.next_in.is_zero() {
            self.refused.fetch_add(1, Ordering::Relaxed);
            *wait = level.next_in.max(*wait);
        }
    }
}

/// Whether a CA may be asking for a proof.
///
/// SECURITY: nothing but a token may follow the path, or `/../` behind it would lead past the limits
/// of an upstream that resolves it.
fn is_a_cas(asked: &Asked<'_>) -> bool {
    let is_token = |token: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        !token.is_empty() && token.bytes().all(inside)
    };
    matches!(*asked.method, Method::GET | Method::HEAD)
        && asked.path.strip_prefix(ACME_PATH).is_some_and(is_token)
}

/// The token of `Authorization: Bearer …` (RFC 6750, section 2.1).
fn bearer_token(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(token)
}

/// Begins the next member of a list of strings (RFC 9651, sections 3.1 and 3.3.3); names need no
/// escaping.
fn list_item(list: &mut String, name: &str) {
    if !list.is_empty() {
        list.push_str(", ");
    }
    let _ = write!(list, "\"{name}\"");
}

/// Whole seconds, the last one begun counting as one.
fn seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("names and numbers are visible ASCII")
}
