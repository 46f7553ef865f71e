//! `[[route]]`: which requests go where.

use std::collections::HashMap;
use std::path::Path;

use http::{HeaderName, HeaderValue, header};

use super::actions::action;
use super::header_tables::{header_name, named_headers};
use super::policy::{RateLimits, policy};
use super::read::{body_size, boolean, list, text};
use super::reader::Section;
use super::upstreams::Upstreams;
use super::{Action, Files, HostPattern, PathPattern, RequestHeaders, Route};

/// What is always the app's unless a route says otherwise: `unibody healthcheck` and load balancers
/// ask there.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Every `[[route]]`, or the notes app's when there is none, and the health endpoints of the app.
pub(super) fn routes(
    root: &Section<'_>,
    upstreams: &Upstreams,
    limits: &RateLimits,
    hosts: &[HostPattern],
) -> Vec<Route> {
    let mut routes = if root.has("route") {
        let sections = root.tables("route");
        sections
            .iter()
            .filter_map(|section| route(section, upstreams, limits, hosts))
            .collect()
    } else {
        default_routes(root.reader.dir)
    };
    let mut seen: HashMap<(Option<HostPattern>, PathPattern), usize> = HashMap::new();
    for route in &routes {
        let key = (route.host.clone(), route.path.clone());
        if let Some(line) = seen.insert(key, route.line) {
            root.reader.note_line(
                route.line,
                format!(
                    "route.path = \"{}\": the route of line {line} has the same host and path",
                    route.path
                ),
            );
        }
    }
    add_health(&mut routes);
    routes
}

/// The notes app. Its directories are not checked: nobody named them, and without them there is a
/// 404 and the API.
fn default_routes(dir: &Path) -> Vec<Route> {
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

/// Adds `/healthz` and `/readyz` for each host that has routes and for no host: a route of a host is
/// more specific than any of no host, so `/` of that host would hide them there.
fn add_health(routes: &mut Vec<Route>) {
    let mut hosts: Vec<Option<HostPattern>> = vec![None];
    for route in routes.iter() {
        if !hosts.contains(&route.host) {
            hosts.push(route.host.clone());
        }
    }
    for host in hosts {
        for path in HEALTH {
            let is_health = |pattern: &PathPattern| match pattern {
                PathPattern::Prefix(text) | PathPattern::Exact(text) => text == path,
            };
            if !routes
                .iter()
                .any(|route| route.host == host && is_health(&route.path))
            {
                let path = PathPattern::Exact(path.to_owned());
                routes.push(Route::new(host.clone(), path, Action::App));
            }
        }
    }
}

fn route(
    section: &Section<'_>,
    upstreams: &Upstreams,
    limits: &RateLimits,
    hosts: &[HostPattern],
) -> Option<Route> {
    let host = section.optional("host", text(HostPattern::parse));
    let path = section.required("path", r#""/""#, text(PathPattern::parse));
    let action = action(section, upstreams, path.as_ref());
    let policy = policy(section, limits);
    let (set_headers, remove_headers) = headers(&section.table("headers"), "route.headers");
    let request_headers = request_headers(section);
    let rewrite = section.optional("rewrite", text(rewrite));
    let max_body = section.optional("max_body", body_size);
    let compress = section.optional("compress", boolean);
    if let Some(host) = &host
        && !hosts.is_empty()
        && !hosts.iter().any(|served| served.overlaps(host))
    {
        let what = format!(
            "{host} is not among server.hosts, so this route is never reached; add it there"
        );
        section.note_combination_at("host", &what);
    }
    Some(Route {
        policy,
        request_headers,
        rewrite,
        max_body,
        compress,
        set_headers,
        remove_headers,
        line: section.line(),
        ..Route::new(host, path?, action?)
    })
}

type SetHeaders = Vec<(HeaderName, HeaderValue)>;

/// What a table of a route sets and removes.
fn headers(section: &Section<'_>, path: &str) -> (SetHeaders, Vec<HeaderName>) {
    let remove = section.value("remove", list(text(header_name)));
    let mut set = Vec::new();
    for (name, value, at) in named_headers(section, "set") {
        let combination = |what| {
            section
                .reader
                .note_combination(at, format!("{path}.set.\"{name}\": {what}"));
        };
        if remove.contains(&name) {
            combination("is in remove as well; keep one of them");
        }
        match value {
            Some(value) => set.push((name, value)),
            None => combination("is empty; name it in remove instead"),
        }
    }
    (set, remove)
}

/// Headers of a request that may be changed.
fn request_headers(route: &Section<'_>) -> RequestHeaders {
    let section = route.table("request_headers");
    let (set, remove) = headers(&section, "route.request_headers");
    for name in set.iter().map(|(name, _)| name).chain(&remove) {
        if [header::HOST, header::EXPECT].contains(name) {
            let what = format!(
                "route.request_headers: {name} says how the request is sent on; it cannot be changed here"
            );
            section.note_combination(what);
        }
    }
    let is_sent_on = route.has("app") || route.has("upstream");
    if route.has("request_headers") && !is_sent_on {
        route.note_combination_at("request_headers", "belongs to a route with app or upstream");
    }
    RequestHeaders {
        set,
        remove,
        forwarded: section.value("forwarded", boolean),
    }
}

/// A path with `{path}` for what it was.
fn rewrite(text: &str) -> Result<String, &'static str> {
    let known = text.replace("{path}", "");
    if !text.starts_with('/') || text.contains("/{path}") {
        return Err("write a path such as \"/v2{path}\"; {path} begins with its own slash");
    }
    if known.contains(['{', '}']) {
        return Err("{path} is all that is filled in");
    }
    if known.contains(['?', '#']) || !known.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("must be a path in printable ASCII; the query stays as it is");
    }
    Ok(text.to_owned())
}
