//! WebSocket: after 101 the bytes belong to client and upstream.

use std::io::Read;
use std::time::Duration;

use super::{access_line, forwarding_to, forwarding_with};
use crate::support::raw::Raw;
use crate::support::upstream::Upstream;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

const AGREEMENT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Accepts, then sends back what it gets, 5 bytes at a time.
fn echo() -> Upstream {
    Upstream::scripted(|connection| {
        if connection.request().is_none() {
            return;
        }
        connection.send(AGREEMENT);
        while let Some(bytes) = connection.read(5) {
            connection.send(bytes);
        }
    })
}

#[test]
fn a_websocket_passes_both_ways() {
    let upstream = echo();
    let server = forwarding_to(&upstream.table(""));
    for extra in ["", "Accept-Encoding: gzip\r\n"] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!("{UPGRADE}{extra}\r\n"));
        let head = raw.head();
        assert_eq!(head.status, 101);
        assert_eq!(head.header("upgrade"), Some("websocket"));
        assert_eq!(head.header("connection"), Some("upgrade"));
        assert_eq!(
            head.header("sec-websocket-accept"),
            Some("s3pplmbitxaq9kygzzhzrbk+xoo="),
            "heads are in lower case here"
        );
        let received = upstream.request();
        assert_eq!(received.header("upgrade"), Some("websocket"));
        assert_eq!(
            received.header("sec-websocket-key"),
            Some("dGhlIHNhbXBsZSBub25jZQ==")
        );
        for message in [b"hello", b"\0\x81\xff\r\n", b"\r\n\r\n0"] {
            raw.send(message);
            let mut echoed = [0; 5];
            raw.0.read_exact(&mut echoed).unwrap();
            assert_eq!(&echoed, message);
        }
    }
}

/// What it says is no body of a request: neither is it too long, nor has it stopped.
#[test]
fn a_websocket_has_the_bounds_of_no_body() {
    let upstream = echo();
    let server = forwarding_with(
        "max_body = \"1KiB\"\ntimeouts = { body_idle = \"300ms\" }",
        &upstream.table("read_timeout = \"300ms\""),
    );
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!("{UPGRADE}\r\n"));
    assert_eq!(raw.head().status, 101);
    let mut say = |times: usize| {
        for _ in 0..times {
            raw.send("hello");
            let mut echoed = [0; 5];
            raw.0.read_exact(&mut echoed).unwrap();
            assert_eq!(&echoed, b"hello");
        }
        assert!(raw.is_silent_for(Duration::from_secs(1)), "it is open");
    };
    say(400);
    say(1);
}

#[test]
fn another_protocol_is_offered_in_vain() {
    let upstream = Upstream::saying("HTTP/1.1");
    // One worker: with several, Pingora's pool sometimes loses a connection to a race.
    let mut server = forwarding_with("workers = 1", &upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    for _ in 0..2 {
        raw.send(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n\r\n",
        );
        let answer = raw.answer();
        assert_eq!((answer.status, answer.text().as_str()), (200, "HTTP/1.1"));
        access_line(&mut server, &answer);
        let received = upstream.request();
        assert_eq!(received.header("upgrade"), None);
        assert_eq!(received.connection, 0, "it is kept as always");
    }
}

/// Its answer is there before the end of the request's empty body has gone anywhere.
#[test]
fn an_upstream_that_agrees_at_once_keeps_its_websocket() {
    let upstream = Upstream::scripted(|connection| {
        connection.send(AGREEMENT);
        connection.request();
        while let Some(bytes) = connection.read(5) {
            connection.send(bytes);
        }
    });
    let server = forwarding_to(&upstream.table(""));
    for _ in 0..32 {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!("{UPGRADE}\r\n"));
        assert_eq!(raw.head().status, 101);
        raw.send("hello");
        let mut echoed = [0; 5];
        raw.0.read_exact(&mut echoed).unwrap();
        assert_eq!(&echoed, b"hello");
    }
}

#[test]
fn an_upgrade_that_the_upstream_declines_is_an_ordinary_answer() {
    let upstream = Upstream::saying("no websocket here");
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!("{UPGRADE}\r\n"));
    let answer = raw.answer();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, b"no websocket here");
}

#[test]
fn the_end_of_a_websocket_reaches_the_other_side() {
    let (sender, closed) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let upstream = Upstream::scripted(move |connection| {
        connection.request();
        connection.send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        if connection.read(3).as_deref() == Some(b"bye") {
            sender.lock().unwrap().send(connection.is_closed()).unwrap();
        }
    });
    let server = forwarding_to(&upstream.table(""));
    // The client ends it.
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!("{UPGRADE}\r\n"));
    assert_eq!(raw.head().status, 101);
    raw.send("bye");
    drop(raw);
    assert!(
        closed
            .recv_timeout(crate::support::server::PATIENCE)
            .unwrap()
    );
    // The upstream ends it.
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!("{UPGRADE}\r\n"));
    assert_eq!(raw.head().status, 101);
    raw.send("end");
    assert_eq!(raw.read_to_end(), b"");
}
