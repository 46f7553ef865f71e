//! When an answer is compressed, and what its head says then.

use std::fs;
use std::io::Read as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Query;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;

use crate::support::edge::Edge;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::Setup;

/// Answers with the headers of the query, and `length` bytes of text.
pub(super) fn router() -> Router {
    Router::new().fallback(get(
        async |Query(parameters): Query<Vec<(String, String)>>| {
            let mut answer = Response::new(Body::empty());
            let mut length = 5000;
            for (name, value) in parameters {
                match name.as_str() {
                    "length" => length = value.parse().unwrap(),
                    "status" => {
                        *answer.status_mut() =
                            StatusCode::from_u16(value.parse().unwrap()).unwrap();
                    }
                    _ => {
                        let name: HeaderName = name.parse().unwrap();
                        let value: HeaderValue = value.parse().unwrap();
                        answer.headers_mut().append(name, value);
                    }
                }
            }
            *answer.body_mut() = Body::from(text(length));
            answer
        },
    ))
}

pub(super) fn text(length: usize) -> String {
    "a quick brown fox ".chars().cycle().take(length).collect()
}

/// Of a file too long to be compressed once and kept: each answer is compressed on its way.
pub(super) const LONG_FILE: usize = (4 << 20) + 1;

struct Asked {
    head: RawAnswer,
    body: Vec<u8>,
}

fn ask(edge: &Edge, query: &str, headers: &str) -> Asked {
    let mut raw = Raw::connect(edge.http);
    raw.send(format!(
        "GET /?{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
    ));
    let head = raw.head();
    let body = if head.header("transfer-encoding").is_some() {
        raw.chunks().expect("a whole body")
    } else {
        let length = head.header("content-length").unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        raw.0.read_exact(&mut body).unwrap();
        body
    };
    Asked { head, body }
}

impl Asked {
    fn is_compressed(&self) -> bool {
        self.head.header("content-encoding") == Some("gzip")
    }

    fn decoded(&self) -> Vec<u8> {
        let mut decoded = Vec::new();
        flate2::read::GzDecoder::new(&self.body[..])
            .read_to_end(&mut decoded)
            .unwrap();
        decoded
    }
}

#[test]
fn the_clients_weights_decide() {
    let edge = Edge::serve(router());
    for (accept, compressed) in [
        (None, false),
        (Some("gzip"), true),
        (Some("gzip, deflate"), true),
        (Some("gzip;q=1, br;q=0.5"), true),
        (Some("gzip, *;q=0.5"), true),
        (Some("*;q=0"), false),
        (Some("gzip;q=0"), false),
        (Some("gzip;q=0, *;q=0"), false),
        (Some("identity"), false),
        (Some("identity, gzip;q=0.5"), false),
        (Some("identity;q=0.5, gzip"), true),
        (Some("deflate"), false),
        (Some(""), false),
    ] {
        let header = accept.map_or(String::new(), |accept| {
            format!("Accept-Encoding: {accept}\r\n")
        });
        let asked = ask(&edge, "content-type=text/plain", &header);
        assert_eq!(asked.is_compressed(), compressed, "{accept:?}");
        let varies = asked.head.header("vary");
        assert_eq!(varies, Some("accept-encoding"), "{accept:?}: for caches");
        if compressed {
            assert_eq!(asked.decoded(), text(5000).as_bytes());
            assert!(asked.body.len() < 500, "{} bytes", asked.body.len());
            assert_eq!(asked.head.header("content-length"), None);
        } else {
            assert_eq!(asked.body, text(5000).as_bytes());
            assert_eq!(asked.head.header("content-length"), Some("5000"));
        }
    }
}

#[test]
fn what_must_not_or_need_not_be_compressed_is_not() {
    let edge = Edge::serve(router());
    for (query, compressed, why) in [
        ("content-type=text/plain", true, "text"),
        ("content-type=application/json", true, "JSON"),
        (
            "content-type=text/html;%20charset=utf-8",
            true,
            "a parameter",
        ),
        ("content-type=image/svg%2Bxml", true, "drawings"),
        ("content-type=image/png", false, "compressed by itself"),
        ("content-type=application/octet-stream", false, "anything"),
        ("", false, "without a type"),
        ("content-type=text/event-stream", false, "an event stream"),
        ("content-type=text/plain&length=1023", false, "too short"),
        (
            "content-type=text/plain&length=1024",
            true,
            "just long enough",
        ),
        ("content-type=text/plain&length=0", false, "nothing"),
        (
            "content-type=text/plain&content-encoding=br",
            false,
            "encoded already",
        ),
        (
            "content-type=text/plain&cache-control=public,%20no-transform",
            false,
            "no-transform",
        ),
        (
            "content-type=text/plain&status=206&content-range=bytes%200-4999/9999",
            false,
            "a part",
        ),
        (
            "content-type=text/plain&set-cookie=a=b",
            false,
            "somebody's own",
        ),
        ("content-type=text/plain&status=404", true, "an error page"),
    ] {
        let asked = ask(&edge, query, "Accept-Encoding: gzip\r\n");
        assert_eq!(
            asked.is_compressed(),
            compressed,
            "{why}: {}",
            asked.head.head
        );
    }
}

#[test]
fn an_answer_to_somebody_known_is_not_compressed() {
    let edge = Edge::serve(router());
    for headers in ["Cookie: session=1\r\n", "Authorization: Bearer x\r\n"] {
        let headers = format!("Accept-Encoding: gzip\r\n{headers}");
        let asked = ask(&edge, "content-type=text/html", &headers);
        assert!(!asked.is_compressed(), "{headers}");
        assert_eq!(asked.body, text(5000).as_bytes());
    }
}

#[test]
fn the_head_speaks_of_the_compressed_body() {
    let edge = Edge::serve(router());
    let query =
        "content-type=text/plain&etag=%22v1%22&vary=Origin&accept-ranges=bytes&content-digest=x";
    let asked = ask(&edge, query, "Accept-Encoding: gzip\r\n");
    assert!(asked.is_compressed());
    for (name, value) in [
        ("etag", Some("w/\"v1\"")),
        ("vary", Some("origin, accept-encoding")),
        ("accept-ranges", None),
        ("content-digest", None),
        ("content-length", None),
    ] {
        assert_eq!(asked.head.header(name), value, "{name}");
    }
    let plain = ask(&edge, query, "");
    assert_eq!(plain.head.header("etag"), Some("\"v1\""));
    assert_eq!(plain.head.header("accept-ranges"), Some("bytes"));
    let weak = ask(
        &edge,
        "content-type=text/plain&etag=W/%22v1%22",
        "Accept-Encoding: gzip\r\n",
    );
    assert_eq!(weak.head.header("etag"), Some("w/\"v1\""));
}

#[test]
fn compression_can_be_switched_off_and_its_types_and_length_chosen() {
    let off = Edge::with("[compression]\nalgorithms = []\n", router());
    let asked = ask(&off, "content-type=text/plain", "Accept-Encoding: gzip\r\n");
    assert!(!asked.is_compressed());

    let chosen = "[compression]\ntypes = [\"application/x-own\"]\nmin_length = \"10B\"\n";
    let edge = Edge::with(chosen, router());
    for (query, compressed) in [
        ("content-type=text/plain", false),
        ("content-type=application/x-own", true),
        ("content-type=application/x-own&length=10", true),
        ("content-type=application/x-own&length=9", false),
    ] {
        let asked = ask(&edge, query, "Accept-Encoding: gzip\r\n");
        assert_eq!(asked.is_compressed(), compressed, "{query}");
    }
}

/// Names of headers that differ from one request to the next.
const OWN: [&str; 2] = ["x-request-id", "date"];

/// The lines of a head that two requests have in common.
pub(super) fn comparable(head: &RawAnswer) -> Vec<&str> {
    let mut lines: Vec<_> = head
        .head
        .lines()
        .filter(|line| !OWN.iter().any(|name| line.starts_with(name)))
        .collect();
    lines.sort_unstable();
    lines
}

#[test]
fn head_says_what_get_would() {
    let setup = Setup::new();
    fs::create_dir(setup.directory().join("site")).unwrap();
    fs::write(setup.directory().join("site/long.txt"), text(LONG_FILE)).unwrap();
    fs::write(setup.directory().join("site/short.txt"), "short").unwrap();
    let upstream = Arc::new(text(5000));
    let upstream = crate::support::upstream::Upstream::scripted(move |connection| {
        while let Some(head) = connection.head() {
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n",
                upstream.len()
            ));
            if head.starts_with("GET") {
                connection.send(upstream.as_bytes());
            }
        }
    });
    let server = setup
        .config("[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\n[tls]\nmode = \"off\"\n")
        .config(&upstream.table(""))
        .config("[[route]]\npath = \"/site/\"\nfiles = \"site\"\n")
        .config("[[route]]\npath = \"/proxied/\"\nupstream = \"backend\"\n")
        .config("[[route]]\npath = \"/api/\"\napp = true\n")
        .config("[[route]]\npath = \"/said/\"\nrespond = { body = \"said\" }\n")
        .start();
    for path in [
        "/site/long.txt",
        "/site/short.txt",
        "/site/missing",
        "/proxied/",
        "/api",
        "/said/",
        "/nowhere",
    ] {
        for accept in ["gzip", "identity"] {
            let ask = |method: &str| {
                let mut raw = Raw::connect(server.http.unwrap());
                raw.send(format!(
                    "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accept}\r\n\r\n"
                ));
                let head = raw.head();
                if method == "HEAD" {
                    raw.send("GET /said/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    assert_eq!(raw.answer().body, b"said", "no body follows HEAD {path}");
                }
                head
            };
            let (get, head) = (ask("GET"), ask("HEAD"));
            let mut expected = comparable(&get);
            // Framing of a body that isn't sent may be left out (RFC 9110, section 9.3.2).
            if !head.head.contains("transfer-encoding") {
                expected.retain(|line| !line.starts_with("transfer-encoding"));
            }
            assert_eq!(comparable(&head), expected, "{path}, {accept}");
        }
    }
}

#[test]
fn a_304_confirms_the_validator_that_the_client_has() {
    let setup = Setup::new();
    fs::create_dir(setup.directory().join("site")).unwrap();
    fs::write(setup.directory().join("site/long.txt"), text(LONG_FILE)).unwrap();
    let server = setup
        .config("[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\n[tls]\nmode = \"off\"\n")
        .config("[[route]]\npath = \"/\"\nfiles = \"site\"\n")
        .start();
    for accept in ["gzip", "identity"] {
        let ask = |condition: &str| {
            let mut raw = Raw::connect(server.http.unwrap());
            raw.send(format!(
                "GET /long.txt HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accept}\r\n{condition}\r\n"
            ));
            raw.head()
        };
        let first = ask("");
        assert_eq!(first.status, 200);
        let etag = first.header("etag").unwrap().to_owned();
        assert_eq!(etag.starts_with("w/"), accept == "gzip");
        let sent = etag.replacen("w/", "W/", 1);
        let again = ask(&format!("If-None-Match: {sent}\r\n"));
        assert_eq!(again.status, 304, "{accept}");
        assert_eq!(again.header("etag"), Some(etag.as_str()), "{accept}");
        assert_eq!(again.header("content-encoding"), None);
        if accept == "gzip" {
            assert_eq!(again.header("vary"), Some("accept-encoding"));
        }
        let part = ask("Range: bytes=0-9\r\n");
        assert_eq!(part.status, 206, "{accept}");
        assert_eq!(part.header("content-encoding"), None);
        assert_eq!(part.header("content-length"), Some("10"));
    }
}
