//! The most specific route wins; what has none, or is nobody's, is refused.

use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};

fn server() -> Server {
    let route = |host: &str, path: &str, name: &str| {
        let host = match host {
            "" => String::new(),
            host => format!("host = \"{host}\"\n"),
        };
        format!("[[route]]\n{host}path = \"{path}\"\nrespond = {{ body = \"{name}\" }}\n")
    };
    // The least specific stand first: order decides nothing here.
    let routes: String = [
        ("", "/any/", "any host"),
        ("", "/any/deep/", "any host, deeper"),
        ("", "=/any/deep", "any host, exactly"),
        ("", "/admin/", "admin"),
        ("*.example.com", "/", "wildcard"),
        ("www.example.com", "/", "www"),
        ("www.example.com", "/shop/", "www shop"),
    ]
    .map(|(host, path, name)| route(host, path, name))
    .concat();
    Setup::new()
        .config(
            r#"
            [server]
            http = ["127.0.0.1:0"]
            https = []
            hosts = ["localhost", "example.com", "*.example.com", "127.0.0.1", "[::1]"]
            [tls]
            mode = "off"
            "#,
        )
        .config(&routes)
        .start()
}

#[test]
fn the_most_specific_route_answers() {
    let server = server();
    let mut raw = Raw::connect(server.http.unwrap());
    for (host, path, expected) in [
        ("www.example.com", "/", "www"),
        ("WWW.Example.com:80", "/", "www"),
        ("www.example.com.", "/", "www"),
        ("www.example.com", "/shop", "www shop"),
        ("www.example.com", "/shop/a?b=/c", "www shop"),
        ("www.example.com", "/shopping", "www"),
        ("www.example.com", "/any/x", "www"),
        ("blog.example.com", "/any/x", "wildcard"),
        ("example.com", "/any/x", "any host"),
        ("localhost", "/any", "any host"),
        ("localhost", "/any/deep", "any host, exactly"),
        ("localhost", "/any/deep/", "any host, deeper"),
        ("localhost", "/any/deep/er", "any host, deeper"),
        ("localhost", "/%61ny/d%65ep/er", "any host, deeper"),
        ("127.0.0.1", "/any/x", "any host"),
        ("[::1]:8080", "/any/x", "any host"),
    ] {
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = raw.answer();
        let body = String::from_utf8(answer.body).unwrap();
        assert_eq!(
            (answer.status, body.as_str()),
            (200, expected),
            "{host}{path}"
        );
    }
    raw.send("GET http://www.example.com/shop/ HTTP/1.1\r\nHost: www.example.com\r\n\r\n");
    assert_eq!(raw.answer().body, b"www shop", "an absolute target");
}

#[test]
fn what_belongs_to_nobody_is_refused_with_the_right_status() {
    let server = server();
    for (host, path, status, why) in [
        ("localhost", "/", 404, "no route"),
        ("localhost", "/anything", 404, "a prefix ends at a segment"),
        ("elsewhere.test", "/any/", 421, "a name that isn't ours"),
        (
            "a.b.example.com",
            "/",
            421,
            "a wildcard stands for one label",
        ),
        ("127.0.0.2", "/any/", 421, "an address that isn't ours"),
        ("localhost", "/any/../admin/", 400, "a dot segment"),
        ("localhost", "/any/%2e%2e/admin/", 400, "an encoded one"),
        ("localhost", "/any\\..\\admin", 400, "backslashes"),
        (
            "localhost",
            "//admin/x",
            400,
            "another route's to who merges slashes",
        ),
        (
            "localhost",
            "/admin%2Fx",
            400,
            "another route's to who decodes",
        ),
        ("localhost", "/any/..;/admin", 400, "and to Java servers"),
        ("localhost", "/any/%", 400, "bad encoding"),
        ("localhost", "/any/%00", 400, "a NUL"),
    ] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = raw.answer();
        assert_eq!(answer.status, status, "{host}{path}: {why}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
}

#[test]
fn a_refused_request_does_not_end_the_connection_for_the_next() {
    let server = server();
    let mut raw = Raw::connect(server.http.unwrap());
    for (host, path, status) in [
        ("localhost", "/nothing", 404),
        ("elsewhere.test", "/", 421),
        ("localhost", "/any/%2e%2e/x", 400),
        ("localhost", "/any/", 200),
    ] {
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(raw.answer().status, status, "{host}{path}");
    }
}

#[test]
fn health_is_answered_on_every_host_whatever_else_is_routed() {
    let server = server();
    let mut raw = Raw::connect(server.http.unwrap());
    for host in ["localhost", "www.example.com", "blog.example.com"] {
        for path in ["/healthz", "/readyz"] {
            raw.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            let answer = raw.answer();
            assert_eq!(answer.status, 200, "{host}{path}");
            assert_eq!(answer.body.trim_ascii(), b"{\"ok\":true}", "{host}{path}");
        }
    }
}
