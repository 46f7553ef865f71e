//! Bodies both ways: whole, piece by piece, large, and cut.

use std::fs;
use std::io::Read as _;
use std::sync::mpsc::channel;
use std::thread;

use super::{access_line, forwarding_to, forwarding_with};
use crate::support::http2::{Http2, read_to_end};
use crate::support::nginx::Nginx;
use crate::support::raw::Raw;
use crate::support::server::PATIENCE;
use crate::support::upstream::Upstream;

const MIB: usize = 1024 * 1024;

#[test]
fn bodies_arrive_with_a_length_and_in_chunks() {
    let upstream = Upstream::saying("thanks");
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    for (request, body, length) in [
        ("Content-Length: 5\r\n\r\nhello", "hello", Some("5")),
        (
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n",
            "hello!",
            None,
        ),
        ("Content-Length: 0\r\n\r\n", "", Some("0")),
    ] {
        raw.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{request}"));
        assert_eq!(raw.answer().body, b"thanks");
        let received = upstream.request();
        assert_eq!(received.body, body.as_bytes());
        assert_eq!(
            received.header("content-length"),
            length,
            "{}",
            received.head
        );
    }
}

#[test]
fn every_framing_of_an_answer_comes_through_whole() {
    for (why, answer) in [
        (
            "length",
            "HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nhello world",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nhello \r\n5\r\nworld\r\n0\r\n\r\n",
        ),
        (
            "the end of the connection",
            "HTTP/1.1 200 OK\r\n\r\nhello world",
        ),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\nhello world"),
    ] {
        let upstream = Upstream::scripted(move |connection| {
            if connection.request().is_some() {
                connection.send(answer);
            }
        });
        let server = forwarding_to(&upstream.table(""));
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = raw.head();
        let body = match head.header("content-length") {
            Some(length) => {
                let mut body = vec![0; length.parse().unwrap()];
                raw.0.read_exact(&mut body).unwrap();
                body
            }
            None => raw.chunks().expect("a whole body"),
        };
        assert_eq!(body, b"hello world", "{why}");
    }
}

#[test]
fn an_event_stream_comes_through_event_by_event() {
    for accept in ["", "Accept-Encoding: gzip\r\n"] {
        let (sender, events) = channel::<&str>();
        let events = std::sync::Mutex::new(events);
        let upstream = Upstream::scripted(move |connection| {
            connection.request();
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n",
            );
            for event in events.lock().unwrap().iter() {
                connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
            }
            connection.send("0\r\n\r\n");
        });
        let server = forwarding_to(&upstream.table(""));
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!("GET / HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n"));
        assert_eq!(raw.head().header("content-encoding"), None);
        for event in ["data: one\n\n", "data: two\n\n", "data: three\n\n"] {
            sender.send(event).unwrap();
            assert_eq!(raw.chunk().unwrap(), event.as_bytes());
        }
        drop(sender);
        assert_eq!(raw.chunk().unwrap(), b"");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_cut_does_not_look_whole() {
    for (why, answer) in [
        (
            "a length",
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 5000\r\n\r\nhello",
        ),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        ),
    ] {
        let upstream = Upstream::scripted(move |connection| {
            if connection.request().is_some() {
                connection.send(answer);
            }
        });
        let server = forwarding_to(&upstream.table(""));
        for accept in ["identity", "gzip", "br", "zstd"] {
            let mut raw = Raw::connect(server.http.unwrap());
            raw.send(format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {accept}\r\n\r\n"
            ));
            let head = raw.head();
            assert_eq!(head.status, 200, "{why}, {accept}");
            if head.header("transfer-encoding").is_some() {
                assert_eq!(raw.chunks(), None, "{why}, {accept}");
            } else {
                assert_eq!(raw.read_to_end(), b"hello", "{why}, {accept}");
            }

            let mut client = Http2::connect(server.https.unwrap()).await;
            let answer = client.try_get("/", &[("accept-encoding", accept)]).await;
            if let Ok(answer) = answer {
                let read = read_to_end(&mut answer.into_body()).await;
                read.expect_err("a part is not the whole");
            }
        }
    }
}

#[test]
fn a_body_that_is_too_large_is_413_and_never_whole_at_the_upstream() {
    let upstream = Upstream::saying("");
    let server = forwarding_with("max_body = \"1KiB\"", &upstream.table(""));
    let body = "x".repeat(2000);
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\n\r\n{body}"
    ));
    let answer = raw.answer();
    assert_eq!(answer.status, 413);
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );

    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.as_bytes().chunks(500) {
        raw.send_chunk(piece);
    }
    raw.send("0\r\n\r\n");
    assert_eq!(raw.answer().status, 413);

    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.answer().status, 200);
    assert_eq!(
        upstream.request().line(),
        "GET / HTTP/1.1",
        "the only whole one"
    );
    assert!(!upstream.has_more_requests());
}

#[test]
fn an_upload_waits_for_an_upstream_that_does_not_read() {
    const UPLOAD: usize = 64 * MIB;
    let (go_on, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |connection| {
        connection.head();
        wait.lock().unwrap().recv().unwrap();
        let mut left = UPLOAD;
        while left > 0 {
            let Some(piece) = connection.read(left.min(MIB)) else {
                return;
            };
            left -= piece.len();
        }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole");
    });
    let server = forwarding_with("max_body = \"1GiB\"", &upstream.table(""));
    let before = peak_memory(&server);
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {UPLOAD}\r\n\r\n"
    ));
    let taken = raw.send_until_stalled(UPLOAD);
    assert!(taken < 32 * MIB, "{taken} bytes were taken");
    go_on.send(()).unwrap();
    assert_eq!(taken + raw.send_until_stalled(UPLOAD - taken), UPLOAD);
    assert_eq!(raw.answer().body, b"whole");
    let grown = peak_memory(&server).saturating_sub(before);
    assert!(grown < 32 * MIB, "the server grew by {grown} bytes");
}

#[tokio::test]
async fn an_upload_over_http_2_waits_too_and_holds_up_nobody_else() {
    const UPLOAD: usize = 16 * MIB;
    let (go_on, wait) = channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |connection| {
        let Some(head) = connection.head() else {
            return;
        };
        if head.starts_with("GET") {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nquick");
            return;
        }
        wait.lock().unwrap().recv().unwrap();
        let mut left = UPLOAD;
        while left > 0 {
            let Some(piece) = connection.read(left.min(MIB)) else {
                return;
            };
            left -= piece.len();
        }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole");
    });
    let server = forwarding_with("max_body = \"1GiB\"", &upstream.table(""));
    let before = peak_memory(&server);
    let mut client = Http2::connect(server.https.unwrap()).await;
    let length = UPLOAD.to_string();
    let length = [("content-length", length.as_str())];
    let (answer, mut upload) = client.begin("POST", "/", &length, false).await;
    let taken = upload.send_until_stalled(UPLOAD).await;
    assert!(taken < 8 * MIB, "{taken} bytes were taken");
    // The other streams of the connection have room of their own.
    let quick = client.get("/quick", &[]).await;
    assert_eq!(read_to_end(&mut quick.into_body()).await.unwrap(), b"quick");
    go_on.send(()).unwrap();
    upload.send(&vec![b'x'; UPLOAD - taken], true).await;
    let answer = answer.await.unwrap();
    assert_eq!(
        read_to_end(&mut answer.into_body()).await.unwrap(),
        b"whole"
    );
    let grown = peak_memory(&server).saturating_sub(before);
    assert!(grown < 16 * MIB, "the server grew by {grown} bytes");
}

#[test]
fn large_bodies_pass_to_and_from_nginx_in_bounded_memory() {
    const LARGE: usize = 100 * MIB;
    let nginx = Nginx::start("location /upload { dav_methods PUT; } location / { }");
    let content: Vec<u8> = (0..LARGE)
        .map(|place| u8::try_from(place % 251).unwrap())
        .collect();
    fs::write(nginx.path("large"), &content).unwrap();
    let server = forwarding_with("max_body = \"1GiB\"", &nginx.table(""));
    let before = peak_memory(&server);

    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = raw.answer();
    assert_eq!(answer.status, 200);
    assert!(answer.body == content, "the same bytes");

    let mut raw = Raw::connect(server.http.unwrap());
    let mut sender = Raw(raw.0.try_clone().unwrap());
    let sent = content.clone();
    let sending = thread::spawn(move || {
        sender
            .send(format!(
                "PUT /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: {LARGE}\r\n\r\n"
            ))
            .send(sent);
    });
    assert_eq!(raw.answer().status, 201);
    sending.join().unwrap();
    assert!(fs::read(nginx.path("upload")).unwrap() == content);
    let grown = peak_memory(&server).saturating_sub(before);
    assert!(grown < 32 * MIB, "the server grew by {grown} bytes");
}

/// The most memory the server has ever had resident, in bytes; 0 where the system doesn't tell.
fn peak_memory(server: &crate::support::server::Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.split_whitespace().next());
    kib.map_or(0, |kib| kib.parse::<usize>().unwrap() * 1024)
}

#[test]
fn a_client_that_stops_within_its_upload_is_cut_off_from_its_upstream() {
    let (told, closed) = channel();
    let upstream = Upstream::scripted(move |connection| {
        if connection.head().is_some() && connection.read(5).is_some() {
            let _ = told.send(connection.is_closed());
        }
    });
    let server = forwarding_with("timeouts = { body_idle = \"500ms\" }", &upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhello");
    assert_eq!(raw.last_answer().status, 408);
    assert!(closed.recv_timeout(PATIENCE).unwrap(), "nothing more came");
}

#[test]
fn a_client_that_stops_reading_is_cut_off_from_its_upstream() {
    let (told, stopped) = channel();
    let piece = vec![b'x'; 64 * 1024];
    let upstream = Upstream::scripted(move |connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
            while connection.send(&piece) {}
            let _ = told.send(());
        }
    });
    let server = forwarding_with("timeouts = { write_idle = \"500ms\" }", &upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().status, 200);
    stopped
        .recv_timeout(PATIENCE)
        .expect("the upstream is not read either");
    // Others come through meanwhile and afterwards.
    let mut other = Raw::connect(server.http.unwrap());
    other.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(other.answer().status, 200);
}

#[test]
fn a_client_that_goes_on_sending_is_no_part_of_how_long_it_took() {
    let upstream = Upstream::saying("never");
    let mut server = forwarding_with("max_body = 10", &upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    raw.send("14\r\n01234567890123456789\r\n");
    let answer = raw.answer();
    assert_eq!(answer.status, 413);
    // It is listened to for five seconds now, so that it can read this; the line is there before.
    let line = access_line(&mut server, &answer);
    let (_, rest) = line.split_once(" rt=").unwrap();
    let took: f64 = rest.split(' ').next().unwrap().parse().unwrap();
    assert!(took < 4.0, "{line}");
}
