//! Forwarding to servers of the user's own.
//!
//! Pingora connects, keeps connections and moves the bytes. Here stands, in the order a request
//! meets it, what it can't know:
//! 1. [`forward`]: what the route changes about the request.
//! 2. [`balance`]: which [`endpoint`] is asked, and [`peer`]: how that is reached;
//!    [`patience`] is for WebSocket and event streams.
//! 3. [`tries`]: what came of it, and whether another is asked.
//! 4. [`hop_by_hop`]: what of the answer is not for the client, or [`failure`]: what it gets instead.
//!
//! Meanwhile [`names`] are looked up, and [`health`] asks the servers how they are. What is known of
//! servers outlives a change of the configuration ([`past`]).

mod balance;
mod endpoint;
mod failure;
mod forward;
mod health;
mod hop_by_hop;
mod lookup;
mod names;
mod past;
mod patience;
mod peer;
mod tries;

use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use http::HeaderValue;
use parking_lot::Mutex;
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorType, Result};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::balance::Endpoints;
use self::endpoint::Endpoint;
pub use self::endpoint::{Condition, Facts};
pub(crate) use self::failure::{Told, status_of};
pub(crate) use self::forward::Forward;
pub(crate) use self::hop_by_hop::remove_hop_by_hop;
use self::past::Past;
use self::peer::Peers;
pub(crate) use self::peer::Wish;
pub(crate) use self::tries::{Sent, Tries, Try};
use super::event_stream::EventStream;
use crate::config;

/// The servers of one `[[upstream]]`, shared by all its routes.
pub(crate) struct Upstream {
    config: Arc<config::Upstream>,
    peers: Peers,
    endpoints: ArcSwap<Endpoints>,
    turn: AtomicUsize,
    /// Whether there is no need to wait for names: an address is known, or all were looked up.
    looked_up: watch::Sender<bool>,
    /// The servers whose last look-up failed, and why.
    troubles: ArcSwap<Vec<names::Trouble>>,
    /// Told that an address is not what it was.
    moved: Arc<Notify>,
    /// What looks names up; it ends with the upstream.
    lookups: OnceLock<JoinSet<()>>,
    /// What asks for health; it ends with the upstream, or [before](Self::end_checks).
    checks: Mutex<JoinSet<()>>,
}

impl Upstream {
    /// The upstream that `config` defines: the one `before`, if nothing else was defined there; else
    /// with what is known of the servers that stay.
    ///
    /// # Errors
    /// A socket's path that the system can't take.
    pub(crate) fn following(
        config: &Arc<config::Upstream>,
        before: Option<&Arc<Self>>,
    ) -> Result<Arc<Self>> {
        if let Some(before) = before
            && before.config == *config
        {
            return Ok(before.clone());
        }
        let peers = Peers::new(config);
        let past = Past::of(before, config);
        let found = past.found();
        let endpoints = names::endpoints(config, &peers, &found, |place, peer| {
            past.endpoint(place, peer)
        })?;
        let names = names::names(config);
        let is_known = |(place, ..): &(usize, _, _)| !found[*place].is_empty();
        Ok(Arc::new(Self {
            looked_up: watch::Sender::new(names.iter().all(is_known)),
            peers,
            endpoints: ArcSwap::from_pointee(endpoints),
            turn: AtomicUsize::new(0),
            troubles: ArcSwap::default(),
            moved: Arc::new(Notify::new()),
            lookups: OnceLock::new(),
            checks: Mutex::default(),
            config: config.clone(),
        }))
    }

    /// Looks names up and asks for health from now on, until the upstream is dropped; called again,
    /// it changes nothing. Must be called within a tokio runtime. `connector` makes the connections
    /// of health checks.
    pub(crate) fn keep_watch(self: &Arc<Self>, connector: impl FnOnce() -> Arc<Connector>) {
        self.lookups.get_or_init(|| {
            let mut lookups = JoinSet::new();
            if !names::names(&self.config).is_empty() {
                lookups.spawn(names::keep_looking(Arc::downgrade(self)));
            }
            lookups
        });
        let mut checks = self.checks.lock();
        if self.config.health.is_some() && checks.is_empty() {
            checks.spawn(health::keep_asking(Arc::downgrade(self), connector()));
        }
    }

    /// Asks for health no more: another upstream shares what is known of the servers, and asks them in
    /// its own way. Names are looked up on: requests that have begun may still be sent elsewhere.
    pub(crate) fn end_checks(&self) {
        drop(std::mem::take(&mut *self.checks.lock()));
    }

    /// Where its servers are, as far as that is known.
    fn found(&self) -> Vec<names::Found> {
        let mut found = names::written(&self.config);
        for (place, ..) in names::names(&self.config) {
            let endpoints = self.endpoints.load();
            let of_server = endpoints.all.iter().filter(|each| each.server == place);
            let addresses = of_server.filter_map(|each| each.address().as_inet().copied());
            found[place] = addresses.collect();
        }
        found
    }

    /// The next server to ask, other than those that were, noted in `tries`.
    ///
    /// # Errors
    /// No server is known, or no other.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        tries: &mut Tries,
        client: IpAddr,
        wish: Wish,
        events: Option<&Arc<EventStream>>,
    ) -> Result<Box<HttpPeer>> {
        if self.endpoints.load().all.is_empty() {
            self.wait_for_names().await;
        }
        let endpoints = self.endpoints.load();
        let again = AtomicUsize::new(self.turn.load(Ordering::Relaxed));
        // A second try is out of turn, or servers that fail would always be followed by the same.
        let turn = if tries.are_none() { &self.turn } else { &again };
        let balance = self.config.balance;
        let endpoint = endpoints.choose(balance, turn, client, |each| tries.include(each));
        let Some(endpoint) = endpoint else {
            return self.nobody();
        };
        let (peer, flag) = self.peers.to_ask(&endpoint.peer, wish, events);
        tries.begin(self, endpoint, flag);
        Ok(peer)
    }

    /// `Host` in place of the client's.
    fn host(&self) -> Option<&HeaderValue> {
        self.config.host.as_ref()
    }

    /// What is known of each server, and why nothing is of those whose names were looked up in vain.
    pub(crate) fn facts(&self) -> Vec<Facts> {
        let (endpoints, troubles) = (self.endpoints.load(), self.troubles.load());
        let known = endpoints.all.iter().map(|each| (each.server, each.facts()));
        let unknown = troubles
            .iter()
            .filter(|trouble| !endpoints.knows(trouble.place))
            .map(|trouble| (trouble.place, trouble.facts()));
        let mut facts: Vec<_> = known.chain(unknown).collect();
        facts.sort_by_key(|(place, _)| *place);
        facts.into_iter().map(|(_, facts)| facts).collect()
    }

    fn has_other_than(&self, tries: &Tries) -> bool {
        let endpoints = self.endpoints.load();
        endpoints.all.iter().any(|each| !tries.include(each))
    }

    fn succeeded(&self, endpoint: &Endpoint) {
        if endpoint.succeeded() {
            let (upstream, server) = (&self.config.name, &endpoint.label);
            tracing::info!(upstream, server, "back again: it gets requests");
        }
    }

    fn failed(&self, endpoint: &Endpoint, error: &Error) {
        // We are out of sockets or the like: the server has done nothing.
        if *error.etype() == ErrorType::InternalError {
            return;
        }
        self.moved.notify_one();
        if endpoint.failed(self.config.eject_after, self.config.eject_for) {
            let (upstream, server) = (&self.config.name, &endpoint.label);
            let error = Told(error);
            tracing::warn!(
                upstream, server, %error, eject_for = ?self.config.eject_for,
                "ejected: it has failed too often and gets no requests for now"
            );
        }
    }

    async fn wait_for_names(&self) {
        let mut looked_up = self.looked_up.subscribe();
        // Nobody there after that time is nobody there.
        let waited = looked_up.wait_for(|looked_up| *looked_up);
        let _ = timeout(self.config.connect_timeout, waited).await;
    }

    fn replace(&self, found: &[names::Found]) {
        let before = self.endpoints.load();
        let known = names::known_in(&before);
        match names::endpoints(&self.config, &self.peers, found, known) {
            Ok(endpoints) => self.endpoints.store(Arc::new(endpoints)),
            Err(error) => tracing::error!(upstream = self.config.name, %error, "no endpoints"),
        }
    }

    /// A name was looked up; `troubles` is what went wrong with any, `all` whether each was once.
    fn looked_up(&self, troubles: Vec<names::Trouble>, all: bool) {
        let (before, endpoints) = (self.troubles.load(), self.endpoints.load());
        let upstream = &self.config.name;
        for trouble in troubles.iter().filter(|trouble| !before.contains(trouble)) {
            let reason = &trouble.reason;
            if endpoints.knows(trouble.place) {
                tracing::warn!(upstream, reason, "the last known addresses are used");
            } else {
                tracing::warn!(
                    upstream,
                    reason,
                    "no address is known: no request goes there"
                );
            }
        }
        self.troubles.store(Arc::new(troubles));
        if all || !self.endpoints.load().all.is_empty() {
            self.looked_up.send_replace(true);
        }
    }

    fn nobody<T>(&self) -> Result<T> {
        self.moved.notify_one();
        let reason = match self.troubles.load().first() {
            Some(trouble) => trouble.reason.clone(),
            None => "no server left to ask".to_owned(),
        };
        let reason = format!("upstream {}: {reason}", self.config.name);
        Err(Error::explain(ErrorType::ConnectError, reason).into_up())
    }
}
