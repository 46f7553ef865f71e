//! Which route a request belongs to.
//!
//! Pure: a host and a normal path (see [`request_path`]) in, a route out. The most specific wins:
//!
//! 1. routes of exactly this host, then of a wildcard that covers it, then of no host;
//! 2. among them an exact path, then the longest prefix;
//! 3. among equals the one that stands first in the file.

use std::collections::HashMap;
use std::sync::Arc;

use super::request_path::{self, Refusal};
use crate::config::{Config, HostPattern, PathPattern, Route};

/// All routes of one configuration, in the order in which they are tried.
#[derive(Debug)]
pub(crate) struct Router {
    by_host: HashMap<String, Vec<Arc<PreparedRoute>>>,
    /// By the suffix after the one label that a wildcard stands for.
    by_suffix: HashMap<String, Vec<Arc<PreparedRoute>>>,
    of_any_host: Vec<Arc<PreparedRoute>>,
}

/// A route with what is computed once.
#[derive(Debug)]
pub(crate) struct PreparedRoute {
    route: Route,
    index: usize,
    /// The route's pattern in the normal form of request paths.
    path: PathPattern,
    /// Whether the pattern itself has what upstreams read differently.
    is_literal: bool,
}

impl Router {
    /// Sorts the routes of `config`.
    pub(crate) fn new(config: &Config) -> Self {
        Self::sort(&config.routes)
    }

    pub(super) fn sort(routes: &[Route]) -> Self {
        let mut sorted = Self {
            by_host: HashMap::new(),
            by_suffix: HashMap::new(),
            of_any_host: Vec::new(),
        };
        for (index, route) in routes.iter().enumerate() {
            let routes = match &route.host {
                Some(HostPattern::Exact(host)) => sorted.by_host.entry(host.clone()).or_default(),
                Some(HostPattern::Wildcard(suffix)) => {
                    sorted.by_suffix.entry(suffix.clone()).or_default()
                }
                None => &mut sorted.of_any_host,
            };
            routes.push(Arc::new(PreparedRoute::new(index, route)));
        }
        sorted
            .by_host
            .values_mut()
            .chain(sorted.by_suffix.values_mut())
            .chain([&mut sorted.of_any_host])
            .for_each(|routes| routes.sort_by_key(|route| route.rank()));
        sorted
    }

    /// The route of a request whose path was accepted by [`request_path::check`]; `None` where no
    /// route matches.
    ///
    /// # Errors
    /// [`Refusal::Ambiguous`] where upstreams that merge slashes, decode `%2F` or drop
    /// `;parameters` would see a path of another route, past whatever guards that route.
    pub(crate) fn select(
        &self,
        host: &str,
        path: &str,
    ) -> Result<Option<&Arc<PreparedRoute>>, Refusal> {
        let selected = self.find(host, path);
        if selected.is_some_and(|route| route.is_literal) {
            return Ok(selected);
        }
        if let Some(reading) = request_path::loosest_reading(path) {
            let other = self.find(host, &reading);
            if other.map(|route| route.index) != selected.map(|route| route.index) {
                return Err(Refusal::Ambiguous);
            }
        }
        Ok(selected)
    }

    /// The route of exactly this spelling of a path.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&Arc<PreparedRoute>> {
        let suffix = host.split_once('.').map(|(_, suffix)| suffix);
        [
            self.by_host.get(host),
            suffix.and_then(|suffix| self.by_suffix.get(suffix)),
            Some(&self.of_any_host),
        ]
        .into_iter()
        .flatten()
        .flatten()
        .find(|route| route.path.matches(path))
    }
}

impl PreparedRoute {
    /// Prepares the route at `index` of the file.
    pub(super) fn new(index: usize, route: &Route) -> Self {
        let normal = |text: &String| request_path::normalise(text).into_owned();
        let path = match &route.path {
            PathPattern::Prefix(prefix) => PathPattern::Prefix(normal(prefix)),
            PathPattern::Exact(exact) => PathPattern::Exact(normal(exact)),
        };
        Self {
            route: route.clone(),
            index,
            is_literal: request_path::loosest_reading(pattern_text(&path)).is_some(),
            path,
        }
    }

    /// The route as it was configured.
    pub(crate) fn route(&self) -> &Route {
        &self.route
    }

    /// Its place in the file, from 0: a key for what belongs to it elsewhere.
    pub(crate) fn index(&self) -> usize {
        self.index
    }

    /// What follows the route's path in `path`: empty, or beginning with a slash. In the normal
    /// form if `path` is, and byte for byte as the client wrote it if `path` is that.
    pub(crate) fn rest<'a>(&self, path: &'a str) -> &'a str {
        request_path::rest_as_written(path, pattern_text(&self.path)).unwrap_or_default()
    }

    /// Smaller is more specific.
    fn rank(&self) -> (bool, std::cmp::Reverse<usize>) {
        let is_prefix = matches!(self.path, PathPattern::Prefix(_));
        (is_prefix, std::cmp::Reverse(pattern_text(&self.path).len()))
    }
}

fn pattern_text(pattern: &PathPattern) -> &str {
    match pattern {
        PathPattern::Prefix(text) | PathPattern::Exact(text) => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Action;

    /// Routes by `host/path` patterns: `a.test/api/`, `*.test/`, `=/exact`.
    fn router(patterns: &[&str]) -> Router {
        Router::sort(
            &patterns
                .iter()
                .map(|pattern| route(pattern))
                .collect::<Vec<_>>(),
        )
    }

    #[test]
    fn the_most_specific_route_wins() {
        let router = router(&[
            "/",
            "/api/",
            "/api/notes/",
            "=/api/notes",
            "*.example.com/",
            "www.example.com/api/",
            "/api/",
            "/caf\u{e9}/",
            "/%7Euser/",
        ]);
        let table = [
            ("localhost", "/", Some(0), "the rest"),
            ("localhost", "/apis", Some(0), "a prefix ends at a segment"),
            (
                "localhost",
                "/api",
                Some(1),
                "and matches without its slash; the first of equals",
            ),
            ("localhost", "/api/", Some(1), "or with it"),
            ("localhost", "/api/notes", Some(3), "exact before prefix"),
            ("localhost", "/api/notes/1", Some(2), "the longest prefix"),
            ("localhost", "/API/", Some(0), "case matters"),
            (
                "a.example.com",
                "/api/notes",
                Some(4),
                "a wildcard host before none",
            ),
            (
                "example.com",
                "/api/",
                Some(1),
                "a wildcard stands for one label",
            ),
            ("a.b.example.com", "/api/", Some(1), "exactly one"),
            (
                "www.example.com",
                "/api/notes",
                Some(5),
                "an exact host before a wildcard",
            ),
            (
                "www.example.com",
                "/x",
                Some(4),
                "which has what the exact host has not",
            ),
            (
                "localhost",
                "/caf%C3%A9/x",
                Some(7),
                "patterns are normalised",
            ),
            ("localhost", "/~user/x", Some(8), "in both directions"),
        ];
        for (host, path, expected, why) in table {
            let selected = router.select(host, path).unwrap();
            assert_eq!(selected.map(|route| route.index()), expected, "{why}");
        }
    }

    #[test]
    fn no_route_is_an_answer_too() {
        let router = router(&["a.test/", "/api/"]);
        assert!(router.select("b.test", "/").unwrap().is_none());
        assert!(router.select("b.test", "/x//y").unwrap().is_none());
    }

    #[test]
    fn a_path_that_upstreams_read_as_another_routes_is_refused() {
        let router = router(&["/", "/admin/", "/odd;v=1/", "/admin/open/"]);
        let table = [
            ("//admin/x", None),
            ("/admin%2Fx", None),
            ("/admin;x/y", None),
            ("/admin;x", None),
            ("/;/admin", None),
            ("/admin/open;x/y", None),
            ("/admin/open%2Fy", None),
            ("/x//y", Some(0)),
            ("/x%2Fadmin", Some(0)),
            ("/x;admin/y", Some(0)),
            ("/admin//x", Some(1)),
            ("/admin/x;y/%2Fz", Some(1)),
            ("/odd;v=1/x", Some(2)),
            ("/odd;v=2/x", Some(0)),
        ];
        for (path, expected) in table {
            let selected = router
                .select("localhost", path)
                .map(|route| route.unwrap().index());
            assert_eq!(selected, expected.ok_or(Refusal::Ambiguous), "{path}");
        }
    }

    #[test]
    fn routes_have_a_rest() {
        let router = router(&["/static/", "/", "=/favicon.ico", "a.test/x/", "*.test/"]);
        let table = [
            ("h", "/static/app.js", "/app.js"),
            ("h", "/static", ""),
            ("h", "/app.js", "/app.js"),
            ("h", "/favicon.ico", ""),
            ("a.test", "/x/y", "/y"),
            ("b.test", "/x/y", "/x/y"),
        ];
        for (host, path, rest) in table {
            let route = router.find(host, path).unwrap();
            assert_eq!(route.rest(path), rest, "{path}");
        }
        let route = router.find("h", "/static/x%2Fy").unwrap();
        assert_eq!(
            route.rest("/%73tatic/x%2fy"),
            "/x%2fy",
            "the raw path keeps its spelling"
        );
        assert_eq!(route.index(), 0);
        assert!(matches!(route.route().action, Action::App));
    }

    fn route(pattern: &str) -> Route {
        let (exact, pattern) = match pattern.strip_prefix('=') {
            Some(pattern) => (true, pattern),
            None => (false, pattern),
        };
        let (host, path) = pattern.split_at(pattern.find('/').unwrap());
        let host = match host.strip_prefix("*.") {
            Some(suffix) => Some(HostPattern::Wildcard(suffix.to_owned())),
            None if host.is_empty() => None,
            None => Some(HostPattern::Exact(host.to_owned())),
        };
        let path = if exact {
            PathPattern::Exact(path.to_owned())
        } else {
            PathPattern::Prefix(path.trim_end_matches('/').to_owned())
        };
        Route {
            host,
            path,
            action: Action::App,
            policy: crate::config::RoutePolicy::default(),
            request_headers: crate::config::RequestHeaders::default(),
            rewrite: None,
            fallback: None,
            max_body: None,
            compress: None,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            line: 0,
        }
    }
}
