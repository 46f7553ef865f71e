//! Traces, as a collector is told of them.

use std::time::{Duration, Instant};

use crate::support::api::Api;
use crate::support::collector::{Collector, Span};
use crate::support::http;
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::upstream::Upstream;

const TRUSTING: &str = "trusted_proxies = [\"127.0.0.0/8\"]";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Flags, and another line.
const TWICE: &str = "01\r\nTraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE}-{PARENT}-{flags}")
}

/// The one span with this name.
fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<_> = spans
        .iter()
        .filter(|span| span.text("name") == name)
        .collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn is_within(inner: &Span, outer: &Span) -> bool {
    let ((began, ended), (from, to)) = (inner.times(), outer.times());
    // The edge reckons from another clock than `tracing`'s spans.
    let slack = 2_000_000;
    from <= began + slack && ended <= to + slack && began <= ended
}

#[tokio::test(flavor = "multi_thread")]
async fn one_trace_leads_from_the_proxy_through_the_app_to_the_database() {
    for version in [1, 2] {
        let collector = Collector::start();
        let mut server = Setup::new()
            .server(TRUSTING)
            .config(&collector.table("service = \"notes\""))
            .start();
        let api = match version {
            1 => Api::http1(&server),
            _ => Api::http2(&server),
        };
        let request = api.request("GET", "/api/notes?limit=5");
        let request = request.header("traceparent", traceparent("01"));
        let answer = api.send(request.header("user-agent", "tester")).await;
        assert_eq!(answer.status, 200);
        server.stop();
        let spans = collector.spans();
        assert!(
            spans.iter().all(|span| span.text("traceId") == TRACE),
            "{spans:#?}"
        );
        assert_eq!(spans.len(), 4, "{spans:#?}");

        let request = only(&spans, "GET /api/");
        let (app, query, acquire) = (
            only(&spans, "app"),
            only(&spans, "SELECT"),
            only(&spans, "acquire"),
        );
        for (span, parent, kind) in [
            (request, PARENT, 2),
            (app, request.text("spanId"), 1),
            (query, app.text("spanId"), 3),
            (acquire, query.text("spanId"), 1),
        ] {
            assert_eq!(span.text("parentSpanId"), parent, "{span:?}");
            assert_eq!(span.kind(), kind, "{span:?}");
            assert!(!span.failed(), "{span:?}");
            assert!(is_within(span, request), "{span:?} in {request:?}");
        }
        let version = if version == 1 { "1.1" } else { "2" };
        for (key, value) in [
            ("http.request.method", "GET"),
            ("http.route", "/api/"),
            ("http.response.status_code", "200"),
            ("url.scheme", "https"),
            ("server.address", "localhost"),
            ("url.path", "/api/notes"),
            ("url.query", "limit=5"),
            ("network.protocol.version", version),
            ("client.address", "127.0.0.1"),
            ("user_agent.original", "tester"),
            (
                "http.request.header.x-request-id",
                answer.header("x-request-id"),
            ),
            ("error.type", ""),
        ] {
            assert_eq!(request.attribute(key), value, "{key}");
        }
        assert_eq!(query.attribute("db.system.name"), "postgresql");
        assert!(query.attribute("db.query.text").contains("FROM notes"));
    }
}

fn forwarding(keys: &str, upstream: &str, collector: &str) -> Server {
    Setup::new()
        .plain()
        .server(keys)
        .config(&format!(
            "{upstream}\n[[route]]\npath = \"/up/\"\nupstream = \"backend\"\nstrip_prefix = \"/up\"\n{collector}"
        ))
        .start()
}

fn ask(server: &Server, fields: &str) -> u16 {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!(
        "GET /up/x?password=s3cret HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n"
    ));
    raw.last_answer().status
}

#[test]
fn each_try_is_a_span_and_the_upstream_goes_on_with_the_last() {
    let (collector, upstream) = (Collector::start(), Upstream::saying("found"));
    let table = format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"127.0.0.1:1 weight=100\", \"{}\"]\neject_after = 0",
        upstream.address
    );
    let mut server = forwarding(TRUSTING, &table, &collector.table(""));
    let fields = format!(
        "Traceparent: {}\r\nTracestate: a=b,c=d\r\n",
        traceparent("01")
    );
    assert_eq!(ask(&server, &fields), 200);
    let seen = upstream.request();
    server.stop();
    let spans = collector.spans();
    assert_eq!(spans.len(), 3, "{spans:#?}");
    let request = only(&spans, "GET /up/");
    let tries: Vec<_> = spans.iter().filter(|span| span.kind() == 3).collect();
    for each in &tries {
        assert_eq!(each.text("name"), "GET");
        assert_eq!(each.text("parentSpanId"), request.text("spanId"));
        assert_eq!(each.attribute("server.address"), "127.0.0.1");
    }
    let (failed, answered) = (tries[0], tries[1]);
    assert!(failed.failed() && !answered.failed(), "{tries:#?}");
    assert_eq!(failed.attribute("server.port"), "1");
    assert_eq!(answered.attribute("http.response.status_code"), "200");
    assert_eq!(answered.attribute("http.request.resend_count"), "1");
    let url = format!("http://{}/x?password=***", upstream.address);
    assert_eq!(answered.attribute("url.full"), url);
    let expected = format!("00-{TRACE}-{}-01", answered.text("spanId"));
    assert_eq!(seen.header("traceparent"), Some(&*expected));
    assert_eq!(seen.header("tracestate"), Some("a=b,c=d"));
}

#[test]
fn what_fails_is_told_as_failed() {
    let collector = Collector::start();
    let table = "[[upstream]]\nname = \"backend\"\nservers = [\"127.0.0.1:1\"]";
    let mut server = forwarding("", table, &collector.table(""));
    assert_eq!(ask(&server, ""), 502);
    server.stop();
    let spans = collector.spans();
    let request = only(&spans, "GET /up/");
    assert!(request.failed(), "{request:?}");
    assert_eq!(request.attribute("error.type"), "502");
    assert_eq!(request.attribute("url.query"), "password=***");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_sent_again_where_that_may_help_and_rejected_spans_are_counted() {
    for (answer, sent, dropped, batches, why) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n",
            1,
            0,
            2,
            "it may pass",
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"1\"}}",
            0,
            1,
            1,
            "not wanted",
        ),
    ] {
        let collector = Collector::answering_first(answer);
        let mut server = Setup::new()
            .plain()
            .admin()
            // An answer without a span of the app's.
            .config("[[route]]\npath = \"/\"\nrespond = { body = \"here\" }")
            .config(&collector.table(""))
            .start();
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(raw.last_answer().status, 200);
        let begin = Instant::now();
        let metrics = loop {
            let metrics = http::client().get(server.admin_url("/metrics")).send();
            let metrics = metrics.await.unwrap().text().await.unwrap();
            let none = ["sent", "dropped"].map(|outcome| count_of(outcome, 0));
            if !none.iter().all(|line| metrics.contains(line)) {
                break metrics;
            }
            assert!(begin.elapsed() < PATIENCE, "{why}: {metrics}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        for line in [count_of("sent", sent), count_of("dropped", dropped)] {
            assert!(metrics.contains(&line), "{why}: {line} in {metrics}");
        }
        server.stop();
        // Each batch has the one span.
        assert_eq!(collector.spans().len(), batches, "{why}");
    }
}

fn count_of(outcome: &str, count: usize) -> String {
    format!("unibody_trace_spans_total{{outcome=\"{outcome}\"}} {count}\n")
}

#[test]
fn only_a_trusted_proxy_continues_its_trace_and_decides() {
    for (keys, sample, flags, continued, told, why) in [
        (
            TRUSTING,
            "0.0",
            "01",
            true,
            true,
            "a trusted proxy wants it",
        ),
        (
            TRUSTING,
            "1.0",
            "00",
            true,
            false,
            "a trusted proxy does not",
        ),
        (TRUSTING, "1.0", "zz", false, true, "it is no traceparent"),
        (TRUSTING, "0.0", TWICE, false, false, "there are two"),
        ("", "0.0", "01", false, false, "anybody wants it"),
        ("", "1.0", "00", false, true, "anybody does not"),
    ] {
        let (collector, upstream) = (Collector::start(), Upstream::saying("found"));
        let telemetry = collector.table(&format!("sample = {sample}"));
        let mut server = forwarding(keys, &upstream.table(""), &telemetry);
        let fields = format!("Traceparent: {}\r\nTracestate: a=b\r\n", traceparent(flags));
        assert_eq!(ask(&server, &fields), 200, "{why}");
        let seen = upstream.request();
        server.stop();
        let sent = seen.header("traceparent").unwrap();
        assert_eq!(sent.contains(TRACE), continued, "{why}: {sent}");
        assert!(!sent.contains(PARENT), "{why}: {sent}");
        assert_eq!(sent.ends_with("-01"), told, "{why}: {sent}");
        assert_eq!(seen.header("tracestate").is_some(), continued, "{why}");
        let spans = collector.spans();
        assert_eq!(spans.len(), if told { 2 } else { 0 }, "{why}: {spans:#?}");
        for span in spans {
            assert!(sent.contains(span.text("traceId")), "{why}: {span:?}");
        }
    }
}

#[test]
fn without_a_collector_traces_pass_by() {
    let upstream = Upstream::saying("found");
    let server = forwarding("", &upstream.table(""), "");
    let fields = format!("Traceparent: {}\r\nTracestate: a=b\r\n", traceparent("01"));
    assert_eq!(ask(&server, &fields), 200);
    let seen = upstream.request();
    assert_eq!(seen.header("traceparent"), Some(&*traceparent("01")));
    assert_eq!(seen.header("tracestate"), Some("a=b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_given_again_are_told_too() {
    let collector = Collector::start();
    let mut server = Setup::new()
        .server(TRUSTING)
        .config(&collector.table(""))
        .start();
    for api in [Api::http1(&server), Api::http2(&server)] {
        for _ in 0..4 {
            let request = api.request("GET", "/");
            let answer = api
                .send(request.header("traceparent", traceparent("01")))
                .await;
            assert_eq!(answer.status, 200);
        }
    }
    server.stop();
    let spans = collector.spans();
    assert_eq!(spans.len(), 8, "{spans:#?}");
    for span in spans {
        assert_eq!(span.text("traceId"), TRACE);
        assert_eq!(span.text("parentSpanId"), PARENT);
        assert_eq!(span.text("name"), "GET /");
        assert_eq!(span.attribute("url.path"), "/");
        assert_eq!(span.attribute("http.route"), "/");
        assert_eq!(span.attribute("http.response.status_code"), "200");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_does_not_answer_costs_spans_and_nothing_else() {
    let refusing = Collector::answering("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
    for (otlp, words) in [
        (refusing.table(""), "it answered 400"),
        (
            "[telemetry]\notlp = \"http://127.0.0.1:1\"".to_owned(),
            "tcp connect error",
        ),
    ] {
        let mut server = Setup::new().admin().config(&otlp).start();
        let api = Api::http2(&server);
        let begin = Instant::now();
        for _ in 0..20 {
            assert_eq!(api.get("/api").await.status, 200);
        }
        assert!(
            begin.elapsed() < Duration::from_secs(5),
            "{:?}",
            begin.elapsed()
        );
        let line = server.wait_for_line("telemetry.otlp has not taken");
        assert!(line.contains(words), "{line}");
        let metrics = http::client().get(server.admin_url("/metrics")).send();
        let metrics = metrics.await.unwrap().text().await.unwrap();
        assert!(
            metrics.contains("unibody_trace_spans_total{outcome=\"sent\"} 0"),
            "{metrics}"
        );
        assert!(
            !metrics.contains("unibody_trace_spans_total{outcome=\"dropped\"} 0"),
            "{metrics}"
        );
        let begin = Instant::now();
        server.stop();
        assert!(
            begin.elapsed() < Duration::from_secs(10),
            "{:?}",
            begin.elapsed()
        );
    }
}

#[tokio::test]
async fn the_collector_is_told_who_asks_and_nobody_else_is() {
    let collector = Collector::start();
    let setup = Setup::new();
    let file = setup.directory().join("headers");
    std::fs::write(&file, "Authorization: Bearer s3cret\nX-Tenant: notes\n").unwrap();
    let keys = "headers_file = \"headers\"\nservice = \"notes\"";
    let mut server = setup
        .config("[log]\nlevel = \"trace,h2=trace\"")
        .config(&collector.table(keys))
        .start();
    Api::http2(&server).get("/api?token=s3cret").await;
    let request = collector.request();
    assert_eq!(request.header("authorization"), Some("Bearer s3cret"));
    assert_eq!(request.header("x-tenant"), Some("notes"));
    let document: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    let resource = &document["resourceSpans"][0]["resource"]["attributes"];
    assert_eq!(resource[0]["key"], "service.name");
    assert_eq!(resource[0]["value"]["stringValue"], "notes");
    server.stop();
    assert!(!server.log().contains("s3cret"), "{}", server.log());
    // Lines said of a request name its trace.
    let trace = &document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"];
    let trace = format!("trace_id={}", trace.as_str().unwrap());
    assert!(server.log().contains(&trace), "{trace} in {}", server.log());
}
