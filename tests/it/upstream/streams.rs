//! What is not over with an answer: WebSocket, event streams, interim answers, trailers.

use std::io::Read as _;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{access_line, forwarding_to};
use crate::support::grpc::Grpc;
use crate::support::handshake::Handshakes;
use crate::support::http2::{Http2, read_to_end};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Setup};
use crate::support::tls_front::Authority;
use crate::support::upstream::Upstream;

const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const EVENTS: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
const AGREEMENT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Begins an answer, and goes on when it is told to.
fn hesitating(head: &'static str) -> (Upstream, std::sync::mpsc::Sender<&'static str>) {
    let (sender, pieces) = std::sync::mpsc::channel::<&'static str>();
    let pieces = std::sync::Mutex::new(pieces);
    let upstream = Upstream::scripted(move |connection| {
        connection.request();
        connection.send(head);
        for piece in pieces.lock().unwrap().iter() {
            connection.send(piece);
        }
    });
    (upstream, sender)
}

#[test]
fn only_what_asks_for_a_stream_may_be_silent_for_long() {
    const EVENT_HEAD: &str =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (why, request, head, survives) in [
        ("WebSocket", UPGRADE, AGREEMENT, true),
        ("event stream", EVENTS, EVENT_HEAD, true),
        (
            "anything else",
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            EVENT_HEAD,
            false,
        ),
    ] {
        let (upstream, go_on) = hesitating(head);
        let server = forwarding_to(&upstream.table("read_timeout = \"500ms\""));
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(request);
        assert!([101, 200].contains(&raw.head().status), "{why}");
        let is_silent = raw.is_silent_for(Duration::from_millis(1500));
        assert_eq!(is_silent, survives, "{why}");
        if survives {
            go_on.send("5\r\nhello\r\n").unwrap();
            let mut piece = [0; 10];
            raw.0.read_exact(&mut piece).unwrap();
            assert_eq!(&piece, b"5\r\nhello\r\n", "{why}");
        }
    }
}

#[test]
fn a_stream_is_cut_by_its_own_timeout() {
    let (upstream, _go_on) = hesitating(AGREEMENT);
    let keys = "read_timeout = \"300ms\"\nstream_timeout = \"600ms\"";
    let server = forwarding_to(&upstream.table(keys));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(UPGRADE);
    assert_eq!(raw.head().status, 101);
    let began = Instant::now();
    assert_eq!(raw.read_to_end(), b"");
    assert!(began.elapsed() > Duration::from_millis(400));
    assert!(began.elapsed() < PATIENCE / 2);
}

/// However patient one is with a stream, it has to begin.
#[test]
fn the_head_of_a_stream_has_the_usual_time() {
    let upstream = Upstream::scripted(|connection| {
        connection.request();
        connection.is_closed();
    });
    let mut server = forwarding_to(&upstream.table("read_timeout = \"500ms\""));
    for request in [UPGRADE, EVENTS] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(request);
        let answer = raw.answer();
        assert_eq!(answer.status, 504, "{request}");
        let line = access_line(&mut server, &answer);
        assert!(line.contains(" uhtt=\"-\" urt=\"0."), "{line}");
    }
}

#[test]
fn a_stream_over_http_2_has_the_same_times_whatever_asks_for_it() {
    let grpc = Grpc::start();
    let server = forwarding_to(&format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"h2c://{}\"]\nread_timeout = \"500ms\"\n",
        grpc.address
    ));
    for method in ["GET", "POST"] {
        let ask = |path: &str| {
            let mut raw = Raw::connect(server.http.unwrap());
            raw.send(format!(
                "{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
                 Content-Length: 0\r\n\r\n"
            ));
            raw
        };
        assert_eq!(ask("/wait").answer().status, 504, "{method}: its head");
        let mut raw = ask("/events");
        assert_eq!(raw.head().status, 200, "{method}");
        let mut event = [0; 20];
        raw.0.read_exact(&mut event).unwrap();
        assert_eq!(&event, b"F\r\nid: 1\ndata: 1\n\n\r\n", "{method}");
        assert!(raw.is_silent_for(Duration::from_millis(1500)), "{method}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_passes_with_tls_on_both_sides() {
    let upstream = Upstream::scripted(|connection| {
        if connection.request().is_none() {
            return;
        }
        connection.send(AGREEMENT);
        while let Some(bytes) = connection.read(5) {
            connection.send(bytes);
        }
    });
    let authority = Authority::new();
    let target = upstream.address.parse().unwrap();
    let front = authority.front(&["127.0.0.1"], &["http/1.1"], target);
    let setup = Setup::new();
    authority.write(&setup.directory().join("ca.pem"));
    let server = setup
        .config(&format!(
            "[[upstream]]\nname = \"chat\"\nservers = [\"https://{}\"]\nca_file = \"ca.pem\"\n\
             [[route]]\npath = \"/\"\nupstream = \"chat\"\n",
            front.address
        ))
        .start();
    for _ in 0..8 {
        let tls = Handshakes::new(&["http/1.1"]);
        let tls = tls.connect(server.https.unwrap(), "localhost").await;
        let mut stream = tls.unwrap().stream;
        stream.write_all(UPGRADE.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101"));
        for message in [b"hello", b"\0\x81\xff\r\n"] {
            stream.write_all(message).await.unwrap();
            let mut echoed = [0; 5];
            stream.read_exact(&mut echoed).await.unwrap();
            assert_eq!(&echoed, message);
        }
    }
}

#[test]
fn whether_to_continue_is_the_upstreams_to_say() {
    for (why, says) in [
        ("it wants the body", Some("HTTP/1.1 100 Continue\r\n\r\n")),
        ("it does not", None),
    ] {
        let upstream = Upstream::scripted(move |connection| {
            let head = connection.head().unwrap();
            assert!(
                head.to_lowercase().contains("expect: 100-continue"),
                "{head}"
            );
            if let Some(says) = says {
                connection.send(says);
                assert_eq!(connection.read(5).as_deref(), Some(&b"hello"[..]));
                connection.send("HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n");
            } else {
                connection.send("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
            }
            connection.is_closed();
        });
        let server = forwarding_to(&upstream.table(""));
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(
            "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
        );
        if says.is_some() {
            assert_eq!(raw.head().status, 100, "{why}");
            raw.send("hello");
            assert_eq!(raw.answer().status, 201, "{why}");
        } else {
            assert_eq!(raw.answer().status, 403, "{why}");
        }
    }
}

#[test]
fn early_hints_come_early() {
    let (upstream, go_on) =
        hesitating("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
    let mut server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let hints = raw.head();
    assert_eq!(hints.status, 103);
    assert_eq!(hints.header("link"), Some("</style.css>; rel=preload"));
    go_on
        .send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        .unwrap();
    let answer = raw.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let line = access_line(&mut server, &answer);
    assert!(line.contains("\" 200 5 "), "{line}");
}

#[tokio::test]
async fn over_http_2_early_hints_do_not_spoil_the_answer() {
    let upstream = Upstream::scripted(|connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n");
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let server = forwarding_to(&upstream.table(""));
    let mut client = Http2::connect(server.https.unwrap()).await;
    for _ in 0..2 {
        let answer = client.get("/", &[]).await;
        assert_eq!(answer.status(), 200);
        assert_eq!(
            read_to_end(&mut answer.into_body()).await.unwrap(),
            b"hello"
        );
    }
}

/// Pingora drops the trailers of HTTP/1.1, which a recipient may (RFC 9110, section 6.5.1).
#[test]
fn trailers_of_http_1_do_not_spoil_the_body() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    for _ in 0..3 {
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.head().status, 200);
        assert_eq!(raw.chunks().unwrap(), b"hello");
        upstream.request();
    }
}
