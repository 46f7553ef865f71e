//! Handlers that panic, and bodies that break: no client takes a part for the whole.

use std::io::{self, ErrorKind, Read};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::Response;
use axum::routing::get;
use futures_util::stream;

use crate::support::edge::Edge;
use crate::support::http2::{Http2, read_to_end};
use crate::support::raw::Raw;

const PART: &str = "the first part, and then ";

/// A body of two pieces, the second of which is a panic or an error.
fn breaking(panics: bool) -> Body {
    let pieces = stream::unfold(0, move |number| async move {
        match number {
            0 => Some((Ok(Bytes::from_static(PART.as_bytes())), 1)),
            _ if panics => panic!("in the middle of the body"),
            _ => Some((Err(io::Error::other("the source broke")), 2)),
        }
    });
    Body::from_stream(pieces)
}

fn router() -> Router {
    let answer = |panics: bool, length: Option<usize>| {
        get(async move || {
            let mut answer = Response::new(breaking(panics));
            let headers = answer.headers_mut();
            headers.insert(CONTENT_TYPE, "text/plain".parse().unwrap());
            if let Some(length) = length {
                headers.insert(CONTENT_LENGTH, length.into());
            }
            answer
        })
    };
    Router::new()
        .route(
            "/panic",
            get(async || -> &'static str { panic!("before the answer") }),
        )
        .route("/panic-late", answer(true, None))
        .route("/panic-late-with-length", answer(true, Some(5000)))
        .route("/error-late", answer(false, None))
        .route("/error-late-with-length", answer(false, Some(5000)))
        .route("/fine", get("fine"))
}

#[test]
fn a_panic_before_the_answer_is_500_and_costs_nobody_else_anything() {
    let edge = Edge::serve(router());
    let mut raw = Raw::connect(edge.http);
    for _ in 0..2 {
        raw.send("GET /panic HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
        let answer = raw.answer();
        assert_eq!(answer.status, 500);
        let page = String::from_utf8(answer.body).unwrap();
        assert!(page.contains("went wrong"), "{page}");
        assert!(!page.contains("before the answer"), "nothing from inside");
    }
    raw.send("GET /fine HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.answer().body, b"fine", "on the same connection");
}

#[test]
fn a_body_that_breaks_has_no_final_chunk() {
    let edge = Edge::serve(router());
    for path in ["/panic-late", "/error-late"] {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(raw.head().status, 200);
        assert_eq!(raw.chunk().unwrap(), PART.as_bytes(), "{path}");
        assert_eq!(raw.chunk(), None, "{path} ends the connection");
    }
}

#[test]
fn to_http_1_0_a_body_that_breaks_is_a_reset() {
    let edge = Edge::serve(router());
    for (path, expected) in [
        ("/fine", None),
        ("/panic-late", Some(ErrorKind::ConnectionReset)),
        ("/error-late", Some(ErrorKind::ConnectionReset)),
        ("/panic-late-with-length", Some(ErrorKind::ConnectionReset)),
        // Before anything is sent there is an answer.
        ("/panic", None),
    ] {
        for fields in ["", "Connection: keep-alive\r\n"] {
            let mut raw = Raw::connect(edge.http);
            raw.send(format!(
                "GET {path} HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n"
            ));
            let mut got = Vec::new();
            if expected.is_none() && !fields.is_empty() {
                // It may live on.
                assert!(raw.head().status >= 200);
                continue;
            }
            let ended = raw.0.read_to_end(&mut got);
            assert_eq!(
                ended.err().map(|error| error.kind()),
                expected,
                "{path}, {fields:?}"
            );
        }
    }
}

#[test]
fn a_compressed_body_that_breaks_has_no_end_either() {
    let edge = Edge::serve(router());
    for path in ["/panic-late", "/error-late"] {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
        ));
        assert_eq!(raw.head().header("content-encoding"), Some("gzip"));
        let mut encoded = Vec::new();
        while let Some(chunk) = raw.chunk() {
            assert!(!chunk.is_empty(), "{path} has a final chunk");
            encoded.extend_from_slice(&chunk);
        }
        let mut decoder = flate2::read::GzDecoder::new(&encoded[..]);
        assert!(decoder.read_to_end(&mut Vec::new()).is_err(), "{path}");
    }
}

#[test]
fn a_body_that_breaks_is_shorter_than_its_length() {
    let edge = Edge::serve(router());
    for path in ["/panic-late-with-length", "/error-late-with-length"] {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let answer = raw.last_answer();
        assert_eq!(answer.header("content-length"), Some("5000"), "{path}");
        assert_eq!(answer.body, PART.as_bytes(), "{path}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_resets_its_http_2_stream_and_no_other() {
    let edge = Edge::serve(router());
    let mut client = Http2::connect(edge.https).await;
    let panicked = client.get("/panic", &[]).await;
    assert_eq!(panicked.status(), 500);
    for path in [
        "/panic-late",
        "/error-late",
        "/panic-late-with-length",
        "/error-late-with-length",
    ] {
        for accept in ["identity", "gzip"] {
            // The reset may overtake the head; what must not come is a proper end.
            let error = match client.try_get(path, &[("accept-encoding", accept)]).await {
                Ok(answer) => read_to_end(&mut answer.into_body())
                    .await
                    .expect_err("a part is not the whole"),
                Err(error) => error,
            };
            assert!(error.is_reset(), "{path}, {accept}: {error}");
        }
    }
    let mut fine = client.get("/fine", &[]).await.into_body();
    assert_eq!(read_to_end(&mut fine).await.unwrap(), b"fine");
}
