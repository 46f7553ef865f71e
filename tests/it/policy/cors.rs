//! `cors`: what pages of other origins may do.

use super::{ask, server};
use crate::support::raw::RawAnswer;
use crate::support::server::Server;
use crate::support::upstream::Upstream;

const APP: &str = "Origin: https://app.example.com\r\n";
const EVIL: &str = "Origin: https://evil.example\r\n";
const PREFLIGHT: &str =
    "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-own\r\n";

fn start(upstream: &Upstream) -> Server {
    server(
        upstream,
        r#"
        [[rate_limit]]
        name = "one"
        rate = "1/d"
        [[route]]
        path = "/api/"
        upstream = "backend"
        [route.cors]
        origins = ["https://app.example.com", "HTTP://localhost:5173"]
        methods = ["GET", "PUT"]
        headers = ["X-Own", "Content-Type"]
        credentials = true
        max_age = "1h"
        [[route]]
        path = "/open/"
        upstream = "backend"
        cors.origins = ["*"]
        [[route]]
        path = "/limited/"
        upstream = "backend"
        cors.origins = ["https://app.example.com"]
        rate_limit = ["one"]
        [[route]]
        path = "/closed/"
        upstream = "backend"
        cors.origins = ["https://app.example.com"]
        allow = ["192.0.2.1"]
        [[route]]
        path = "/"
        upstream = "backend"
        "#,
    )
}

/// What an answer lets which page do: origin, credentials, and whether caches are told.
fn allowed(answer: &RawAnswer) -> (Option<&str>, Option<&str>, bool) {
    (
        answer.header("access-control-allow-origin"),
        answer.header("access-control-allow-credentials"),
        answer.head.contains("vary: origin"),
    )
}

#[test]
fn preflights_are_answered_here() {
    let upstream = Upstream::saying("");
    let server = start(&upstream);
    let preflight = |path: &str, origin: &str| {
        ask(
            &server,
            &format!("OPTIONS {path}"),
            &format!("{origin}{PREFLIGHT}"),
        )
    };
    let answer = preflight("/api/x", APP);
    assert_eq!(answer.status, 204);
    let app = Some("https://app.example.com");
    assert_eq!(allowed(&answer), (app, Some("true"), true));
    for (name, value) in [
        ("access-control-allow-methods", "get, put"),
        ("access-control-allow-headers", "x-own, content-type"),
        ("access-control-max-age", "3600"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let answer = preflight("/api/x", EVIL);
    assert_eq!((answer.status, allowed(&answer)), (204, (None, None, true)));
    assert_eq!(answer.header("access-control-allow-methods"), None);

    let answer = preflight("/open/", EVIL);
    assert_eq!(allowed(&answer), (Some("*"), None, false));
    let methods = answer.header("access-control-allow-methods");
    assert_eq!(methods, Some("get, head, post"));
    assert_eq!(answer.header("access-control-allow-headers"), None);
    assert_eq!(preflight("/limited/", APP).status, 204);
    assert_eq!(
        preflight("/limited/", APP).status,
        204,
        "they take no token"
    );
    assert_eq!(preflight("/closed/", APP).status, 403);
    assert!(!upstream.has_more_requests(), "nobody else has answered");

    // OPTIONS that is no preflight, and a route that leaves all of it to its upstream.
    assert_eq!(ask(&server, "OPTIONS /api/", APP).status, 200);
    assert_eq!(preflight("/", APP).status, 200);
    assert!(upstream.request().line().starts_with("OPTIONS /api/"));
    assert!(upstream.request().line().starts_with("OPTIONS / "));
}

#[test]
fn every_answer_says_which_page_may_read_it() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\n\
         Access-Control-Allow-Credentials: true\r\nVary: Accept\r\n\r\n",
    );
    let server = start(&upstream);
    let app = Some("https://app.example.com");
    let dev = Some("http://localhost:5173");
    for (line, headers, status, expected, why) in [
        ("GET /api/", APP, 200, (app, Some("true"), true), "named"),
        (
            "GET /api/",
            "Origin: http://localhost:5173\r\n",
            200,
            (dev, Some("true"), true),
            "named as browsers don't write it",
        ),
        (
            "GET /api/",
            EVIL,
            200,
            (None, None, true),
            "not named, whatever the upstream says",
        ),
        ("GET /api/", "", 200, (None, None, true), "no page"),
        (
            "GET /api/",
            "Origin: https://app.example.com\r\nOrigin: https://app.example.com\r\n",
            200,
            (None, None, true),
            "two origins",
        ),
        (
            "GET /api/",
            "Origin: https://app.example.com.evil.example\r\n",
            200,
            (None, None, true),
            "a longer name",
        ),
        (
            "GET /api/",
            "Origin: null\r\n",
            200,
            (None, None, true),
            "null",
        ),
        ("GET /open/", EVIL, 200, (Some("*"), None, false), "any"),
        (
            "GET /",
            EVIL,
            200,
            (Some("*"), Some("true"), false),
            "the upstream's own business",
        ),
        ("GET /limited/", APP, 200, (app, None, true), "the first"),
        ("GET /limited/", APP, 429, (app, None, true), "a refusal"),
        ("GET /closed/", APP, 403, (app, None, true), "another one"),
    ] {
        let answer = ask(&server, line, headers);
        assert_eq!(answer.status, status, "{why}");
        assert_eq!(allowed(&answer), expected, "{why}: {}", answer.head);
        let lines = answer.head.matches("access-control-allow-origin").count();
        assert!(lines <= 1, "{why}: {}", answer.head);
    }
}

#[test]
fn a_page_may_read_that_the_upstream_is_gone() {
    let upstream = Upstream::scripted(|connection| {
        connection.head();
    });
    let server = start(&upstream);
    let answer = ask(&server, "GET /api/", APP);
    assert_eq!(answer.status, 502);
    let app = Some("https://app.example.com");
    assert_eq!(allowed(&answer), (app, Some("true"), true));
}
