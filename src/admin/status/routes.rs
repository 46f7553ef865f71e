//! What the status says of routes and their requests.

use serde::{Deserialize, Serialize};

use crate::admin::sampler::traffic::{RouteTraffic, Traffic, Unrouted};
use crate::config::{self, Action, Config, Mask};

/// Requests of all routes together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AllTraffic {
    /// Since the process started.
    pub since_start: Traffic,
    /// Of the last minute or a little more.
    pub last_minute: Traffic,
    /// Requests that came to no route, and are in neither of these.
    pub unrouted: Unrouted,
}

/// One route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// The host it is limited to.
    pub host: Option<String>,
    /// The path it matches, as the configuration writes it.
    pub path: String,
    /// What it does: `app`, `health`, `files DIRECTORY`, `upstream NAME`, `redirect TARGET`, `respond STATUS`.
    pub action: String,
    /// Its requests since the process started. Routes that are written the same count together.
    #[serde(default)]
    pub since_start: Traffic,
    /// Those of the last minute or a little more.
    #[serde(default)]
    pub last_minute: Traffic,
}

pub(super) fn routes(config: &Config, traffic: &[RouteTraffic]) -> Vec<Route> {
    let told = |route: &config::Route| {
        let mut told = Route::new(route, &config.log.mask);
        let host = told.host.as_deref().unwrap_or_default();
        let label = format!("{host}{}", told.path);
        if let Some(found) = traffic.iter().find(|found| found.label == label) {
            told.since_start = found.since_start.clone();
            told.last_minute = found.last_minute.clone();
        }
        told
    };
    config.routes.iter().map(told).collect()
}

impl Route {
    fn new(route: &config::Route, mask: &Mask) -> Self {
        Self {
            host: route.host.as_ref().map(ToString::to_string),
            path: route.path.to_string(),
            action: match &route.action {
                // Whoever it is that answers there.
                Action::App if !route.needs_database() => "health".to_owned(),
                Action::App => "app".to_owned(),
                Action::Files(files) => match &route.fallback {
                    None => format!("files {}", files.root.display()),
                    Some(upstream) => {
                        let files = files.root.display();
                        format!("files {files}, else upstream {}", upstream.name)
                    }
                },
                Action::Upstream { upstream, .. } => format!("upstream {}", upstream.name),
                Action::Redirect { to, .. } => format!("redirect {}", mask.covered(to)),
                Action::Respond { status, .. } => format!("respond {}", status.as_u16()),
            },
            since_start: Traffic::default(),
            last_minute: Traffic::default(),
        }
    }
}
