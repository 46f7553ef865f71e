//! Listeners that come, stay and go.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::{get, says, site};
use crate::support::http2::Http2;
use crate::support::raw::Raw;
use crate::support::server::Server;

const ONE: &str = "http = [\"127.0.0.1:0\"]";
const TWO: &str = "http = [\"127.0.0.1:0\", \"127.0.0.1:0\"]";
const LARGE: u64 = 32 * 1024 * 1024;

/// The addresses of a kind of listener, as `/status` tells them.
fn addresses(server: &Server, kind: &str) -> Vec<SocketAddr> {
    let listeners = &server.status()["listeners"][kind];
    let all = listeners.as_array().unwrap().iter();
    all.map(|address| address.as_str().unwrap().parse().unwrap())
        .collect()
}

#[test]
fn a_new_one_opens_and_goes_again_while_the_other_stays() {
    let mut server = site("", &says("/", "here"));
    let mut staying = Raw::connect(server.http.unwrap());
    assert_eq!(get(&mut staying, "/").text(), "here");
    server.rewrite(ONE, TWO);
    assert_eq!(server.reload(), "changed  server.http\n");
    let http = addresses(&server, "http");
    assert_eq!(http[0], server.http.unwrap(), "the same socket");

    let mut idle = Raw::connect(http[1]);
    assert_eq!(get(&mut idle, "/").text(), "here");
    let mut fresh = Raw::connect(http[1]);
    server.rewrite(TWO, ONE);
    server.reload();
    assert_eq!(addresses(&server, "http"), [http[0]]);
    // Nobody's request is lost: who is connected gets an answer, and is told that it was the last.
    for connection in [&mut idle, &mut fresh] {
        let answer = get(connection, "/");
        assert_eq!((answer.status, answer.text().as_str()), (200, "here"));
        assert_eq!(
            answer.header("connection"),
            Some("close"),
            "{}",
            answer.head
        );
        assert_eq!(connection.read_to_end(), b"", "and it was");
    }
    server.line_with("no longer listening: every request was finished");
    assert!(TcpStream::connect(http[1]).is_err(), "nobody listens");
    // The other connection has noticed nothing.
    let answer = get(&mut staying, "/");
    assert_ne!(
        answer.header("connection"),
        Some("close"),
        "{}",
        answer.head
    );
    assert_eq!(get(&mut staying, "/").text(), "here");
}

#[tokio::test]
async fn http2_is_told_to_go_and_finishes_what_it_has_begun() {
    const ONE: &str = "https = [\"127.0.0.1:0\"]";
    const TWO: &str = "https = [\"127.0.0.1:0\", \"127.0.0.1:0\"]";
    let app = "[[route]]\npath = \"/\"\napp = true\n";
    let mut server = site("", app);
    server.rewrite(ONE, TWO);
    server.reload();
    let https = addresses(&server, "https");
    let mut staying = Http2::connect(https[0]).await;
    let mut leaving = Http2::connect(https[1]).await;
    // The handler waits for the end of the body.
    let (answer, mut upload) = leaving.post("/api/notes").await;
    upload.send(b"[", false).await;
    server.rewrite(TWO, ONE);
    server.reload();
    upload.send(b"]", true).await;
    let answer = answer.await.unwrap();
    // It is no note, or there is no database: it was read.
    assert!(answer.status().as_u16() >= 400, "{answer:?}");
    server.line_with("no longer listening: every request was finished");
    assert_eq!(staying.get("/healthz", &[]).await.status(), 200);
    assert!(TcpStream::connect(https[1]).is_err(), "nobody listens");
}

#[test]
fn a_download_goes_on_although_its_route_and_its_listener_are_gone() {
    let files = "[[route]]\npath = \"/files/\"\nfiles = \"files\"\n";
    let setup = super::prepared("", &format!("{files}{}", says("/", "here")));
    let directory = setup.directory().join("files");
    std::fs::create_dir(&directory).unwrap();
    let large = std::fs::File::create(directory.join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let mut server = setup.start();
    server.rewrite(ONE, TWO);
    server.reload();
    let http = addresses(&server, "http");
    let mut connections = [Raw::connect(http[0]), Raw::connect(http[1])];
    for connection in &mut connections {
        connection.send("GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(connection.head().status, 200);
    }
    server.rewrite(files, "");
    server.rewrite(TWO, ONE);
    server.reload();
    assert_eq!(
        server.get("/files/large").text(),
        "here",
        "the route is gone"
    );
    for mut connection in connections {
        let mut rest = vec![0; usize::try_from(LARGE).unwrap()];
        connection.0.read_exact(&mut rest).unwrap();
    }
    server.line_with("no longer listening: every request was finished");
}

#[test]
fn what_takes_longer_than_the_drain_is_cut() {
    let setup = super::prepared(
        "drain = \"1s\"",
        "[[route]]\npath = \"/\"\nfiles = \"files\"\n",
    );
    let directory = setup.directory().join("files");
    std::fs::create_dir(&directory).unwrap();
    let large = std::fs::File::create(directory.join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    let mut server = setup.start();
    server.rewrite(ONE, TWO);
    server.reload();
    let mut slow = Raw::connect(addresses(&server, "http")[1]);
    slow.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(slow.head().status, 200);
    server.rewrite(TWO, ONE);
    server.reload();
    let line = server.line_with("server.drain is over, connections cut");
    assert!(line.contains("connections=1"), "{line}");
    let rest = slow.read_to_end().len();
    assert!(rest < usize::try_from(LARGE).unwrap(), "all of it came");
}

#[test]
fn a_socket_may_change_its_kind_and_keeps_who_waits_in_its_queue() {
    let server = site("", &says("/", "here"));
    let (http, https) = (server.http.unwrap(), server.https.unwrap());
    let listeners = "http = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]";
    let named = format!("http = [\"{http}\"]\nhttps = [\"{https}\"]");
    // By its port, the listener is known as well.
    server.rewrite(listeners, &named);
    server.reload();
    assert_eq!(server.get("/").text(), "here");
    let turned = format!("http = [\"{https}\"]\nhttps = [\"{http}\"]");
    server.rewrite(&named, &turned);
    server.reload();
    let answer = get(&mut Raw::connect(https), "/");
    assert_eq!(answer.text(), "here", "what was TLS is plain");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let status = runtime.block_on(async {
        let mut client = Http2::connect(http).await;
        client.get("/", &[]).await.status()
    });
    assert_eq!(status, 200, "and what was plain is TLS");
}

#[test]
fn an_address_that_covers_one_of_ours_is_refused_by_name() {
    let server = site("", &says("/", "here"));
    let wide = format!("http = [\"0.0.0.0:{}\"]", server.http.unwrap().port());
    server.rewrite(ONE, &wide);
    let words = super::words(&server.ask(&["reload"]));
    assert!(words.contains("while this server listens on"), "{words}");
    assert_eq!(server.get("/").text(), "here");
}

#[test]
fn a_stop_waits_for_nobody_who_asks_nothing_at_a_listener_that_is_gone() {
    let mut server = site("drain = \"60s\"", &says("/", "here"));
    server.rewrite(ONE, TWO);
    server.reload();
    let mut idle = Raw::connect(addresses(&server, "http")[1]);
    assert_eq!(get(&mut idle, "/").status, 200);
    server.rewrite(TWO, ONE);
    server.reload();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let status = server.ends_within(Duration::from_secs(20));
    assert_eq!(status.expect("it has ended").code(), Some(0));
}
