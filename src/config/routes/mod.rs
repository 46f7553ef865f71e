//! `[[route]]`: which requests go where.

mod action;
mod cache;
mod defaults;
mod files;
mod headers;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

pub use self::action::Action;
pub use self::cache::Cache;
pub use self::files::Files;
pub use self::headers::RequestHeaders;
use super::policy::{RateLimits, policy};
use super::printer::{Printer, Secrets, quoted};
use super::read::{body_size, boolean, text};
use super::reader::Section;
use super::upstreams::{Upstream, Upstreams};
use super::values::print_size;
use super::{HostPattern, PasswordHash, PathPattern, RoutePolicy};

/// `[[route]]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Host it is limited to.
    pub host: Option<HostPattern>,
    /// Path it matches.
    pub path: PathPattern,
    /// What it does.
    pub action: Action,
    /// What it asks of a request before it answers.
    pub policy: RoutePolicy,
    /// What the app or upstream is told beyond what the client has sent.
    pub request_headers: RequestHeaders,
    /// The path as the upstream sees it, after `strip_prefix`; `{path}` stands for what it was.
    pub rewrite: Option<String>,
    /// The upstream that is asked for what is none of the route's files.
    pub fallback: Option<Arc<Upstream>>,
    /// Largest request body in bytes, where it differs from the server's.
    pub max_body: Option<u64>,
    /// Whether answers are compressed: `None` leaves it to the general rules.
    pub compress: Option<bool>,
    /// Response headers set on this route's answers.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
    /// Response headers removed from this route's answers.
    pub remove_headers: Vec<HeaderName>,
    /// Where in `config.toml` the route begins (1-based line; 0 for a default route).
    pub line: usize,
}

impl Route {
    /// A route with nothing but its action, of no line of the file.
    #[must_use]
    pub fn new(host: Option<HostPattern>, path: PathPattern, action: Action) -> Self {
        Self {
            host,
            path,
            action,
            policy: RoutePolicy::default(),
            request_headers: RequestHeaders::default(),
            rewrite: None,
            fallback: None,
            max_body: None,
            compress: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            line: 0,
        }
    }

    /// Host and path, as in `a.test/api`.
    pub(super) fn name(&self) -> String {
        let host = self.host.as_ref().map(ToString::to_string);
        format!("{}{}", host.unwrap_or_default(), self.path)
    }

    /// Whether it leads to what the app keeps in the database: its health endpoints do not.
    #[must_use]
    pub fn needs_database(&self) -> bool {
        self.action == Action::App && !defaults::is_health(&self.path)
    }

    /// The directory of a default route that is not there. Nobody named it, and the app works without
    /// it, so this is no mistake.
    #[must_use]
    pub fn lacking(&self) -> Option<&Path> {
        match &self.action {
            Action::Files(files) if self.line == 0 && !files.root.exists() => Some(&files.root),
            _ => None,
        }
    }
}

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
        defaults::notes_app(root.reader.dir)
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
    defaults::add_health(&mut routes);
    routes
}

fn route(
    section: &Section<'_>,
    upstreams: &Upstreams,
    limits: &RateLimits,
    hosts: &[HostPattern],
) -> Option<Route> {
    let host = section.optional("host", text(HostPattern::parse));
    let path = section.required("path", r#""/""#, text(PathPattern::parse));
    let action = action::action(section, upstreams, path.as_ref());
    let policy = policy(section, limits);
    let (set_headers, remove_headers) =
        headers::headers(&section.table("headers"), "route.headers");
    let request_headers = headers::request_headers(section);
    let rewrite = section.optional("rewrite", text(rewrite));
    let fallback = action::named(section, "fallback", upstreams);
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
    if let (Some(PathPattern::Exact(path)), Some(Action::Files(files))) = (&path, &action)
        && let Some((_, file)) = path.rsplit_once('/')
        && !file.is_empty()
        && files.spa.is_none()
    {
        let what = format!(
            "after an exact path nothing is left to look for in the directory; name the file that answers it: spa = \"{file}\""
        );
        section.note_combination_at("files", &what);
    }
    Some(Route {
        policy,
        request_headers,
        rewrite,
        fallback,
        max_body,
        compress,
        set_headers,
        remove_headers,
        line: section.line(),
        ..Route::new(host, path?, action?)
    })
}

/// Prints one; nobody has written what stands in no line of the file.
pub(super) fn print(out: &mut Printer, route: &Route) {
    out.is_default = route.line == 0;
    out.heading("[[route]]");
    out.is_default = false;
    if let Some(host) = &route.host {
        out.text("host", host);
    }
    out.text("path", &route.path);
    for (key, texts) in route.policy.lists() {
        out.texts(key, texts);
    }
    if let Some(max_body) = route.max_body {
        out.text("max_body", print_size(max_body));
    }
    if let Some(compress) = route.compress {
        out.plain("compress", compress);
    }
    for account in &route.policy.accounts {
        let (PasswordHash::Argon2id(hash) | PasswordHash::Bcrypt(hash)) = &account.hash;
        let shown = match out.secrets {
            Secrets::Masked => "***",
            Secrets::Told => hash.as_str(),
        };
        out.text(&format!("basic_auth.{}", quoted(&account.user)), shown);
    }
    if let Some(rules) = &route.policy.cors {
        rules.print(out);
    }
    action::print(out, &route.action);
    if let Some(rewrite) = &route.rewrite {
        out.text("rewrite", rewrite);
    }
    if let Some(fallback) = &route.fallback {
        out.text("fallback", &fallback.name);
    }
    headers::print(out, &route.request_headers);
    if !route.remove_headers.is_empty() {
        out.texts("headers.remove", &route.remove_headers);
    }
    for (name, value) in &route.set_headers {
        out.header("headers.set.", name, value);
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
