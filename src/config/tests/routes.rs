//! Upstreams and routes.

use http::StatusCode;

use super::*;
use crate::config::{Action, PathPattern};

#[test]
fn every_action_is_read() {
    let config = good(
        r#"
        [[upstream]]
        name = "backend"
        servers = ["127.0.0.1:3000", "https://10.0.0.7"]
        [[route]]
        path = "/app/"
        upstream = "backend"
        strip_prefix = "/app/"
        max_body = "1GiB"
        compress = false
        headers = { set = { "X-A" = "b" }, remove = ["Server"] }
        [[route]]
        path = "/old/"
        redirect = { to = "https://{host}/new{path}", status = 308 }
        [[route]]
        path = "=/robots.txt"
        respond = { body = "User-agent: *", status = 203 }
        [[route]]
        path = "/"
        files = "public"
        spa = "index.html"
        cache_control = "no-store"
        "#,
    );
    let [app, old, robots, root, healthz, readyz] = config.routes.as_slice() else {
        panic!("{:?}", config.routes)
    };
    assert!(
        matches!(&app.action, Action::Upstream { upstream, strip_prefix, .. }
        if upstream.servers.len() == 2 && strip_prefix.as_deref() == Some("/app"))
    );
    assert_eq!(
        (app.max_body, app.compress, app.line),
        (Some(1 << 30), Some(false), 5)
    );
    assert_eq!(app.set_headers[0].0, "x-a");
    assert_eq!(app.remove_headers[0], "server");
    assert!(matches!(&old.action, Action::Redirect { to, status }
        if to == "https://{host}/new{path}" && *status == StatusCode::PERMANENT_REDIRECT));
    assert!(
        matches!(&robots.action, Action::Respond { status, body, content_type }
        if status.as_u16() == 203 && body == "User-agent: *" && content_type == "text/plain; charset=utf-8")
    );
    assert!(matches!(&root.action, Action::Files(files)
        if files.spa.as_deref() == Some("index.html") && files.cache_control.is_some()));
    for (route, path) in [(healthz, "/healthz"), (readyz, "/readyz")] {
        assert_eq!(route.path, PathPattern::Exact(path.to_owned()));
        assert!(matches!(route.action, Action::App));
    }
}

#[test]
fn health_is_the_apps_on_every_host_unless_it_is_routed() {
    let config = good(
        r#"
        server.hosts = ["a.example", "*.b.example"]
        [[route]]
        host = "a.example"
        path = "/"
        respond = {}
        [[route]]
        host = "*.b.example"
        path = "=/healthz"
        respond = { status = 204 }
        [[route]]
        path = "/readyz"
        respond = { status = 204 }
        "#,
    );
    let has_app = |host: &str, path: &str| {
        config.routes.iter().any(|route| {
            route
                .host
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default()
                == host
                && route.path == PathPattern::Exact(path.to_owned())
                && matches!(route.action, Action::App)
        })
    };
    for (host, path, expected, why) in [
        ("", "/healthz", true, "nobody routed it"),
        ("", "/readyz", false, "routed by the user, as a prefix"),
        ("a.example", "/healthz", true, "the host's / would hide it"),
        ("a.example", "/readyz", true, "the host's / would hide it"),
        ("*.b.example", "/healthz", false, "routed by the user"),
        (
            "*.b.example",
            "/readyz",
            true,
            "the host has a route of its own",
        ),
    ] {
        assert_eq!(has_app(host, path), expected, "{host}{path}: {why}");
    }
}

#[test]
fn headers_are_merged_over_the_defaults() {
    let config =
        good("[headers]\nX-New = \"1\"\nx-frame-options = \"DENY\"\nReferrer-Policy = \"\"");
    let shown: Vec<_> = config
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let expected = [
        "x-frame-options",
        "x-content-type-options",
        "content-security-policy",
        "x-new",
    ];
    assert_eq!(shown, expected);
    assert_eq!(config.headers[0].1, "DENY");
}

#[test]
fn routes_that_cannot_be_meant_are_mistakes() {
    each_is_one_mistake(&[
        ("path = \"/\"", "config.toml:3: route: does nothing"),
        ("app = true", "config.toml:3: route.path is missing"),
        (
            "path = \"/\"\napp = true\nfiles = \"public\"",
            "config.toml:6: route.files: the route has app already",
        ),
        (
            "path = \"/\"\napp = false",
            "config.toml:5: route.app = false: write true, or leave it out",
        ),
        (
            "path = \"/\"\nupstream = \"bakend\"",
            "no upstream has this name; did you mean \"backend\"?",
        ),
        (
            "path = \"/\"\nupstream = \"other\"",
            "no upstream has this name; add [[upstream]]",
        ),
        (
            "path = \"/\"\napp = true\nspa = \"index.html\"",
            "route.spa: belongs to a route with files",
        ),
        (
            "path = \"/\"\napp = true\ncache_control = \"a\"",
            "route.cache_control: belongs to a route with files",
        ),
        (
            "path = \"/a\"\napp = true\nstrip_prefix = \"/a\"",
            "route.strip_prefix: belongs to a route with upstream",
        ),
        (
            "path = \"/ab\"\nupstream = \"backend\"\nstrip_prefix = \"/a\"",
            "the route's path does not begin with it",
        ),
        (
            "path = \"/\"\napp = true\nrewrite = \"/a\"",
            "route.rewrite: belongs to a route with upstream",
        ),
        (
            "path = \"/\"\nupstream = \"backend\"\nrewrite = \"/a/{path}\"",
            "{path} begins with its own slash",
        ),
        (
            "path = \"/\"\nupstream = \"backend\"\nrewrite = \"/a?b\"",
            "the query stays as it is",
        ),
        (
            "path = \"/\"\nupstream = \"backend\"\nrewrite = \"/{uri}\"",
            "{path} is all that is filled in",
        ),
        (
            "path = \"/\"\nfiles = \"public\"\nrequest_headers = {}",
            "route.request_headers: belongs to a route with app, upstream or fallback",
        ),
        (
            "path = \"/\"\napp = true\nrequest_headers.set.Host = \"a\"",
            "route.request_headers: host is kept as it came; host of the [[upstream]]",
        ),
        (
            "path = \"/\"\napp = true\nrequest_headers.remove = [\"Expect\"]",
            "route.request_headers: expect says how the request is sent on",
        ),
        (
            "path = \"/\"\napp = true\nrequest_headers.remove = [\"Transfer-Encoding\"]",
            "belongs to the connection",
        ),
        (
            "path = \"/\"\nupstream = \"backend\"\nstrip_prefix = \"/\"",
            "must be a path such as \"/app\"",
        ),
    ]);
}

#[test]
fn actions_that_cannot_be_meant_are_mistakes() {
    each_is_one_mistake(&[
        (
            "path = \"/\"\nfiles = \"public\"\nspa = \"../key.pem\"",
            "must name a file below",
        ),
        (
            "path = \"/\"\nfiles = \"public\"\nspa = \"app.html\"",
            "no file",
        ),
        ("path = \"/\"\nfiles = \"key.pem\"", "is not a directory"),
        (
            "path = \"/\"\nfiles = \"public\"\nfallback = \"backen\"",
            "route.fallback = \"backen\": no upstream has this name",
        ),
        (
            "path = \"/\"\napp = true\nfallback = \"backend\"",
            "route.fallback: belongs to a route with files",
        ),
        (
            "path = \"=/a/robots.txt\"\nfiles = \"public\"",
            "route.files: after an exact path nothing is left to look for in the directory; name the file that answers it: spa = \"robots.txt\"",
        ),
        (
            "path = \"/\"\nredirect = {}",
            "route.redirect.to is missing",
        ),
        (
            "path = \"/\"\nredirect = \"/b\"",
            "route.redirect = \"/b\": must be a table, [route.redirect] or redirect = { to = … }, not text",
        ),
        (
            "path = \"/\"\nredirect = { to = \"/b\", status = 304 }",
            "must be 301, 302, 303, 307 or 308",
        ),
        (
            "path = \"/\"\nredirect = { to = \"example.com\" }",
            "must begin with",
        ),
        (
            "path = \"/\"\nredirect = { to = \"/{uri}\" }",
            "{path} and {host} are all",
        ),
        (
            "path = \"/\"\nredirect = { to = \"/a b\" }",
            "printable ASCII",
        ),
        (
            "path = \"/\"\nredirect = { too = \"/b\", to = \"/b\" }",
            "route.redirect.too: unknown key; did you mean to?",
        ),
        (
            "path = \"/\"\nrespond = { status = 100 }",
            "from 200 to 599",
        ),
        (
            "path = \"/\"\nrespond = { status = 204, body = \"a\" }",
            "an answer of 204 has no body",
        ),
        (
            "path = \"/\"\napp = true\nheaders.set.X-A = \"\"",
            "is empty; name it in remove instead",
        ),
        (
            "path = \"/\"\napp = true\nheaders = { set = { A = \"b\" }, remove = [\"a\"] }",
            "is in remove as well",
        ),
        (
            "path = \"/\"\napp = true\nheaders.remove = [\"Content-Length\"]",
            "belongs to the connection",
        ),
        (
            "path = \"/\"\napp = true\nhost = \"b.example\"",
            "config.toml:6: route.host: b.example is not among server.hosts",
        ),
        (
            "path = \"/a\"\napp = true\n[[route]]\npath = \"/a/\"\nrespond = {}",
            "config.toml:6: route.path = \"/a/\": the route of line 3 has the same host and path",
        ),
    ]);
}

#[test]
fn upstreams_that_cannot_be_meant_are_mistakes() {
    for (upstream, expected) in [
        (
            "servers = [\"a:1\"]",
            "config.toml:1: upstream.name is missing",
        ),
        ("name = \"\"\nservers = [\"a:1\"]", "must not be empty"),
        ("name = \"a\"", "upstream.servers is missing"),
        (
            "name = \"a\"\nservers = []",
            "upstream.servers: must not be empty",
        ),
        (
            "name = \"a\"\nservers = [\"a\"]",
            "upstream.servers = \"a\": no port",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\n[[upstream]]\nname = \"a\"\nservers = [\"a:1\"]",
            "config.toml:5: upstream.name: \"a\" is the name of the upstream of line 1",
        ),
        (
            "name = \"a\"\nservers = [\"a:1 backup\", \"b:1 backup\"]",
            "upstream.servers: all are backups",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\nbalance = \"random\"",
            "upstream.balance = \"random\": must be \"round-robin\" or",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\nretries = 11",
            "upstream.retries = 11: must be a whole number from 0 to 10",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\nhost = \"u@a\"",
            "upstream.host = \"u@a\": must be a host name",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\nca_file = \"ca.pem\"",
            "upstream.ca_file: belongs to servers with TLS",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\nserver_name = \"b\"",
            "upstream.server_name: belongs to servers with TLS",
        ),
        (
            "name = \"a\"\nservers = [\"https://a\"]\nca_file = \"cert.pem\"",
            "cert.pem holds no certificate",
        ),
        (
            "name = \"a\"\nservers = [\"https://a\"]\nserver_name = \"a b\"",
            "upstream.server_name = \"a b\": must be the name",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\n[upstream.health]\ninterval = \"1s\"",
            "upstream.health.path is missing",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\n[upstream.health]\npath = \"healthz\"",
            "upstream.health.path = \"healthz\": must be a path",
        ),
        (
            "name = \"a\"\nservers = [\"a:1\"]\n[upstream.health]\npath = \"/\"\nstatus = \"1xx\"",
            "upstream.health.status = \"1xx\": must be a status",
        ),
    ] {
        // The route is not blamed for its upstream.
        let text = format!("[[upstream]]\n{upstream}\n[[route]]\npath = \"/\"\napp = true");
        let mistakes = bad(&text);
        assert!(mistakes.contains(expected), "{text}\n{mistakes}");
        assert_eq!(mistakes.lines().count(), 1, "{text}\n{mistakes}");
    }
    let long = format!(
        "[[upstream]]\nname = \"a\"\nservers = [\"unix:/{}\"]",
        "x".repeat(120)
    );
    assert!(bad(&long).contains("longer than 107 bytes"));
    let broken =
        "[[upstream]]\nname = \"a\"\nservers = [\"a\"]\n[[route]]\npath = \"/\"\nupstream = \"a\"";
    assert_eq!(
        bad(broken).lines().count(),
        1,
        "the route is not blamed for its upstream"
    );
}

/// A table of (route, mistake), beside an upstream `backend`; the route begins in line 3.
#[track_caller]
fn each_is_one_mistake(table: &[(&str, &str)]) {
    for (route, expected) in table {
        let text = format!(
            "upstream = [{{ name = \"backend\", servers = [\"a:1\"] }}]\n\n[[route]]\n{route}"
        );
        let mistakes = bad(&text);
        assert!(
            mistakes.contains(expected),
            "{text}\n{mistakes}\nshould have\n{expected}"
        );
        assert_eq!(mistakes.lines().count(), 1, "{text}\n{mistakes}");
    }
}
