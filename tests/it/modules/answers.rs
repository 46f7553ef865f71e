//! Every kind of answer has the security headers, and is compressed if it is worth it.

use std::fs;
use std::io::Read;

use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{Server, Setup};
use crate::support::upstream::{Upstream, table};

const TEXT: &str = "All work and no play makes Jack a dull boy.\n";

/// Long enough to be compressed.
fn long_text() -> String {
    TEXT.repeat(100)
}

/// A server with a route of every kind, over plain HTTP.
fn server(extra: &str) -> (Server, Upstream) {
    let text = long_text();
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: other/1.2\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    ));
    let setup = Setup::new();
    fs::create_dir(setup.directory().join("site")).unwrap();
    fs::write(setup.directory().join("site/long.txt"), &text).unwrap();
    fs::write(setup.directory().join("site/short.txt"), "short").unwrap();
    fs::write(setup.directory().join("site/404.html"), &text).unwrap();
    let dead = "[[upstream]]\nname = \"dead\"\nservers = [\"unix:/nonexistent/socket\"]\n";
    let server = setup
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nmax_body = \"1KiB\"\n\
             hosts = [\"localhost\"]\n[tls]\nredirect = false\nhsts = \"180 days\"\n{extra}"
        ))
        .config(&table(&[&upstream], ""))
        .config(dead)
        .config(&format!(
            r#"
            [[route]]
            path = "/api/"
            app = true
            [[route]]
            path = "/site/"
            files = "site"
            [[route]]
            path = "/proxied/"
            upstream = "backend"
            [[route]]
            path = "/dead/"
            upstream = "dead"
            [[route]]
            path = "/moved/"
            redirect = {{ to = "https://new.test/" }}
            [[route]]
            path = "/said/"
            respond = {{ body = """{text}""" }}
            "#
        ))
        .start();
    (server, upstream)
}

/// One answer, its body read by its framing and decoded.
fn ask(server: &Server, request: &str) -> RawAnswer {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(request);
    let mut answer = raw.head();
    if answer.header("transfer-encoding").is_some() {
        answer.body = raw.chunks().expect("a whole body");
    } else if let Some(length) = answer.header("content-length") {
        answer.body = vec![0; length.parse().unwrap()];
        raw.0.read_exact(&mut answer.body).unwrap();
    }
    if answer.header("content-encoding") == Some("gzip") {
        let mut decoded = Vec::new();
        flate2::read::GzDecoder::new(&answer.body[..])
            .read_to_end(&mut decoded)
            .unwrap();
        answer.body = decoded;
    }
    answer
}

/// Requests for every kind of answer: (what, request, status, is compressed).
fn every_kind() -> Vec<(&'static str, String, u16, bool)> {
    let get = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
    };
    let post = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n")
    };
    vec![
        ("a file", get("/site/long.txt"), 200, true),
        ("a small file", get("/site/short.txt"), 200, false),
        ("the site's own 404 page", get("/site/missing"), 404, true),
        ("the API", get("/api"), 200, false),
        ("the API's 404", get("/api/missing"), 404, false),
        ("the API's 422", get("/api/notes?limit=x"), 422, false),
        ("an upstream's answer", get("/proxied/"), 200, true),
        ("an upstream that is gone", get("/dead/"), 502, false),
        ("a redirect", get("/moved/"), 302, false),
        ("a fixed answer", get("/said/"), 200, true),
        ("no route", get("/nowhere"), 404, false),
        ("a path that is refused", get("/a/../b"), 400, false),
        ("a body that is too large", post("/api/notes"), 413, false),
        (
            "another host",
            "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned(),
            421,
            false,
        ),
        (
            "a head refused at the door",
            "GET / HTTP/1.1\r\nHost: localhost\r\nbad header\r\n\r\n".to_owned(),
            400,
            false,
        ),
        (
            "a method refused at the door",
            "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            405,
            false,
        ),
        (
            "OPTIONS of the server",
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            204,
            false,
        ),
    ]
}

#[test]
fn every_answer_has_the_headers_and_long_text_is_compressed() {
    let (server, _upstream) = server("");
    for (what, request, status, compressed) in every_kind() {
        let answer = ask(&server, &request);
        let shown = format!("{what}: {}", answer.head);
        assert_eq!(answer.status, status, "{shown}");
        for (name, value) in [
            ("x-frame-options", "sameorigin"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "strict-origin-when-cross-origin"),
            ("server", "unibody"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{shown}");
            let lines = answer.head.matches(&format!("\n{name}:")).count();
            assert_eq!(lines, 1, "{name} of {shown}");
        }
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("default-src 'self'"), "{shown}");
        assert!(answer.header("x-request-id").is_some(), "{shown}");
        assert!(answer.header("date").is_some(), "{shown}");
        assert_eq!(answer.header("strict-transport-security"), None, "{shown}");
        let encoding = answer.header("content-encoding");
        assert_eq!(encoding, compressed.then_some("gzip"), "{shown}");
        if compressed {
            assert_eq!(answer.body, long_text().as_bytes(), "{shown}");
            assert_eq!(answer.header("vary"), Some("accept-encoding"), "{shown}");
        }
        if status >= 400 && !compressed {
            let problem: serde_json::Value = serde_json::from_slice(&answer.body).expect(&shown);
            assert_eq!(problem["status"], status, "{shown}");
            let id = problem["request_id"].as_str();
            assert_eq!(id, answer.header("x-request-id"), "{shown}");
        }
    }
}

#[test]
fn headers_can_be_changed_removed_and_added() {
    let (server, _upstream) = server(
        r#"
        [headers]
        "X-Frame-Options" = "DENY"
        "Referrer-Policy" = ""
        "Permissions-Policy" = "camera=()"
        "#,
    );
    for (what, request, ..) in every_kind() {
        let answer = ask(&server, &request);
        let shown = format!("{what}: {}", answer.head);
        assert_eq!(answer.header("x-frame-options"), Some("deny"), "{shown}");
        assert_eq!(answer.header("referrer-policy"), None, "{shown}");
        assert_eq!(
            answer.header("permissions-policy"),
            Some("camera=()"),
            "{shown}"
        );
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{shown}"
        );
    }
}

#[test]
fn an_upstreams_own_policy_is_not_replaced() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nContent-Security-Policy: script-src 'nonce-1'\r\n\r\n",
    );
    let server = Setup::new()
        .config("[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\n[tls]\nmode = \"off\"\n")
        .config(&table(&[&upstream], ""))
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\n")
        .start();
    let answer = ask(&server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(
        answer.header("content-security-policy"),
        Some("script-src 'nonce-1'")
    );
}

#[tokio::test]
async fn hsts_is_sent_over_tls_only() {
    let (server, _upstream) = server("");
    let client = crate::support::http::client();
    for (what, path) in [
        ("a file", "/site/long.txt"),
        ("the API", "/api"),
        ("an upstream's answer", "/proxied/"),
        ("an upstream that is gone", "/dead/"),
        ("a redirect", "/moved/"),
        ("no route", "/nowhere"),
    ] {
        let secure = client.get(server.url(path)).send().await.unwrap();
        let hsts = secure.headers().get("strict-transport-security");
        assert_eq!(hsts.unwrap(), "max-age=15552000", "{what}");
        let plain = client.get(server.plain_url(path)).send().await.unwrap();
        assert!(
            !plain.headers().contains_key("strict-transport-security"),
            "{what}"
        );
    }
}
