//! The configuration as requests use it: one immutable value, prepared once and taken once per
//! request.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use pingora_core::connectors::http::Connector;

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
use crate::config::{Action, Compression, Config, Route};

/// Everything a request needs to be answered.
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Config>,
    pub(crate) router: Router,
    /// What each route leads to, by the route's index.
    pub(crate) destinations: Vec<Destination>,
    /// Where each route's requests are counted, by the route's index.
    pub(super) cells: Vec<&'static RouteCells>,
    /// By name; what is known of their servers is shared by all routes.
    pub(crate) upstreams: BTreeMap<String, Arc<Upstream>>,
    pub(crate) policies: Policies,
    pub(crate) headers: Arc<GeneralHeaders>,
    pub(crate) encoders: Arc<Encoders>,
    /// The ports a redirect to HTTPS reckons with; `None` where there is none to make.
    pub(crate) redirect: Option<Ports>,
    /// What was answered before and would be answered so again.
    pub(super) ready: ReadyAnswers,
    closing: Arc<AtomicBool>,
}

/// What answers a route's requests.
pub(crate) enum Destination {
    App,
    Files(StaticFiles),
    Upstream(Forward),
    Redirect(Redirect),
    Respond(Respond),
}

impl Snapshot {
    /// Prepares `config`: opens directories, orders routes.
    ///
    /// # Errors
    /// A directory that can't be opened, with the line of its route.
    pub(crate) fn prepare(
        config: Arc<Config>,
        redirect: Option<Ports>,
        closing: Arc<AtomicBool>,
        measures: &Measures,
    ) -> anyhow::Result<Self> {
        let compression = Arc::new(config.compression.clone());
        let shelf = Shelf::new().context("cannot start the thread that watches static files")?;
        let upstreams = upstreams(&config)?;
        let destinations = config
            .routes
            .iter()
            .map(|route| {
                prepare(route, &compression, &shelf, &upstreams).with_context(|| match route.line {
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
                .map(|route| measures.of_route(route))
                .collect(),
            upstreams,
            policies: Policies::new(&config),
            headers: Arc::new(GeneralHeaders::new(&config)),
            encoders: Arc::new(Encoders::new(
                config.compression.clone(),
                measures.compression.clone(),
            )),
            redirect,
            ready: ReadyAnswers::new(config.server.ready_answers),
            closing,
            config,
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

    /// What answers the requests of `route`.
    pub(crate) fn destination(&self, route: Option<&PreparedRoute>) -> Option<&Destination> {
        route.map(|route| &self.destinations[route.index()])
    }

    /// Where the requests of `route` are counted.
    pub(super) fn cells(&self, route: &PreparedRoute) -> &'static RouteCells {
        self.cells[route.index()]
    }

    /// Whether connections are to end with the answer they are waiting for.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }
}

fn upstreams(config: &Config) -> anyhow::Result<BTreeMap<String, Arc<Upstream>>> {
    let each = config.upstreams.iter().map(|(name, upstream)| {
        let upstream = Upstream::new(upstream.clone());
        let upstream = upstream.map_err(|error| anyhow!("upstream {name}: {error}"))?;
        Ok((name.clone(), upstream))
    });
    each.collect()
}

fn prepare(
    route: &Route,
    compression: &Arc<Compression>,
    shelf: &Arc<Shelf>,
    upstreams: &BTreeMap<String, Arc<Upstream>>,
) -> anyhow::Result<Destination> {
    Ok(match &route.action {
        Action::App => Destination::App,
        // Nobody named this directory, and the app works without it.
        Action::Files(files) if route.line == 0 && !files.root.exists() => {
            tracing::warn!(
                "no files are served at {}: there is no {}",
                route.path,
                files.root.display()
            );
            Destination::Respond(Respond::not_found())
        }
        Action::Files(files) => Destination::Files(StaticFiles::open(
            files,
            route.compress,
            compression,
            shelf,
        )?),
        Action::Upstream {
            upstream,
            strip_prefix,
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
