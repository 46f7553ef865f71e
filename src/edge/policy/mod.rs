//! What a route asks of a request before anything answers it, in this order:
//!
//! 1. [`networks`]: is the client's address let in? Else 403.
//! 2. [`rate_limit`]: has the client asked too often? Then 429.
//!
//! [`Policy::admit`] is the one place that decides; the normal way asks it in
//! [`admission`](super::admission), and whoever answers past that way asks
//! [`Policy::admit_ready`] first.

mod buckets;
mod networks;
mod rate_limit;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use self::networks::Networks;
use self::rate_limit::{Limit, Limits};
use super::reply::{self, Answer};
use crate::config::{Config, RoutePolicy};

/// Headers that belong to one answer alone: a recording of an answer leaves them out.
#[expect(dead_code, reason = "no answer is recorded yet")]
pub(crate) const PER_REQUEST: [HeaderName; 2] =
    [rate_limit::RATE_LIMIT, rate_limit::RATE_LIMIT_POLICY];

/// The policies of one configuration.
pub(crate) struct Policies {
    /// By the route's index.
    routes: Vec<Policy>,
    /// In the order of their names.
    limits: Vec<Arc<Limit>>,
}

/// What one route asks.
pub(crate) struct Policy {
    networks: Networks,
    limits: Limits,
}

/// What policies judge a request by.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    /// The client's address, as `client_address` has found it.
    pub(crate) client: IpAddr,
    pub(crate) method: &'a Method,
    /// The path as it was sent.
    pub(crate) path: &'a str,
    pub(crate) headers: &'a HeaderMap,
}

/// What was decided about a request.
pub(crate) struct Verdict {
    /// The answer that ends the request here; `None` lets it on.
    pub(crate) refusal: Option<Box<Answer>>,
    /// What goes on the answer, whoever gives it.
    pub(crate) marks: Marks,
}

/// Headers that policies put on one answer.
#[derive(Debug, Default)]
pub(crate) struct Marks(Vec<(HeaderName, HeaderValue)>);

impl Policies {
    /// Prepares the policies of `config`.
    pub(crate) fn new(config: &Config) -> Self {
        let limits: HashMap<&str, Arc<Limit>> = config
            .rate_limits
            .iter()
            .map(|(name, limit)| (name.as_str(), Arc::new(Limit::new(limit.clone()))))
            .collect();
        let routes = config
            .routes
            .iter()
            .map(|route| Policy::new(&route.policy, &limits))
            .collect();
        let mut limits: Vec<_> = limits.into_values().collect();
        limits.sort_by(|one, two| one.name().cmp(two.name()));
        Self { routes, limits }
    }

    /// The policy of the route at `index`.
    pub(crate) fn of(&self, index: usize) -> &Policy {
        &self.routes[index]
    }

    /// How many requests each rate limit has refused, by its name.
    pub(crate) fn refused_by_limits(&self) -> impl Iterator<Item = (&str, u64)> {
        self.limits
            .iter()
            .map(|limit| (limit.name(), limit.refused()))
    }
}

impl Policy {
    fn new(policy: &RoutePolicy, limits: &HashMap<&str, Arc<Limit>>) -> Self {
        Self {
            networks: Networks::new(&policy.allow, &policy.deny),
            limits: Limits::new(policy, limits),
        }
    }

    /// Decides about a request. What it lets on has taken its tokens, what it refuses has not.
    pub(crate) fn admit(&self, asked: &Asked<'_>) -> Verdict {
        if !self.networks.let_in(asked.client) {
            return Verdict::refused(reply::boxed(StatusCode::FORBIDDEN));
        }
        self.limits.admit(asked)
    }

    /// Decides about a request for which an answer lies ready: what goes on that answer, or `None`
    /// where only the normal way can tell. Then nothing has been counted, and that way decides anew.
    #[expect(dead_code, reason = "every answer still goes the normal way")]
    pub(crate) fn admit_ready(&self, asked: &Asked<'_>) -> Option<Marks> {
        let open = self.networks.let_in(asked.client) && self.limits.would_admit(asked);
        let verdict = open.then(|| self.limits.admit(asked))?;
        verdict.refusal.is_none().then_some(verdict.marks)
    }
}

impl Verdict {
    fn admitted() -> Self {
        Self {
            refusal: None,
            marks: Marks::default(),
        }
    }

    fn refused(answer: Box<Answer>) -> Self {
        Self {
            refusal: Some(answer),
            marks: Marks::default(),
        }
    }
}

impl Marks {
    /// The headers, each to be set in the place of others of its name.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// Puts the headers on `response`.
    pub(crate) fn apply(&self, response: &mut ResponseHeader) -> Result<()> {
        for (name, value) in self.iter() {
            response.insert_header(name, value)?;
        }
        Ok(())
    }
}
