//! Clients that mean no good, or are in no hurry: what of them reaches an upstream, and who waits.

use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use super::{forwarding_to, forwarding_with};
use crate::support::http2::{Http2, read_to_end};
use crate::support::raw::Raw;
use crate::support::server::PATIENCE;
use crate::support::upstream::Upstream;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Answers whatever has no chunks, and tells all that it has read of each request: its head, and
/// its chunks until the connection ends. Where there are chunks it tells at once that it has the head.
fn recording() -> (Upstream, Receiver<()>, Receiver<String>) {
    let ((has_begun, begun), (sender, recorded)) = (channel(), channel());
    let senders = Mutex::new((has_begun, sender));
    let upstream = Upstream::scripted(move |connection| {
        while let Some(mut bytes) = connection.head() {
            let is_chunked = bytes.to_lowercase().contains("transfer-encoding");
            if is_chunked {
                senders.lock().unwrap().0.send(()).unwrap();
            }
            while let Some(byte) = is_chunked.then(|| connection.read(1)).flatten() {
                bytes.push(char::from(byte[0]));
            }
            senders.lock().unwrap().1.send(bytes).unwrap();
            connection.send(OK);
        }
    });
    (upstream, begun, recorded)
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn nothing_of_an_ambiguous_request_reaches_the_upstream() {
    const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let (upstream, begun, recorded) = recording();
    let server = forwarding_to(&upstream.table(""));
    let post = |fields: &str, body: &str| {
        format!("POST / HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}{SMUGGLED}")
    };
    for (status, request, why) in [
        (
            400,
            post(
                "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            "a length and chunks",
        ),
        (
            400,
            post(
                "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
                "0\r\n\r\n",
            ),
            "chunks and a length",
        ),
        (
            400,
            post("Content-Length: 0\r\nContent-Length: 5\r\n", ""),
            "two lengths",
        ),
        (
            400,
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            "a length twice",
        ),
        (
            400,
            post("Content-Length: 0, 5\r\n", ""),
            "a list of lengths",
        ),
        (
            400,
            post("Content-Length: +5\r\n", "hello"),
            "a length with a sign",
        ),
        (
            400,
            post("Content-Length: 0x5\r\n", "hello"),
            "another radix",
        ),
        (
            400,
            post("Content-Length: \r\n", ""),
            "a length that is none",
        ),
        (
            400,
            post("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
            "nearly chunked",
        ),
        (
            400,
            post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
            "not chunked at last",
        ),
        (
            400,
            post(
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
            "chunked twice",
        ),
        (
            400,
            post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
            "a space before the colon",
        ),
        (
            400,
            post("X: y\r\n Content-Length: 5\r\n", "hello"),
            "a folded line",
        ),
        (
            400,
            post("X: y\nContent-Length: 5\r\n", "hello"),
            "a bare line feed",
        ),
        (
            400,
            post("X: y\rContent-Length: 5\r\n", "hello"),
            "a bare carriage return",
        ),
        (400, post("X: a\0b\r\n", ""), "a NUL"),
        (400, post("Host: b.test\r\n", ""), "two hosts"),
        (
            400,
            format!("GET http://b.test/ HTTP/1.1\r\nHost: localhost\r\n\r\n{SMUGGLED}"),
            "a target of another host",
        ),
        (
            400,
            format!("GET / HTTP/1.1\r\n\r\n{SMUGGLED}"),
            "no host at all",
        ),
    ] {
        let mut raw = Raw::connect(server.http.unwrap());
        let answer = raw.send(request).last_answer();
        assert_eq!(answer.status, status, "{why}: {answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{why}");
        assert_eq!(
            answer.header("content-length"),
            Some(&*answer.body.len().to_string()),
            "{why}: one answer and no second"
        );
    }

    // A body is judged as it comes. What comes with its head is judged before anybody hears of it; what
    // comes later ends a request that never becomes whole.
    let chunks = [
        ("5\r\nhello!\r\n0\r\n\r\n", "longer than it says"),
        ("-5\r\nhello\r\n0\r\n\r\n", "a size with a sign"),
        ("5 5\r\nhello\r\n0\r\n\r\n", "two sizes"),
        ("\r\nhello\r\n0\r\n\r\n", "no size"),
        ("5\r\nhello\r\n\r\n\r\n", "no size at the end"),
        ("0\r\n X: y\r\n\r\n", "a folded trailer"),
        (
            "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
            "larger than there is",
        ),
    ];
    for (body, why) in chunks {
        let mut raw = Raw::connect(server.http.unwrap());
        let answer = raw
            .send(post("Transfer-Encoding: chunked\r\n", body))
            .last_answer();
        assert_eq!(answer.status, 400, "{why}: {answer:?}");
    }
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.answer().text(), "ok");
    let first = recorded.recv_timeout(PATIENCE).expect("a request");
    assert!(first.starts_with("GET /first "), "{first}");

    for (body, why) in chunks {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        begun.recv_timeout(PATIENCE).expect("a head");
        let answer = raw.send(format!("{body}{SMUGGLED}")).last_answer();
        assert_eq!(answer.status, 400, "{why}: {answer:?}");
    }

    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET /last HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.answer().text(), "ok");
    loop {
        let request = recorded.recv_timeout(PATIENCE).expect("the last request");
        assert!(!request.contains("smuggled"), "{request}");
        if request.starts_with("GET /last ") {
            break;
        }
        assert!(request.starts_with("POST / "), "{request}");
        assert!(!request.ends_with("0\r\n\r\n"), "whole: {request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_hold_up_nobody() {
    let large = Arc::new("x".repeat(4 << 20));
    let upstream = Upstream::scripted(move |connection| {
        while let Some(head) = connection.head() {
            let body = if head.starts_with("GET /large") {
                &**large
            } else {
                "ok"
            };
            let length = body.len();
            connection.send(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
            ));
        }
    });
    let server = forwarding_with("workers = 1", &upstream.table(""));
    let http = server.http.unwrap();
    let slow: Vec<_> = (0..90)
        .map(|number| {
            let mut raw = Raw::connect(http);
            raw.send(match number % 3 {
                0 => "GET / HTTP/1.1\r\nHost: local",
                1 => "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nx",
                _ => "GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n",
            });
            raw
        })
        .collect();
    // Those that do not read have had their beginning.
    for raw in slow.iter().skip(2).step_by(3) {
        assert_eq!(raw.0.peek(&mut [0]).unwrap(), 1);
    }
    let mut raw = Raw::connect(http);
    let mut client = Http2::connect(server.https.unwrap()).await;
    for _ in 0..20 {
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.answer().text(), "ok");
        let answer = client.get("/", &[]).await;
        assert_eq!(read_to_end(&mut answer.into_body()).await.unwrap(), b"ok");
    }
    drop(slow);
}
