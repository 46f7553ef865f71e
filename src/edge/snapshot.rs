//! The configuration as requests use it: one immutable value, prepared once and taken once per
//! request.
//!
//! Another configuration is another value. It is prepared beside the one in force, takes over from
//! that what is to live on (what is known of clients, passwords, servers and files), and changes
//! nothing about it: until it is swapped in, there is nothing to take back.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use pingora_core::connectors::http::Connector;
use pingora_core::listeners::tls::Acceptor;

use super::Tls;
use super::cache;
use super::compression::Encoders;
use super::files::StaticFiles;
use super::files::shelf::Shelf;
use super::fixed::{Redirect, Respond};
use super::freshness::Freshness;
use super::measure::{Measures, RouteCells};
use super::plain_http::Ports;
use super::policy::Policies;
use super::ready::ReadyAnswers;
use super::route::{PreparedRoute, Router};
use super::security_headers::GeneralHeaders;
use super::upstream::{Forward, Upstream};
use crate::certificates::acme::Challenges;
use crate::config::{Action, Compression, Config, Files, Route};

/// Everything a request needs to be answered.
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Config>,
    pub(crate) router: Router,
    /// What each route leads to, by the route's index.
    pub(crate) destinations: Vec<Destination>,
    /// Where each route's requests are counted, by the route's index.
    pub(super) cells: Vec<&'static RouteCells>,
    /// What each route says of its cache, by the route's index.
    caches: Vec<Option<cache::Plan>>,
    /// By name; what is known of their servers is shared by all routes.
    pub(crate) upstreams: BTreeMap<String, Arc<Upstream>>,
    pub(crate) policies: Policies,
    pub(crate) headers: Arc<GeneralHeaders>,
    pub(crate) encoders: Arc<Encoders>,
    /// The ports a redirect to HTTPS reckons with; `None` where there is none to make.
    pub(crate) redirect: Option<Ports>,
    /// What was answered before and would be answered so again.
    pub(super) ready: ReadyAnswers,
    /// Makes TLS connections; `None` where there are none.
    pub(super) acceptor: Option<Acceptor>,
    /// What a CA may ask for; `None` where certificates come from no CA.
    pub(super) challenges: Option<Arc<Challenges>>,
    shelf: Arc<Shelf>,
}

/// What a snapshot is made of beside the configuration.
pub(super) struct Surroundings<'a> {
    pub(super) redirect: Option<Ports>,
    /// Where requests are counted.
    pub(super) measures: &'a Measures,
    /// The snapshot in force, if there is one.
    pub(super) before: Option<&'a Snapshot>,
}

/// What answers a route's requests.
pub(crate) enum Destination {
    App,
    /// Files, and where what is none of them goes.
    Files(StaticFiles, Option<Forward>),
    Upstream(Forward),
    Redirect(Redirect),
    Respond(Respond),
}

impl Snapshot {
    /// Prepares `config`: opens directories, orders routes; takes over from the snapshot in force `before`.
    ///
    /// # Errors
    /// A directory that can't be opened, with the line of its route.
    pub(super) fn prepare(config: Arc<Config>, around: &Surroundings<'_>) -> anyhow::Result<Self> {
        let before = around.before;
        let compression = Arc::new(config.compression.clone());
        let shelf = match before {
            Some(before) => before.shelf.clone(),
            None => Shelf::new().context("cannot start the thread that watches static files")?,
        };
        let upstreams = upstreams(&config, before)?;
        let files = |files: &Files, compress| match before
            .and_then(|before| before.files_like(files, compress, &compression))
        {
            Some(same) => Ok(same),
            None => StaticFiles::open(files, compress, &compression, &shelf),
        };
        let destinations = config
            .routes
            .iter()
            .map(|route| {
                prepare(route, &upstreams, files).with_context(|| match route.line {
                    0 => "in a default route".to_owned(),
                    line => format!("in the route at line {line}"),
                })
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self {
            router: Router::new(&config),
            destinations,
            cells: config
                .routes
                .iter()
                .map(|route| around.measures.of_route(route))
                .collect(),
            caches: config.routes.iter().map(cache::Plan::of).collect(),
            upstreams,
            policies: Policies::new(&config, before.map(|before| &before.policies)),
            headers: Arc::new(GeneralHeaders::new(&config)),
            encoders: match before {
                Some(before) if before.config.compression == config.compression => {
                    before.encoders.clone()
                }
                _ => Arc::new(Encoders::new(
                    config.compression.clone(),
                    around.measures.compression.clone(),
                )),
            },
            redirect: around.redirect,
            // Anew: the same question may have another answer now.
            ready: ReadyAnswers::new(config.server.ready_answers),
            challenges: None,
            acceptor: None,
            shelf,
            config,
        })
    }

    /// Has its TLS listeners speak by means of `tls`.
    pub(super) fn speak(&mut self, tls: Option<Tls>) {
        self.challenges = tls.as_ref().and_then(|tls| tls.challenges.clone());
        self.acceptor = tls.map(|tls| Acceptor::from_server_config(tls.config));
    }

    /// The files of a route that has the same, with what is kept of them in memory.
    fn files_like(
        &self,
        files: &Files,
        compress: Option<bool>,
        compression: &Compression,
    ) -> Option<StaticFiles> {
        if self.config.compression != *compression {
            return None;
        }
        let mut routes = self.config.routes.iter().zip(&self.destinations);
        routes.find_map(|(route, destination)| match (&route.action, destination) {
            (Action::Files(known), Destination::Files(same, _))
                if known == files && route.compress == compress =>
            {
                Some(same.clone())
            }
            _ => None,
        })
    }

    /// Has the upstreams watch their servers. Must be called within a tokio runtime.
    pub(crate) fn keep_watch(&self) {
        // It reads the system's roots, which takes a while.
        let connector = LazyCell::new(|| Arc::new(Connector::new(None)));
        for upstream in self.upstreams.values() {
            upstream.keep_watch(|| connector.clone());
        }
    }

    /// Has the upstreams that `next` defines anew, or has no more, ask no more for health. Requests that
    /// have begun keep them alive, a WebSocket for days.
    pub(super) fn leave_checks_to(&self, next: &Self) {
        for (name, upstream) in &self.upstreams {
            let stays = next.upstreams.get(name);
            if !stays.is_some_and(|same| Arc::ptr_eq(same, upstream)) {
                upstream.end_checks();
            }
        }
    }

    /// Where the requests of `route` go that are not answered here.
    pub(crate) fn forward(&self, route: Option<&PreparedRoute>) -> Option<&Forward> {
        match &self.destinations[route?.index()] {
            Destination::Upstream(forward) | Destination::Files(_, Some(forward)) => Some(forward),
            _ => None,
        }
    }

    /// Where the requests of `route` are counted.
    pub(super) fn cells(&self, route: &PreparedRoute) -> &'static RouteCells {
        self.cells[route.index()]
    }

    /// The path of the first route that is counted in `cells`.
    pub(super) fn path_of(&self, cells: &'static RouteCells) -> Option<String> {
        let place = self
            .cells
            .iter()
            .position(|own| std::ptr::eq(*own, cells))?;
        Some(self.config.routes[place].path.to_string())
    }

    /// What `route` says of its cache.
    pub(crate) fn cache(&self, route: Option<&PreparedRoute>) -> Option<&cache::Plan> {
        self.caches[route?.index()].as_ref()
    }
}

fn upstreams(
    config: &Config,
    before: Option<&Snapshot>,
) -> anyhow::Result<BTreeMap<String, Arc<Upstream>>> {
    let each = config.upstreams.iter().map(|(name, upstream)| {
        let known = before.and_then(|before| before.upstreams.get(name));
        let upstream = Upstream::following(upstream, known);
        let upstream = upstream.map_err(|error| anyhow!("upstream {name}: {error}"))?;
        Ok((name.clone(), upstream))
    });
    each.collect()
}

fn prepare(
    route: &Route,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
    open: impl Fn(&Files, Option<bool>) -> anyhow::Result<StaticFiles>,
) -> anyhow::Result<Destination> {
    if let Some(directory) = route.lacking() {
        tracing::warn!(
            "no files are served at {}: there is no {}",
            route.path,
            directory.display()
        );
        return Ok(Destination::Respond(Respond::not_found()));
    }
    Ok(match &route.action {
        Action::App => Destination::App,
        Action::Files(files) => {
            let fallback = route.fallback.as_ref();
            let fallback = fallback.map(|it| Forward::new(upstreams[&it.name].clone(), None));
            Destination::Files(open(files, route.compress)?, fallback)
        }
        Action::Upstream {
            upstream,
            strip_prefix,
            cache: _,
        } => {
            // A route's upstream is one of the configuration's.
            let upstream = upstreams[&upstream.name].clone();
            Destination::Upstream(Forward::new(upstream, strip_prefix.as_deref()))
        }
        Action::Redirect { to, status } => Destination::Redirect(Redirect {
            to: to.clone(),
            status: *status,
            freshness: Freshness::until_ended(),
        }),
        Action::Respond {
            status,
            body,
            content_type,
        } => Destination::Respond(Respond {
            status: *status,
            body: Bytes::from(body.clone()),
            content_type: content_type.clone(),
            freshness: Freshness::until_ended(),
        }),
    })
}
