//! What a route asks of a request before anything answers it, in this order:
//!
//! 1. [`networks`]: is the client's address let in? Else 403.
//! 2. [`cors`]: is it a browser that asks what a page may do? It is told.
//! 3. [`rate_limit`]: has the client asked too often? Then 429.
//! 4. [`basic_auth`]: has it signed in? Else 401.
//!
//! The limits come before the passwords, so that they hold for guesses, too.
//!
//! [`Policy::admit`] is the one place that decides, asked in [`admission`](super::admission). An answer
//! is kept ready only where [nothing](Policy::asks_nothing) is asked.

mod basic_auth;
mod buckets;
mod cors;
mod networks;
mod rate_limit;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use self::basic_auth::{Accounts, Credentials, Login, Passwords};
use self::cors::Cors;
use self::networks::Networks;
use self::rate_limit::{Limit, Limits};
use super::reply::{self, Answer};
use crate::config::{Config, Route};

/// The policies of one configuration.
pub(crate) struct Policies {
    /// By the route's index.
    routes: Vec<Policy>,
    /// In the order of their names.
    limits: Vec<Arc<Limit>>,
    passwords: Arc<Passwords>,
}

/// What one route asks.
pub(crate) struct Policy {
    networks: Networks,
    cors: Option<Cors>,
    limits: Limits,
    accounts: Option<Accounts>,
    asks_nothing: bool,
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

/// What was decided about a request. By default it goes on.
#[derive(Default)]
pub(crate) struct Verdict {
    /// The answer that ends the request here; `None` lets it on.
    pub(crate) refusal: Option<Box<Answer>>,
    /// What goes on the answer, whoever gives it.
    pub(crate) marks: Marks,
    /// Who has signed in before.
    pub(crate) user: Option<String>,
    /// A password that has to be checked before the request goes on.
    pub(crate) login: Option<Box<Login>>,
}

/// What policies do to the headers of one answer.
#[derive(Debug, Default)]
pub(crate) struct Marks(Vec<Mark>);

#[derive(Debug)]
enum Mark {
    Remove(HeaderName),
    /// In the place of others of its name.
    Set(HeaderName, HeaderValue),
    Append(HeaderName, HeaderValue),
}

impl Policies {
    /// Prepares the policies of `config`. Of those in force `before` it keeps the passwords that were
    /// right, and the buckets of each limit that stays as it is.
    pub(crate) fn new(config: &Config, before: Option<&Self>) -> Self {
        let known = |name: &str| before?.limits.iter().find(|limit| limit.name() == name);
        let limits: HashMap<&str, Arc<Limit>> = config
            .rate_limits
            .iter()
            .map(|(name, limit)| (name.as_str(), Limit::following(limit, known(name))))
            .collect();
        let passwords = match before {
            Some(before) => before.passwords.clone(),
            None => Arc::new(Passwords::new()),
        };
        let routes = config
            .routes
            .iter()
            .map(|route| Policy::new(route, &limits, &passwords))
            .collect();
        let mut limits: Vec<_> = limits.into_values().collect();
        limits.sort_by(|one, two| one.name().cmp(two.name()));
        Self {
            routes,
            limits,
            passwords,
        }
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
    fn new(route: &Route, limits: &HashMap<&str, Arc<Limit>>, passwords: &Arc<Passwords>) -> Self {
        let policy = &route.policy;
        Self {
            networks: Networks::new(&policy.allow, &policy.deny),
            cors: policy.cors.as_ref().map(Cors::new),
            limits: Limits::new(policy, limits),
            asks_nothing: policy.allow.is_empty()
                && policy.deny.is_empty()
                && policy.rate_limits.is_empty()
                && policy.cors.is_none()
                && policy.accounts.is_empty(),
            accounts: Accounts::new(&policy.accounts, &route.path.to_string(), passwords),
        }
    }

    /// Whether it lets everybody in and leaves every answer as it is.
    pub(crate) fn asks_nothing(&self) -> bool {
        self.asks_nothing
    }

    /// Decides about a request. What it lets on has taken its tokens, what it refuses has not. Where
    /// the verdict has a [`Login`], that has the last word.
    pub(crate) fn admit(&self, asked: &Asked<'_>) -> Verdict {
        let mut verdict = Verdict::default();
        if let Some(cors) = &self.cors {
            cors.mark(asked.headers, &mut verdict.marks);
        }
        verdict.refusal = self.refuse(asked, &mut verdict.marks);
        if let (None, Some(accounts)) = (&verdict.refusal, &self.accounts) {
            match accounts.look(asked.client, asked.headers) {
                Credentials::Known(user) => verdict.user = Some(user),
                Credentials::Unknown(login) => verdict.login = Some(login),
                Credentials::None => verdict.refusal = Some(accounts.ask()),
            }
        }
        verdict
    }

    fn refuse(&self, asked: &Asked<'_>, marks: &mut Marks) -> Option<Box<Answer>> {
        if !self.networks.let_in(asked.client) {
            return Some(reply::boxed(StatusCode::FORBIDDEN));
        }
        if let Some(cors) = &self.cors
            && let Some(preflight) = cors.preflight(asked)
        {
            return Some(preflight);
        }
        self.limits.admit(asked, marks)
    }
}

impl Marks {
    /// Puts the headers on `response`.
    pub(crate) fn apply(&self, response: &mut ResponseHeader) -> Result<()> {
        for mark in &self.0 {
            match mark {
                Mark::Remove(name) => {
                    response.remove_header(name);
                }
                Mark::Set(name, value) => response.insert_header(name, value)?,
                Mark::Append(name, value) => {
                    response.append_header(name, value)?;
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, name: HeaderName) {
        self.0.push(Mark::Remove(name));
    }

    fn set(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push(Mark::Set(name, value));
    }

    fn append(&mut self, name: HeaderName, value: HeaderValue) {
        self.0.push(Mark::Append(name, value));
    }
}
