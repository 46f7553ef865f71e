//! Requests, by how they ended.

use std::fs;

use crate::support::http2::{Http2, read_to_end};
use crate::support::metrics::Metrics;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};

const ROUTES: &str = r#"
    [[route]]
    path = "/files/"
    files = "served"
    [[route]]
    host = "localhost"
    path = "=/exact"
    respond = { status = 503, body = "no" }
    [[route]]
    path = "/hello/"
    respond = { status = 200, body = "hello" }
    "#;

fn plain() -> Server {
    let setup = Setup::new().admin().plain().config(ROUTES);
    fs::create_dir(setup.directory().join("served")).unwrap();
    fs::write(setup.directory().join("served/a.txt"), "ten bytes\n").unwrap();
    setup.start()
}

fn counted(route: &str, method: &str, status: &str) -> String {
    format!("unibody_requests_total{{route=\"{route}\",method=\"{method}\",status=\"{status}\"}}")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_request_is_counted_once_with_its_route_method_and_class() {
    let server = plain();
    let mut raw = Raw::connect(server.http.unwrap());
    let mut ask = |method: &str, path: &str| {
        let length = if method == "POST" {
            "Content-Length: 5\r\n"
        } else {
            ""
        };
        let body = if method == "POST" { "12345" } else { "" };
        raw.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n{body}"
        ));
        match method {
            "HEAD" => raw.head().status,
            _ => raw.answer().status,
        }
    };
    for _ in 0..10 {
        assert_eq!(ask("GET", "/hello/1"), 200);
    }
    assert_eq!(ask("HEAD", "/hello/1"), 200);
    assert_eq!(ask("PROPFIND", "/hello/1"), 200);
    for path in ["a.txt", "a.txt", "missing", "b"] {
        ask("GET", &format!("/files/{path}"));
    }
    assert_eq!(ask("DELETE", "/files/a.txt"), 405);
    assert_eq!(ask("GET", "/exact"), 503);
    // Nobody has read its body: its connection ends.
    assert_eq!(ask("POST", "/hello/1"), 200);
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("OPTIONS /hello/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.answer().status, 200);
    let metrics = Metrics::once(&server, "unibody_requests_running", 0.0).await;
    let table = [
        (counted("/hello/", "GET", "2xx"), 10.0, "ready or not"),
        (counted("/hello/", "HEAD", "2xx"), 1.0, "of its own"),
        (counted("/hello/", "POST", "2xx"), 1.0, "of its own"),
        (
            counted("/hello/", "other", "2xx"),
            1.0,
            "no method's name is a label",
        ),
        (counted("/files/", "GET", "2xx"), 2.0, "there"),
        (counted("/files/", "GET", "4xx"), 2.0, "missing"),
        (
            counted("/files/", "DELETE", "4xx"),
            1.0,
            "refused by the route",
        ),
        (
            counted("localhost=/exact", "GET", "5xx"),
            1.0,
            "host and path as written",
        ),
        (
            "unibody_ready_answers_total{route=\"/hello/\"}".to_owned(),
            8.0,
            "all but the first two",
        ),
        (
            "unibody_request_duration_seconds_count{route=\"/hello/\"}".to_owned(),
            14.0,
            "each has its time",
        ),
        (
            "unibody_edge_duration_seconds_count{route=\"/hello/\"}".to_owned(),
            14.0,
            "ready or not",
        ),
        (
            "unibody_response_bytes_total{route=\"/hello/\"}".to_owned(),
            5.0 * 13.0,
            "HEAD gets none",
        ),
        (
            "unibody_file_answers_total{route=\"/files/\",from=\"disk\"}".to_owned(),
            3.0,
            "the first look at each name",
        ),
        (
            "unibody_file_answers_total{route=\"/files/\",from=\"memory\"}".to_owned(),
            2.0,
            "the second look, and a method that needs none",
        ),
        (counted("/hello/", "OPTIONS", "2xx"), 1.0, "of its own"),
    ];
    for (sample, value, why) in table {
        assert_eq!(
            metrics.value(&sample),
            value,
            "{why}: {sample}\n{}",
            metrics.text
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ready_answers_over_http2_are_counted_like_others() {
    let setup = Setup::new().admin().config(ROUTES);
    fs::create_dir(setup.directory().join("served")).unwrap();
    let server = setup.start();
    let mut http2 = Http2::connect(server.https.unwrap()).await;
    for _ in 0..10 {
        let mut answer = http2.get("/hello/", &[]).await;
        assert_eq!(read_to_end(answer.body_mut()).await.unwrap(), b"hello");
    }
    let metrics = Metrics::once(&server, &counted("/hello/", "GET", "2xx"), 10.0).await;
    let of = |name: &str| metrics.value(&format!("{name}{{route=\"/hello/\"}}"));
    assert_eq!(of("unibody_ready_answers_total"), 8.0);
    assert_eq!(of("unibody_request_duration_seconds_count"), 10.0);
    assert_eq!(of("unibody_edge_duration_seconds_count"), 10.0);
    assert_eq!(of("unibody_response_bytes_total"), 50.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_come_to_no_route_are_counted_by_the_reason() {
    let setup = Setup::new()
        .admin()
        .plain()
        .config(ROUTES)
        .config("[server.timeouts]\nheader = \"300ms\"");
    fs::create_dir(setup.directory().join("served")).unwrap();
    let server = setup.start();
    let long = "a".repeat(70_000);
    let table = [
        (
            "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n".to_owned(),
            421,
            "misdirected",
        ),
        (
            "GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            404,
            "not_found",
        ),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400, "malformed"),
        ("\x16\x03\x01".to_owned(), 400, "malformed"),
        (
            "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            405,
            "method",
        ),
        (
            "GET / HTTP/1.1\r\nHost: localh".to_owned(),
            408,
            "slow_head",
        ),
        (
            format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            414,
            "target_too_long",
        ),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nA: {long}\r\n\r\n"),
            431,
            "head_too_large",
        ),
        (
            "GET / HTTP/3.0\r\nHost: localhost\r\n\r\n".to_owned(),
            505,
            "version",
        ),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nExpect: more\r\n\r\n".to_owned(),
            417,
            "expectation",
        ),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
                .to_owned(),
            501,
            "transfer_encoding",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(),
            204,
            "options",
        ),
    ];
    let mut expected = std::collections::BTreeMap::new();
    for (request, status, reason) in table {
        let answer = Raw::connect(server.http.unwrap()).send(&request).head();
        assert_eq!(answer.status, status, "{reason}");
        let count = expected.entry(reason).or_insert(0.0);
        *count += 1.0;
        let sample = format!("unibody_requests_unrouted_total{{reason=\"{reason}\"}}");
        Metrics::once(&server, &sample, *count).await;
    }
    let metrics = Metrics::of(&server).await;
    let routed: f64 = metrics
        .all("unibody_requests_total")
        .map(|(_, value)| value)
        .sum();
    assert_eq!(routed, 0.0);
    let unrouted = metrics.all("unibody_requests_unrouted_total");
    assert_eq!(
        unrouted.map(|(_, value)| value).sum::<f64>(),
        12.0,
        "each once"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_send_makes_no_new_series() {
    let server = plain();
    let before = Metrics::of(&server).await;
    let mut raw = Raw::connect(server.http.unwrap());
    for number in 0..50 {
        let method = "X".repeat(1 + number % 20);
        raw.send(format!(
            "{method} /hello/{number}?q={number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        raw.answer();
        raw.send(format!(
            "GET /nowhere/{number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        raw.answer();
    }
    let sample = "unibody_requests_unrouted_total{reason=\"not_found\"}";
    let after = Metrics::once(&server, sample, 50.0).await;
    let new = after.text.lines().count() - before.text.lines().count();
    assert_eq!(
        new, 1,
        "one method and class of one route that had none:\n{}",
        after.text
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_the_counts_of_routes_that_stay_and_of_those_that_come_back() {
    let server = Setup::new().admin().plain().config(&routes("b")).start();
    let ask = |path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        Raw::connect(server.http.unwrap()).send(request).answer();
    };
    let path = server.path("config.toml");
    let text = fs::read_to_string(&path).unwrap();
    let reload = |gone: &str, come: &str| {
        let text = text.replace(&routes(gone), &routes(come));
        fs::write(&path, text).unwrap();
        let output = server.ask(&["reload"]);
        assert!(output.status.success(), "{output:?}");
    };
    let (a, b) = (counted("/a/", "GET", "2xx"), counted("/b/", "GET", "2xx"));
    for _ in 0..5 {
        ask("/a");
        ask("/b");
    }
    Metrics::once(&server, &b, 5.0).await;
    reload("b", "c");
    ask("/a");
    let metrics = Metrics::once(&server, &a, 6.0).await;
    assert!(!metrics.text.contains("route=\"/b/\""), "{}", metrics.text);
    assert_eq!(
        metrics.value("unibody_requests_unrouted_total{reason=\"not_found\"}"),
        0.0
    );
    reload("b", "b");
    ask("/b");
    Metrics::once(&server, &b, 6.0).await;
}

/// A route that stays, and another.
fn routes(other: &str) -> String {
    let route = |path: &str| {
        format!("[[route]]\npath = \"/{path}\"\nrespond = {{ status = 200, body = \"{path}\" }}\n")
    };
    route("a") + &route(other)
}
