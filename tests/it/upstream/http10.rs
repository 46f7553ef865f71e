//! Clients of HTTP/1.0 take the end of the connection for the end of the body: one that breaks is no such end.

use std::io::{ErrorKind, Read};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{forwarding_to, forwarding_with};
use crate::support::breakable::{Break, Breakable, Target};
use crate::support::grpc::Grpc;
use crate::support::handshake::Handshakes;
use crate::support::raw::Raw;
use crate::support::upstream::Upstream;

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_is_a_reset_and_a_whole_one_a_clean_end() {
    let table = [
        ("Content-Length: 4\r\n\r\npart", true, "a length"),
        (
            "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n0\r\n\r\n",
            true,
            "chunks",
        ),
        (
            "Connection: close\r\n\r\npart",
            true,
            "the end of the connection",
        ),
        (
            "Content-Length: 5\r\n\r\npart",
            false,
            "less than its length",
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
            false,
            "no final chunk",
        ),
        (
            "Transfer-Encoding: chunked\r\n\r\n4\r\npa",
            false,
            "half a chunk",
        ),
    ];
    for (rest, is_whole, why) in table {
        let answer = format!("{HEAD}{rest}");
        let upstream = Upstream::scripted(move |connection| {
            if connection.request().is_some() {
                connection.send(&answer);
            }
        });
        let server = forwarding_to(&upstream.table(""));
        for fields in ["", "Connection: close\r\n", "Accept-Encoding: gzip\r\n"] {
            let request = format!("GET / HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n");
            let mut got = Vec::new();
            let mut raw = Raw::connect(server.http.unwrap());
            let ended = raw.send(&request).0.read_to_end(&mut got);
            let text = String::from_utf8_lossy(&got);
            match ended {
                Ok(_) => assert!(is_whole, "{why}, {fields:?}: {text}"),
                Err(error) => {
                    assert!(!is_whole, "{why}, {fields:?}: {error}");
                    assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{why}");
                }
            }
            assert!(!is_whole || text.ends_with("\r\n\r\npart"), "{why}: {text}");

            let tls = Handshakes::new(&["http/1.1"]);
            let handshake = tls.connect(server.https.unwrap(), "localhost").await;
            let mut stream = handshake.unwrap().stream;
            stream.write_all(request.as_bytes()).await.unwrap();
            let ended = stream.read_to_end(&mut Vec::new()).await;
            assert_eq!(ended.is_ok(), is_whole, "{why}, {fields:?}, TLS: {ended:?}");
        }
    }
}

#[test]
fn interim_answers_are_not_for_them() {
    let upstream = Upstream::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = raw.last_answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    assert_eq!(answer.header("link"), None, "{answer:?}");
}

#[test]
fn what_an_upstream_says_over_http2_comes_without_chunks() {
    let grpc = Grpc::start();
    let between = Breakable::before(Target::Tcp(grpc.address));
    let server = forwarding_to(&format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"h2c://{}\"]\n",
        between.address()
    ));
    let post = |path: &str, fields: &str| {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!(
            "POST {path} HTTP/1.0\r\nHost: localhost\r\n{fields}Content-Length: 5\r\n\r\nhello"
        ));
        let head = raw.head();
        assert_eq!(head.status, 200, "{head:?}");
        assert_eq!(head.header("transfer-encoding"), None, "{head:?}");
        assert_eq!(head.header("connection"), Some("close"), "{head:?}");
        raw
    };
    for fields in ["", "Connection: keep-alive\r\n"] {
        assert_eq!(post("/echo", fields).read_to_end(), b"hello");
    }
    let mut broken = post("/events", "");
    let mut event = [0; 5];
    broken.0.read_exact(&mut event).unwrap();
    assert_eq!(&event, b"id: 1");
    between.end(Break::Cut);
    let ended = broken.0.read_to_end(&mut Vec::new());
    assert_eq!(ended.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// It need not name a host, but servers of HTTP/1.1 and HTTP/2 are to be told one.
#[test]
fn who_names_no_host_asks_for_the_servers_own() {
    let ask = |upstream: &str| {
        let server = forwarding_with("hosts = []", upstream);
        let mut raw = Raw::connect(server.http.unwrap());
        let answer = raw.send("GET /echo HTTP/1.0\r\n\r\n").last_answer();
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    let upstream = Upstream::saying("hello");
    for (keys, host) in [("", &*upstream.address), ("host = \"a.test\"", "a.test")] {
        ask(&upstream.table(keys));
        let received = upstream.request();
        assert_eq!(received.header("host"), Some(host), "{}", received.head);
        assert_eq!(received.header("x-forwarded-host"), None);
    }
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::scripted_on(&directory.path().join("app"), |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    ask(&upstream.table(""));
    assert_eq!(upstream.request().header("host"), Some("localhost"));
    let grpc = Grpc::start();
    ask(&format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"h2c://{}\"]\n",
        grpc.address
    ));
    let head = grpc.request().head;
    assert_eq!(head.uri().authority().unwrap(), &*grpc.address.to_string());
}

#[test]
fn an_error_page_is_a_whole_answer() {
    let upstream = Upstream::scripted(|connection| {
        connection.request();
    });
    let server = forwarding_to(&upstream.table(""));
    for (fields, body) in [("", ""), ("Content-Length: 3\r\n", "abc")] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!(
            "POST / HTTP/1.0\r\nHost: localhost\r\n{fields}\r\n{body}"
        ));
        let mut got = Vec::new();
        raw.0.read_to_end(&mut got).expect("a clean end");
        assert!(got.starts_with(b"HTTP/1."), "{fields:?}");
        let text = String::from_utf8_lossy(&got);
        assert!(text.contains(" 502 "), "{fields:?}: {text}");
    }
}
