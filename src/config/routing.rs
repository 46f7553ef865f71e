//! `[[upstream]]` and `[[route]]`: what goes where.

use std::collections::HashMap;
use std::path::{Component, Path};
use std::sync::Arc;
use std::time::Duration;

use super::file::{header_name, named_headers};
use super::read::{
    body_size, boolean, duration_up_to, existing_directory, header_value, integer, list, some,
    string, text,
};
use super::reader::{Node, Section, nearest};
use super::values::Invalid;
use super::{
    Action, Files, HostPattern, PathPattern, Route, Upstream, UpstreamAddress, UpstreamServer,
};
use http::{HeaderValue, StatusCode};

/// Longest timeout towards an upstream.
const DAY: Duration = Duration::from_secs(86_400);
/// What is always the app's unless a route says otherwise: `unibody healthcheck` and load balancers
/// ask there.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

type Upstreams = HashMap<String, Arc<Upstream>>;

/// Every `[[upstream]]` by its name.
pub(super) fn upstreams(root: &Section<'_>) -> Upstreams {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut upstreams = Upstreams::new();
    for section in root.tables("upstream") {
        let Some(upstream) = upstream(&section) else {
            continue;
        };
        if let Some(line) = lines.get(&upstream.name) {
            let what = format!(
                "\"{}\" is the name of the upstream of line {line}",
                upstream.name
            );
            section.note_combination_at("name", &what);
        }
        lines.insert(upstream.name.clone(), section.line());
        upstreams.insert(upstream.name.clone(), Arc::new(upstream));
    }
    upstreams
}

fn upstream(section: &Section<'_>) -> Option<Upstream> {
    let nonempty = |name: &str| match name {
        "" => Err("must not be empty"),
        name => Ok(name.to_owned()),
    };
    let name = section.required("name", r#""backend""#, text(nonempty));
    let servers = section.required(
        "servers",
        r#"["127.0.0.1:3000"]"#,
        some(text(UpstreamServer::parse)),
    );
    let upstream = Upstream {
        name: name.clone().unwrap_or_default(),
        servers: servers
            .into_iter()
            .flatten()
            .map(|server| server.resolved(section.reader.dir))
            .collect(),
        connect_timeout: section.value("connect_timeout", duration_up_to(DAY)),
        read_timeout: section.value("read_timeout", duration_up_to(DAY)),
        send_timeout: section.value("send_timeout", duration_up_to(DAY)),
        keepalive: section.value("keepalive", integer(0..=65_535)),
    };
    for server in &upstream.servers {
        // 107 bytes and a NUL is what `sockaddr_un` holds on Linux; elsewhere it is less.
        if let UpstreamAddress::Unix(path) = &server.address
            && path.as_os_str().len() > 107
        {
            let what = format!(
                "the path of the socket {} is longer than 107 bytes",
                path.display()
            );
            section.note_combination_at("servers", &what);
        }
    }
    // Without its servers it still has its name, so that its routes are not blamed as well.
    name.is_some().then_some(upstream)
}

/// Every `[[route]]`, or the notes app's when there is none, and the health endpoints of the app.
pub(super) fn routes(
    root: &Section<'_>,
    upstreams: &Upstreams,
    hosts: &[HostPattern],
) -> Vec<Route> {
    let mut routes = if root.has("route") {
        let sections = root.tables("route");
        sections
            .iter()
            .filter_map(|section| route(section, upstreams, hosts))
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

fn route(section: &Section<'_>, upstreams: &Upstreams, hosts: &[HostPattern]) -> Option<Route> {
    let host = section.optional("host", text(HostPattern::parse));
    let path = section.required("path", r#""/""#, text(PathPattern::parse));
    let action = action(section, upstreams, path.as_ref());
    let (set_headers, remove_headers) = headers(section);
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
        max_body,
        compress,
        set_headers,
        remove_headers,
        line: section.line(),
        ..Route::new(host, path?, action?)
    })
}

fn action(
    section: &Section<'_>,
    upstreams: &Upstreams,
    path: Option<&PathPattern>,
) -> Option<Action> {
    let written: Vec<_> = ["app", "files", "upstream", "redirect", "respond"]
        .into_iter()
        .filter(|key| section.has(key))
        .collect();
    match written.as_slice() {
        [] => section.note_combination(
            "route: does nothing; write one of app = true, files, upstream, redirect, respond"
                .to_owned(),
        ),
        [_] => {}
        [first, others @ ..] => {
            let what = format!("the route has {first} already; it does exactly one thing");
            others
                .iter()
                .for_each(|key| section.note_combination_at(key, &what));
        }
    }
    for (key, owner) in [
        ("spa", "files"),
        ("cache_control", "files"),
        ("strip_prefix", "upstream"),
    ] {
        if section.has(key) && !section.has(owner) {
            section.note_combination_at(key, &format!("belongs to a route with {owner}"));
        }
    }
    // All are read, also of a route with two, so that each is checked.
    let app = section.optional("app", |node| {
        let app = boolean(node)?;
        if !app {
            node.wrong("write true, or leave it out");
        }
        app.then_some(Action::App)
    });
    let files = files(section).map(Action::Files);
    let upstream = upstream_action(section, upstreams, path);
    let redirect = section
        .optional_table("redirect")
        .and_then(|section| redirect(&section));
    let respond = section
        .optional_table("respond")
        .map(|section| respond(&section));
    app.or(files).or(upstream).or(redirect).or(respond)
}

fn files(section: &Section<'_>) -> Option<Files> {
    let root = section.optional("files", existing_directory);
    let spa = section.optional("spa", |node| {
        let spa = string(node)?;
        let is_inside = |part: Component<'_>| matches!(part, Component::Normal(_));
        if spa.is_empty() || !Path::new(&spa).components().all(is_inside) {
            node.wrong("must name a file below the route's files, such as \"index.html\"");
            return None;
        }
        if let Some(root) = &root
            && root.is_dir()
            && !root.join(&spa).is_file()
        {
            node.wrong(&format!("no file {}", root.join(&spa).display()));
        }
        Some(spa)
    });
    let cache_control = section.optional("cache_control", header_value);
    Some(Files {
        root: root?,
        spa,
        cache_control,
    })
}

fn upstream_action(
    section: &Section<'_>,
    upstreams: &Upstreams,
    path: Option<&PathPattern>,
) -> Option<Action> {
    let named = |node: &Node<'_>| {
        let name = string(node)?;
        let upstream = upstreams.get(&name);
        // It may stand in the piece that could not be read.
        if upstream.is_none() && section.reader.broken.is_empty() {
            let hint = match nearest(&name, upstreams.keys().map(String::as_str)) {
                Some(nearest) => format!("did you mean \"{nearest}\"?"),
                None => "add [[upstream]] with this name".to_owned(),
            };
            node.wrong(&format!("no upstream has this name; {hint}"));
        }
        upstream.cloned()
    };
    let upstream = section.optional("upstream", named);
    let strip_prefix = section.optional("strip_prefix", |node| {
        let prefix = text(strip_prefix)(node)?;
        let (PathPattern::Prefix(whole) | PathPattern::Exact(whole)) = path?;
        if !PathPattern::Prefix(prefix.clone()).matches(whole) {
            node.wrong("the route's path does not begin with it");
        }
        Some(prefix)
    });
    Some(Action::Upstream {
        upstream: upstream?,
        strip_prefix,
    })
}

/// A leading path, without its trailing slash.
fn strip_prefix(text: &str) -> Result<String, Invalid> {
    match PathPattern::parse(text)? {
        PathPattern::Prefix(prefix) if !prefix.is_empty() => Ok(prefix),
        _ => Err(Invalid::new(r#"must be a path such as "/app""#)),
    }
}

fn redirect(section: &Section<'_>) -> Option<Action> {
    let to = section.required(
        "to",
        r#""https://example.com{path}""#,
        text(redirect_target),
    );
    let status = section.value("status", |node| {
        let code: u16 = integer(300..=399)(node)?;
        if ![301, 302, 303, 307, 308].contains(&code) {
            node.wrong("must be 301, 302, 303, 307 or 308");
            return None;
        }
        StatusCode::from_u16(code).ok()
    });
    Some(Action::Redirect { to: to?, status })
}

fn redirect_target(text: &str) -> Result<String, &'static str> {
    let known = text.replace("{path}", "").replace("{host}", "");
    if known.contains(['{', '}']) {
        return Err("{path} and {host} are all that is filled in");
    }
    let begins = ["https://", "http://", "/", "{path}"]
        .iter()
        .any(|start| text.starts_with(start));
    if !begins {
        return Err(r#"must begin with "https://", "http://" or "/""#);
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(
            "must be printable ASCII without spaces; write other characters percent-encoded",
        );
    }
    Ok(text.to_owned())
}

fn respond(section: &Section<'_>) -> Action {
    let status = section.value("status", |node| {
        let code: u16 = integer(200..=599)(node)?;
        StatusCode::from_u16(code).ok()
    });
    let body = section.value("body", string);
    let bodyless = [
        StatusCode::NO_CONTENT,
        StatusCode::RESET_CONTENT,
        StatusCode::NOT_MODIFIED,
    ];
    if bodyless.contains(&status) && !body.is_empty() {
        section.note_combination_at(
            "body",
            &format!("an answer of {} has no body", status.as_u16()),
        );
    }
    Action::Respond {
        status,
        body,
        content_type: section.value("content_type", header_value),
    }
}

type SetHeaders = Vec<(http::HeaderName, HeaderValue)>;

fn headers(route: &Section<'_>) -> (SetHeaders, Vec<http::HeaderName>) {
    let section = route.table("headers");
    let remove = section.value("remove", list(text(header_name)));
    let mut set = Vec::new();
    for (name, value, at) in named_headers(&section, "set") {
        let combination = |what| {
            section
                .reader
                .note_combination(at, format!("route.headers.set.\"{name}\": {what}"));
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
