//! What the handler sees of a request, and what the client sees of odd answers.

use std::fmt::Write as _;
use std::io::Read as _;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get, post};

use crate::support::edge::Edge;
use crate::support::http;
use crate::support::raw::Raw;

/// Says every header as `name: value`, one a line, after the request line.
fn mirror() -> Router {
    Router::new().fallback(any(async |request: Request<Body>| {
        let mut text = format!(
            "{} {} {:?}\n",
            request.method(),
            request.uri(),
            request.version()
        );
        for (name, value) in request.headers() {
            writeln!(text, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        text
    }))
}

fn value<'a>(mirrored: &'a str, name: &str) -> Vec<&'a str> {
    mirrored
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("{name}: ")))
        .collect()
}

#[tokio::test]
async fn the_handler_knows_who_asked_and_under_which_id() {
    let edge = Edge::serve(mirror());
    let port = edge.https.port();
    for http1 in [true, false] {
        let client = if http1 {
            http::builder().http1_only().build().unwrap()
        } else {
            http::client()
        };
        let answer = client
            .get(edge.url("/x?y=1"))
            .header("x-forwarded-for", "6.6.6.6")
            .header("x-forwarded-proto", "http")
            .header("x-forwarded-host", "evil.test")
            .header("x-real-ip", "6.6.6.6")
            .header("forwarded", "for=6.6.6.6")
            .header("x-request-id", "chosen-by-the-client")
            .send()
            .await
            .unwrap();
        let id = answer.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let seen = answer.text().await.unwrap();
        assert_ne!(id, "chosen-by-the-client");
        for (name, expected) in [
            ("x-request-id", id.as_str()),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", &format!("localhost:{port}")),
        ] {
            assert_eq!(value(&seen, name), [expected], "{name} in {seen}");
        }
        assert!(value(&seen, "forwarded").is_empty(), "{seen}");
        let line = seen.lines().next().unwrap();
        if http1 {
            assert_eq!(line, "GET /x?y=1 HTTP/1.1");
        } else {
            let expected = format!("GET https://localhost:{port}/x?y=1 HTTP/2.0");
            assert_eq!(line, expected);
        }
    }
}

#[test]
fn a_trusted_proxys_word_counts_and_its_list_goes_on() {
    let edge = Edge::with_server(r#"trusted_proxies = ["127.0.0.0/8"]"#, "", mirror());
    let mut raw = Raw::connect(edge.http);
    raw.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 6.6.6.6, 203.0.113.9\r\n\
         X-Forwarded-Proto: https\r\nX-Request-Id: the-proxys\r\n\r\n",
    );
    let answer = raw.answer();
    assert_eq!(answer.header("x-request-id"), Some("the-proxys"));
    let seen = String::from_utf8(answer.body).unwrap();
    for (name, expected) in [
        ("x-forwarded-for", "6.6.6.6, 203.0.113.9, 127.0.0.1"),
        ("x-real-ip", "203.0.113.9"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "the-proxys"),
    ] {
        assert_eq!(value(&seen, name), [expected], "{name} in {seen}");
    }
}

#[test]
fn answers_without_content_have_none_and_the_connection_goes_on() {
    let router = Router::new()
        .route("/page", get("twelve bytes"))
        .route("/204", get(StatusCode::NO_CONTENT))
        .route(
            "/304",
            get(([(header::ETAG, "\"1\"")], StatusCode::NOT_MODIFIED)),
        )
        .route("/empty", get(StatusCode::OK))
        .route(
            "/unknown-length",
            get(async || {
                let stream = futures_util::stream::iter([Ok::<_, std::io::Error>("content")]);
                Body::from_stream(stream)
            }),
        );
    let edge = Edge::serve(router);
    let mut raw = Raw::connect(edge.http);
    for (method, path, status, length, chunked) in [
        ("GET", "/page", 200, Some("12"), false),
        ("HEAD", "/page", 200, Some("12"), false),
        ("GET", "/204", 204, None, false),
        ("GET", "/304", 304, None, false),
        ("GET", "/empty", 200, Some("0"), false),
        ("HEAD", "/unknown-length", 200, None, true),
        ("GET", "/page", 200, Some("12"), false),
    ] {
        raw.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        let head = raw.head();
        let what = format!("{method} {path}: {}", head.head);
        assert_eq!(head.status, status, "{what}");
        assert_eq!(head.header("content-length"), length, "{what}");
        assert_eq!(
            head.header("transfer-encoding").is_some(),
            chunked,
            "{what}"
        );
        if method == "GET" && path == "/page" {
            let mut body = [0; 12];
            raw.0.read_exact(&mut body).unwrap();
            assert_eq!(&body, b"twelve bytes");
        }
    }
}

#[test]
fn a_handler_that_reads_nothing_answers_all_the_same() {
    let edge = Edge::serve(Router::new().route("/", post("not interested")));
    for (why, body) in [
        ("with a length", "Content-Length: 5\r\n\r\nhello"),
        (
            "chunked",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        ),
        ("not yet sent", "Content-Length: 5000000\r\n\r\n"),
        (
            "waiting to be asked",
            "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
        ),
    ] {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{body}"));
        let answer = raw.answer();
        assert_eq!(answer.status, 200, "{why}");
        assert_eq!(answer.body, b"not interested", "{why}");
    }
}

#[test]
fn a_body_is_asked_for_when_the_handler_wants_it() {
    let edge = Edge::serve(Router::new().route("/", post(async |body: String| body)));
    let mut raw = Raw::connect(edge.http);
    raw.send(
        "POST / HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    );
    assert_eq!(raw.head().status, 100);
    raw.send("hello");
    let answer = raw.answer();
    assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
}

#[test]
fn trailers_are_no_part_of_the_body() {
    let router = Router::new()
        .route("/echo", post(async |body: Bytes| body))
        .route(
            "/trailing",
            get(async || Response::new(Body::new(trailing()))),
        );
    let edge = Edge::serve(router);
    let mut raw = Raw::connect(edge.http);
    for _ in 0..2 {
        raw.send(
            "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
             Trailer: X-Checksum\r\n\r\n5\r\nhello\r\n0\r\nX-Checksum: 1\r\n\r\n",
        );
        let answer = raw.answer();
        assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
    }
    raw.send("GET /trailing HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().status, 200);
    assert_eq!(raw.chunks().unwrap(), b"content");
}

fn trailing() -> impl http_body::Body<Data = Bytes, Error = std::io::Error> + Send {
    use http_body::Frame;
    let trailers = axum::http::HeaderMap::from_iter([(
        header::HeaderName::from_static("x-checksum"),
        header::HeaderValue::from_static("1"),
    )]);
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"content"))),
        Ok(Frame::trailers(trailers)),
    ];
    http_body_util::StreamBody::new(futures_util::stream::iter(frames))
}

#[test]
fn a_client_of_http_1_0_gets_no_chunks() {
    let router = Router::new().route("/page", get("a page")).route(
        "/stream",
        get(async || {
            let pieces = ["piece ", "by ", "piece"].map(Ok::<_, std::io::Error>);
            Body::from_stream(futures_util::stream::iter(pieces))
        }),
    );
    let edge = Edge::serve(router);
    for (path, body) in [("/page", "a page"), ("/stream", "piece by piece")] {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!(
            "GET {path} HTTP/1.0\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\
             Connection: keep-alive\r\n\r\n"
        ));
        let answer = if path == "/page" {
            raw.answer()
        } else {
            raw.last_answer()
        };
        let connection = if path == "/page" {
            "keep-alive"
        } else {
            "close"
        };
        assert_eq!(answer.header("connection"), Some(connection), "{path}");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("transfer-encoding"), None, "{path}");
        assert_eq!(answer.body, body.as_bytes(), "{path}");
    }
}

#[tokio::test]
async fn a_handlers_own_error_page_is_left_alone_and_an_empty_one_filled() {
    let router = Router::new()
        .route("/teapot", get((StatusCode::IM_A_TEAPOT, "short and stout")))
        .route("/bare", get(StatusCode::CONFLICT));
    let edge = Edge::serve(router);
    let client = http::client();
    let own = client.get(edge.url("/teapot")).send().await.unwrap();
    assert_eq!(own.status(), 418);
    assert_eq!(own.text().await.unwrap(), "short and stout");
    let bare = client.get(edge.url("/bare")).send().await.unwrap();
    assert_eq!(bare.status(), 409);
    assert_eq!(bare.headers()["content-type"], "application/problem+json");
    let problem: serde_json::Value = bare.json().await.unwrap();
    assert_eq!(problem["status"], 409);
}
