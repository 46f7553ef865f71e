//! `server.proxy_protocol`.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::support::http;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
const CLIENT: &str = "PROXY TCP4 203.0.113.9 192.0.2.1 56324 443\r\n";

/// A server that believes `trusted` and waits a second for a header; with further keys of `[server]`.
fn server_with(upstream: &Upstream, trusted: &str, keys: &str) -> Server {
    Setup::new()
        .admin()
        .server(&format!(
            "trusted_proxies = [\"{trusted}\"]\nproxy_protocol = true\n{keys}"
        ))
        .config(
            "[server.timeouts]\nheader = \"1s\"\n[tls]\nredirect = false\n\
             [log]\nlevel = \"info,unibody=debug\"",
        )
        .config(&upstream.table(""))
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\n")
        .start()
}

fn server(upstream: &Upstream, trusted: &str) -> Server {
    server_with(upstream, trusted, "")
}

/// Version 2 of a header: PROXY from 203.0.113.9, or LOCAL.
fn version_2(command: u8) -> Vec<u8> {
    let addresses = [203, 0, 113, 9, 192, 0, 2, 1, 220, 4, 1, 187];
    let more = [4, 0, 2, 9, 9];
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, 0x11, 0, 17]);
    header.extend(addresses);
    header.extend(more);
    header
}

async fn refused(server: &Server) -> String {
    let metrics = http::client().get(server.admin_url("/metrics")).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    let line = metrics.lines().find(|line| {
        line.starts_with(
            "unibody_connections_refused_total{listener=\"http\",reason=\"proxy_protocol\"}",
        )
    });
    line.unwrap().rsplit(' ').next().unwrap().to_owned()
}

#[test]
fn a_trusted_proxy_says_whose_connection_it_is() {
    let upstream = Upstream::saying("hello");
    let mut server = server(&upstream, "127.0.0.1");
    for (header, client, why) in [
        (CLIENT.as_bytes().to_vec(), "203.0.113.9", "version 1"),
        (version_2(1), "203.0.113.9", "version 2"),
        (version_2(0), "127.0.0.1", "LOCAL: the proxy itself"),
        (
            b"PROXY UNKNOWN\r\n".to_vec(),
            "127.0.0.1",
            "nobody: the proxy itself",
        ),
        (
            b"PROXY TCP6 2001:db8::9 ::1 1 443\r\n".to_vec(),
            "2001:db8::9",
            "IPv6",
        ),
    ] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send([&header[..], REQUEST.as_bytes()].concat());
        let answer = raw.last_answer();
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "hello"),
            "{why}"
        );
        let received = upstream.request();
        assert_eq!(received.header("x-forwarded-for"), Some(client), "{why}");
        let id = answer.header("x-request-id").unwrap();
        let line = server.wait_for_line(&format!(" id={id}"));
        assert!(line.starts_with(&format!("{client} ")), "{why}: {line}");
    }

    // What the client itself says of others is a client's word.
    let mut raw = Raw::connect(server.http.unwrap());
    let claim = REQUEST.replace("\r\n\r\n", "\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n");
    raw.send(format!("{CLIENT}{claim}"));
    assert_eq!(raw.last_answer().status, 200);
    let received = upstream.request();
    assert_eq!(received.header("x-forwarded-for"), Some("203.0.113.9"));

    // In pieces, as networks bring it.
    let mut raw = Raw::connect(server.http.unwrap());
    for piece in [
        "PRO",
        "XY TCP4 203.0.113.9 192.0.2.1 5632",
        "4 443\r",
        "\nGET ",
    ] {
        raw.send_undisturbed(piece.as_bytes());
    }
    raw.send(&REQUEST[4..]);
    assert_eq!(raw.last_answer().status, 200);
}

/// A load balancer that forwards to `server` and sends `CLIENT` first; where it listens.
fn balancer(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, mut server) = (client.unwrap(), TcpStream::connect(server).unwrap());
            server.write_all(CLIENT.as_bytes()).unwrap();
            let (mut back, mut answers) =
                (client.try_clone().unwrap(), server.try_clone().unwrap());
            // How either side ends is the test's business.
            thread::spawn(move || std::io::copy(&mut answers, &mut back));
            thread::spawn(move || std::io::copy(&mut client, &mut server));
        }
    });
    address
}

#[tokio::test]
async fn the_header_stands_before_tls() {
    let upstream = Upstream::saying("hello");
    let server = server(&upstream, "127.0.0.1");
    let balancer = balancer(server.https.unwrap());
    let client = http::builder()
        .resolve("localhost", balancer)
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/", balancer.port());
    let answer = client.get(url).send().await.unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "hello");
    let received = upstream.request();
    assert_eq!(received.header("x-forwarded-for"), Some("203.0.113.9"));
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
}

#[test]
fn our_own_commands_speak_it_where_they_must() {
    let upstream = Upstream::saying("hello");
    let server = server(&upstream, "127.0.0.1");
    server.keep_ports();
    let asked = server.ask(&["healthcheck"]);
    assert!(asked.status.success(), "{asked:?}");
}

#[tokio::test]
async fn who_does_not_keep_to_it_is_cut_off_and_counted() {
    let upstream = Upstream::saying("hello");
    let mut server = server(&upstream, "127.0.0.1");
    let mut expected = 0;
    for (bytes, reason) in [
        (REQUEST, "a trusted proxy sent no header"),
        ("PROXY TCP4 1.1.1.1 2.2.2.2 1\r\n", "the line is malformed"),
        (
            "\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
            "neither LOCAL nor PROXY",
        ),
        ("PROXY TCP4 1.1.1.1 2.2", "took too long for its header"),
        ("", "took too long for its header"),
    ] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(bytes);
        assert_eq!(raw.read_to_end(), b"", "{reason}");
        expected += 1;
        let line = server.wait_for_line("server.proxy_protocol");
        assert!(line.contains(reason) && line.contains("DEBUG"), "{line}");
        assert!(line.contains("peer=127.0.0.1"), "{line}");
        assert_eq!(refused(&server).await, expected.to_string());
    }
    assert!(!upstream.has_more_requests());
}

#[tokio::test]
async fn nobody_else_may_speak_it() {
    let upstream = Upstream::saying("hello");
    let mut server = server(&upstream, "192.0.2.1");
    let ask = |server: &Server, bytes: &[u8]| {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(bytes);
        raw.last_answer()
    };
    assert_eq!(ask(&server, REQUEST.as_bytes()).status, 200, "as ever");
    assert_eq!(ask(&server, b"P\r\n\r\n").status, 400, "as ever");
    for header in [CLIENT.as_bytes().to_vec(), version_2(1), version_2(0)] {
        let answer = ask(&server, &[&header[..], REQUEST.as_bytes()].concat());
        assert_eq!((answer.status, answer.body), (0, Vec::new()));
        server.wait_for_line("a peer that is not trusted sent a header");
    }
    assert_eq!(refused(&server).await, "3");
    let answer = http::client().get(server.url("/")).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "hello", "TLS begins at once");
}

#[test]
fn a_connection_that_nobody_speaks_for_counts_once() {
    let upstream = Upstream::saying("hello");
    let server = server_with(&upstream, "192.0.2.1", "max_connections_per_ip = 1");
    let mut first = Raw::connect(server.http.unwrap());
    first.send(REQUEST.replace("Connection: close\r\n", ""));
    assert_eq!(first.answer().status, 200);
    let mut second = Raw::connect(server.http.unwrap());
    assert_eq!(second.send(REQUEST).last_answer().status, 0);
}

#[test]
fn connections_are_counted_by_the_client_that_is_named() {
    let upstream = Upstream::saying("hello");
    let server = server_with(&upstream, "127.0.0.1", "max_connections_per_ip = 2");
    let open = |header: &str| {
        let mut raw = Raw::connect(server.http.unwrap());
        let kept = REQUEST.replace("Connection: close\r\n", "");
        raw.send(format!("{header}{kept}"));
        let status = raw.head().status;
        (raw, status)
    };
    let other = CLIENT.replace("203.0.113.9", "203.0.113.10");
    let connections = [CLIENT, CLIENT, CLIENT, &other].map(open);
    let statuses = connections.each_ref().map(|(_, status)| *status);
    assert_eq!(statuses, [200, 200, 0, 200]);
    let [(first, _), ..] = connections;
    drop(first);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while open(CLIENT).1 != 200 {
        assert!(
            std::time::Instant::now() < deadline,
            "the place is not free"
        );
    }
}
