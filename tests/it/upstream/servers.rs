//! Connections to upstreams: kept, spread, by unix socket, and closed when the client leaves.

use std::sync::Mutex;
use std::sync::mpsc::channel;

use super::{access_line, forwarding_to, forwarding_with};
use crate::support::http2::Http2;
use crate::support::nginx::Nginx;
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Setup};
use crate::support::upstream::{Upstream, table};

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[test]
fn connections_are_used_again() {
    let upstream = Upstream::saying("hello");
    // One worker: with several, Pingora's pool sometimes loses a connection to a race.
    let mut server = forwarding_with("workers = 1", &upstream.table(""));
    for round in 0..4 {
        // Another client each time: what is kept is kept towards the upstream.
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(GET);
        let answer = raw.answer();
        assert_eq!(answer.body, b"hello");
        assert_eq!(upstream.request().connection, 0, "round {round}");
        let line = access_line(&mut server, &answer);
        let connected = !line.contains("uct=\"-\"");
        assert_eq!(connected, round == 0, "{line}");
    }
}

#[test]
fn a_kept_connection_that_the_upstream_has_closed_is_replaced_unnoticed() {
    let upstream = Upstream::scripted(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    for round in 0..5 {
        raw.send(GET);
        assert_eq!(raw.answer().status, 200, "round {round}");
        assert_eq!(upstream.request().connection, round);
    }
}

#[test]
fn no_connection_is_kept_where_none_shall_be() {
    let upstream = Upstream::saying("hello");
    let server = forwarding_to(&upstream.table("keepalive = 0"));
    let mut raw = Raw::connect(server.http.unwrap());
    for round in 0..4 {
        raw.send(GET);
        assert_eq!(raw.answer().status, 200);
        assert_eq!(upstream.request().connection, round);
    }
}

#[test]
fn a_server_may_have_a_name() {
    let upstream = Upstream::saying("found");
    let (_, port) = upstream.address.rsplit_once(':').unwrap();
    // It may stand for ::1 as well, where nobody listens.
    let table = format!("[[upstream]]\nname = \"backend\"\nservers = [\"localhost:{port}\"]\n");
    let server = forwarding_to(&table);
    let mut raw = Raw::connect(server.http.unwrap());
    for _ in 0..4 {
        raw.send(GET);
        assert_eq!(raw.answer().text(), "found");
    }
}

#[test]
fn a_name_that_nobody_knows_is_502_and_the_log_says_so() {
    let table = "[[upstream]]\nname = \"backend\"\nservers = [\"nowhere.invalid:80\"]\n";
    let mut server = forwarding_to(table);
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(GET);
    let answer = raw.answer();
    assert_eq!(answer.status, 502);
    let id = answer.header("x-request-id").unwrap();
    let line = server.line_with(&format!("request_id={id}"));
    assert!(line.contains("nowhere.invalid is not known"), "{line}");
}

#[test]
fn servers_take_turns() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let server = forwarding_to(&table(&[&one, &two], ""));
    let mut raw = Raw::connect(server.http.unwrap());
    let mut answers = Vec::new();
    for _ in 0..6 {
        raw.send(GET);
        answers.push(String::from_utf8(raw.answer().body).unwrap());
    }
    for pair in answers.chunks(2) {
        assert_ne!(pair[0], pair[1], "{answers:?}");
    }
}

#[test]
fn unix_sockets_are_upstreams_too() {
    let setup = Setup::new();
    let upstream = Upstream::scripted_on(&setup.directory().join("app.sock"), |connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nunix");
        }
    });
    let server = setup
        .config(
            "[server]\nworkers = 1\nhttp = [\"127.0.0.1:0\"]\nhttps = []\n[tls]\nmode = \"off\"\n",
        )
        // Relative to the configuration file.
        .config("[[upstream]]\nname = \"backend\"\nservers = [\"unix:app.sock\"]\n")
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\n")
        .start();
    let mut raw = Raw::connect(server.http.unwrap());
    for _ in 0..2 {
        raw.send(GET);
        assert_eq!(raw.answer().body, b"unix");
        assert_eq!(upstream.request().connection, 0);
    }
}

#[test]
fn nginx_is_told_who_asked() {
    let nginx = Nginx::start(
        r#"location / { return 200 "$request_method $request_uri $http_host $http_x_forwarded_for $http_x_forwarded_proto\n"; }"#,
    );
    let server = forwarding_to(&nginx.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    for path in ["/", "/a?b=c"] {
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let body = String::from_utf8(raw.answer().body).unwrap();
        assert_eq!(body, format!("GET {path} localhost 127.0.0.1 http\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstreams_connection_is_closed_when_the_client_leaves() {
    for begun in [false, true] {
        let (sender, closed) = channel();
        let (asked_sender, asked) = channel();
        let senders = Mutex::new((asked_sender, sender));
        let upstream = Upstream::scripted(move |connection| {
            connection.request();
            if begun {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\nhello");
            }
            let (asked, closed) = senders.lock().unwrap().clone();
            asked.send(()).unwrap();
            closed.send(connection.is_closed()).unwrap();
        });
        let server = forwarding_to(&upstream.table(""));

        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(GET);
        asked.recv_timeout(PATIENCE).unwrap();
        if begun {
            assert_eq!(raw.head().status, 200);
        }
        drop(raw);
        assert!(
            closed.recv_timeout(PATIENCE).unwrap(),
            "HTTP/1.1, begun: {begun}"
        );

        let mut client = Http2::connect(server.https.unwrap()).await;
        let (answer, mut upload) = client.begin("GET", "/", &[], true).await;
        tokio::task::block_in_place(|| asked.recv_timeout(PATIENCE)).unwrap();
        upload.0.send_reset(h2::Reason::CANCEL);
        let closed = tokio::task::block_in_place(|| closed.recv_timeout(PATIENCE)).unwrap();
        assert!(closed, "HTTP/2, begun: {begun}");
        drop(answer);
    }
}
