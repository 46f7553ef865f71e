//! Answers of upstreams that are given again: a shared cache (RFC 9111) for routes with `cache`.
//!
//! `pingora-cache` drives it: it looks, waits, asks, confirms, and gives what is stale. What it
//! leaves open stands here:
//!
//! 1. [`look`]: the phases of one request, called by [`proxy`](super::proxy).
//! 2. [`asking`]: is it one for the cache? [`wanted`]: what is asked for, and what an upstream isn't
//!    told because it is no part of that.
//! 3. [`rules`]: may an answer be kept, for whom and how long? [`control`] reads `Cache-Control`,
//!    [`heads`] says what of a head is kept.
//! 4. [`store`]: where answers are kept ([`stored`]), in bounded memory; [`fill`] brings them there,
//!    [`storage`] shows it to Pingora.
//! 5. [`refused`]: what could not be kept last time, so that nobody waits for it; [`outcome`]: what
//!    became of each request.
//!
//! A fresh answer that nothing selects but what a [ready](super::ready) one is selected by becomes
//! one: then the door gives it, and its age goes on there.

mod asking;
mod control;
mod fill;
mod heads;
mod look;
mod outcome;
mod refused;
mod rules;
mod storage;
mod store;
mod stored;
mod wanted;

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use pingora_cache::lock::CacheLock;
use pingora_cache::{CacheKey, CacheOptionOverrides};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

pub(crate) use self::look::{Look, begin, invalidate, part};
pub(crate) use self::outcome::Outcome;
use self::outcome::Tally;
use self::refused::Refused;
use self::store::Store;
use super::host_name::HostName;
use crate::config::{Action, Route};

/// How long requests wait for one that asks the upstream, before another of them does.
const ONE_ASKS: Duration = Duration::from_secs(5);
/// How long a request waits for others in all, before it asks for itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many others it waits for.
const TURNS: usize = 4;

/// The answers kept by one edge. They outlive its configurations.
pub(crate) struct Cache {
    store: Store,
    /// Who asks the upstream while others wait.
    asking: CacheLock,
    refused: Refused,
    tally: Tally,
}

/// What a route says of its cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    ttl: Option<Duration>,
    max_size: u64,
    ignore_cookies: bool,
    /// Tells the route's answers from those of routes that do something else.
    site: u64,
}

/// A handle on the answers that are kept, for the owner.
#[derive(Clone, Copy)]
pub struct CachedAnswers(&'static Cache);

/// Figures of the answers that are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheFigures {
    /// How often each has become of a request, by its name in lower case.
    pub requests: Vec<(String, u64)>,
    /// Answers kept.
    pub entries: usize,
    /// Bytes of memory that they take.
    pub bytes: usize,
    /// Answers that had to go for others.
    pub evictions: u64,
}

/// Which answers are to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Of this host, whatever its port; `None` of any.
    pub host: Option<String>,
    /// And of this path.
    pub path: PurgedPath,
}

/// Which paths a [`Purge`] is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgedPath {
    /// All.
    Any,
    /// This one, with its query, as clients write it.
    Exactly(String),
    /// All that begin with this text.
    Prefix(String),
}

impl Cache {
    /// An empty one, for requests on `threads` at once. Pingora wants to know it for as long as the
    /// process lives, so it does.
    pub(super) fn forever(threads: usize) -> &'static Self {
        Box::leak(Box::new(Self {
            store: Store::default(),
            asking: CacheLock::new(ONE_ASKS),
            refused: Refused::none(),
            tally: Tally::new(threads),
        }))
    }

    fn enable_for(&'static self, session: &mut Session) {
        let mut options = CacheOptionOverrides::default();
        options.wait_timeout = Some(PATIENCE);
        options.max_lock_retries = Some(TURNS);
        session
            .cache
            .enable(self, None, Some(self), Some(self), Some(options));
    }

    /// The key of a request whose cache is enabled.
    pub(super) fn key(&self, look: Option<&Look>) -> Result<CacheKey> {
        let wanted = look.and_then(Look::wanted);
        let key = wanted.map(|wanted| self.key_of(wanted));
        key.ok_or_else(|| Error::explain(ErrorType::InternalError, "nobody has asked the cache"))
    }

    /// Counts what became of a request.
    pub(super) fn note(&self, outcome: Outcome) {
        self.tally.add(outcome);
    }

    pub(super) fn handle(&'static self) -> CachedAnswers {
        CachedAnswers(self)
    }
}

impl Plan {
    /// Of `route`, if it has a cache.
    pub(super) fn of(route: &Route) -> Option<Self> {
        let Action::Upstream {
            upstream,
            strip_prefix,
            cache: Some(cache),
        } = &route.action
        else {
            return None;
        };
        let mut hasher = DefaultHasher::new();
        (&upstream.name, &upstream.host, strip_prefix, &route.rewrite).hash(&mut hasher);
        let headers = &route.request_headers;
        (&headers.set, &headers.remove, headers.forwarded).hash(&mut hasher);
        Some(Self {
            ttl: cache.ttl,
            max_size: cache.max_size,
            ignore_cookies: cache.ignore_cookies,
            site: hasher.finish(),
        })
    }
}

impl CachedAnswers {
    /// What there is to tell of them.
    #[must_use]
    pub fn figures(self) -> CacheFigures {
        let (entries, bytes, evictions) = self.0.store.figures();
        let requests = Outcome::ALL.map(|outcome| {
            let name = outcome.as_str().to_ascii_lowercase();
            (name, self.0.tally.of(outcome))
        });
        CacheFigures {
            requests: requests.into(),
            entries,
            bytes,
            evictions,
        }
    }

    /// Lets go of the answers that are meant, over HTTP and HTTPS and in all their forms, and has
    /// none of them come back that an upstream is just sending. Returns how many there were.
    #[must_use]
    pub fn purge(self, purge: &Purge) -> usize {
        let host = purge.host.as_deref().map(str::to_ascii_lowercase);
        // A host that is none is nobody's.
        let host = host.as_deref().map(|host| match HostName::parse(host) {
            Ok(host) => host.name,
            Err(_) => host.into(),
        });
        self.0.store.purge(|key| {
            host.as_deref().is_none_or(|host| host == &*key.host)
                && match &purge.path {
                    PurgedPath::Any => true,
                    PurgedPath::Exactly(path) => *path == *key.target,
                    PurgedPath::Prefix(path) => key.target.starts_with(path.as_str()),
                }
        })
    }
}
