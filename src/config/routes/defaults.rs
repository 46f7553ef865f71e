//! Routes that are there without being written.

use std::path::Path;

use http::HeaderValue;

use super::{Action, Files, Route};
use crate::config::{HostPattern, PathPattern};

/// What is always the app's unless a route says otherwise: `unibody healthcheck` and load balancers
/// ask there.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// The notes app. Its directories are not checked: nobody named them, and without them there is a
/// 404 and the API.
pub(super) fn notes_app(dir: &Path) -> Vec<Route> {
    let files = |path: &str, root: &str, cache_control| {
        let files = Files {
            root: dir.join(root),
            spa: None,
            cache_control,
            immutable: false,
        };
        Route::new(
            None,
            PathPattern::Prefix(path.to_owned()),
            Action::Files(files),
        )
    };
    vec![
        Route::new(None, PathPattern::Prefix("/api".to_owned()), Action::App),
        files(
            "/static",
            "public/static",
            Some(HeaderValue::from_static("no-cache")),
        ),
        files("", "public", None),
    ]
}

/// Whether nothing of the app is there but a health endpoint.
pub(super) fn is_health(path: &PathPattern) -> bool {
    HEALTH.contains(&text(path))
}

/// Adds `/healthz` and `/readyz` for each host that has routes and for no host: a route of a host is
/// more specific than any of no host, so `/` of that host would hide them there.
pub(super) fn add_health(routes: &mut Vec<Route>) {
    let mut hosts: Vec<Option<HostPattern>> = vec![None];
    for route in routes.iter() {
        if !hosts.contains(&route.host) {
            hosts.push(route.host.clone());
        }
    }
    for host in hosts {
        for path in HEALTH {
            if !routes
                .iter()
                .any(|route| route.host == host && text(&route.path) == path)
            {
                let path = PathPattern::Exact(path.to_owned());
                routes.push(Route::new(host.clone(), path, Action::App));
            }
        }
    }
}

fn text(path: &PathPattern) -> &str {
    match path {
        PathPattern::Prefix(text) | PathPattern::Exact(text) => text,
    }
}
