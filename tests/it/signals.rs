//! How the server is stopped.

use std::io::Read;
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::http2::Client;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{PATIENCE, Server, Setup};

/// A container stop must not take long when nothing is under way.
const PROMPTLY: Duration = Duration::from_secs(4);
/// Much shorter than what a test would otherwise wait for.
const AT_ONCE: Duration = Duration::from_secs(20);

/// A server with a plain and a TLS port and without a database; `drain` is in seconds.
fn edge(drain: u32) -> Server {
    let setup = Setup::new();
    let files = setup.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let large = std::fs::File::create(files.join("large")).unwrap();
    large.set_len(LARGE).unwrap();
    setup
        .database("postgres://nobody@127.0.0.1:1/none")
        .config(&format!(
            r#"
            [server]
            http = ["127.0.0.1:0"]
            https = ["127.0.0.1:0"]
            hosts = ["localhost"]
            drain = "{drain}s"
            [tls]
            redirect = false
            [database]
            wait = "1ms"
            [[route]]
            path = "/"
            app = true
            [[route]]
            path = "/files/"
            files = "files"
            "#
        ))
        .start()
}

const LARGE: u64 = 32 * 1024 * 1024;

fn connect(server: &Server) -> Raw {
    Raw::connect(server.http.unwrap())
}

/// A request that is under way: its handler waits for the last byte of the body.
fn begin_post(server: &Server) -> Raw {
    let mut client = connect(server);
    client.send(
        "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    );
    assert_eq!(client.head().status, 100, "the handler waits for the body");
    client.send("[");
    client
}

fn finish_post(client: &mut Raw) -> RawAnswer {
    client.send("]").answer()
}

fn assert_ended_well(server: &mut Server, within: Duration) {
    let status = server.ends_within(within).expect("it has ended");
    assert_eq!(status.code(), Some(0), "{status:?}");
}

#[test]
fn an_idle_server_stops_promptly_whatever_is_connected() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = edge(60);
        let _silent = connect(&server);
        let mut kept = connect(&server);
        kept.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(kept.answer().status, 200);
        let mut after_chunks = connect(&server);
        after_chunks.send(
            "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n",
        );
        assert_eq!(after_chunks.answer().status, 422);
        let _no_handshake = Raw::connect(server.https.unwrap());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut http2 = runtime.block_on(Client::connect(&server));
        assert_eq!(runtime.block_on(http2.get("/healthz")).status, 200);
        let silent_http2 = crate::http2::connect_silent(&server);
        let _silent_http2 = runtime.block_on(silent_http2);

        server.signal(signal);
        assert_ended_well(&mut server, PROMPTLY);
        assert_eq!(kept.read_to_end(), b"");
        runtime.block_on(http2.end()).unwrap();
    }
}

#[test]
fn a_request_under_way_is_finished_and_nothing_new_begun() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut server = edge(60);
        let mut under_way = begin_post(&server);
        server.signal(signal);
        server.wait_for_line("stopping");
        assert_refused_soon(&server);
        let answer = finish_post(&mut under_way);
        assert_eq!(answer.status, 422, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(under_way.read_to_end(), b"");
        assert_ended_well(&mut server, PROMPTLY);
        assert!(server.log().contains("every request was finished"));
    }
}

#[test]
fn a_request_that_comes_with_the_signal_is_answered_for_the_last_time() {
    let mut server = edge(60);
    let mut under_way = begin_post(&server);
    server.signal(Signal::SIGTERM);
    server.wait_for_line("stopping");
    // Sent early, it would be next on this connection; it is left for another server.
    under_way.send("]GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let answer = under_way.last_answer();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (422, Some("close"))
    );
    let length = answer.body.len().to_string();
    assert_eq!(answer.header("content-length"), Some(&*length));
    assert_ended_well(&mut server, PROMPTLY);
}

#[test]
fn a_download_under_way_is_finished() {
    let mut server = edge(60);
    let mut client = connect(&server);
    client.send("GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 200);
    server.signal(Signal::SIGTERM);
    server.wait_for_line("stopping");
    assert_eq!(client.read_to_end().len() as u64, LARGE);
    assert_ended_well(&mut server, PROMPTLY);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_under_way_are_finished_and_the_client_told_to_go() {
    let mut server = edge(60);
    let mut client = Client::connect(&server).await;
    let mut upload = client.post().await;
    upload.send("[", false);
    let mut download = client.begin(crate::http2::to("/files/large"), true).await;
    let mut body = download.head().await.unwrap();
    server.signal(Signal::SIGTERM);
    server.wait_for_line("stopping");
    assert_refused_soon(&server);
    let read = crate::http2::read(&mut body).await.unwrap();
    assert_eq!(read.len() as u64, LARGE);
    upload.send("]", true);
    assert_eq!(upload.answer().await.unwrap().status, 422);
    client.end().await.unwrap();
    assert_ended_well(&mut server, PROMPTLY);
}

#[test]
fn what_is_not_finished_in_time_is_cut() {
    let mut server = edge(1);
    let mut under_way = begin_post(&server);
    server.signal(Signal::SIGTERM);
    assert_ended_well(&mut server, AT_ONCE);
    assert_eq!(under_way.read_to_end(), b"");
    assert!(
        server.log().contains("server.drain is over"),
        "{}",
        server.log()
    );
}

#[test]
fn a_second_signal_stops_at_once() {
    for (first, second) in [
        (Signal::SIGTERM, Signal::SIGTERM),
        (Signal::SIGINT, Signal::SIGINT),
        (Signal::SIGTERM, Signal::SIGINT),
    ] {
        let mut server = edge(3600);
        let _under_way = begin_post(&server);
        server.signal(first);
        server.wait_for_line("stopping");
        server.signal(second);
        let status = server.ends_within(PROMPTLY).expect("it has ended");
        assert_eq!(status.signal(), None, "by its own will");
        assert!(server.log().contains("second signal"), "{}", server.log());
    }
}

#[test]
fn a_hangup_is_survived() {
    let mut server = edge(60);
    let mut client = connect(&server);
    server.signal(Signal::SIGHUP);
    server.wait_for_line("the configuration was reloaded");
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().status, 200);
    server.signal(Signal::SIGTERM);
    assert_ended_well(&mut server, PROMPTLY);
}

#[test]
fn a_server_that_waits_for_its_database_stops_as_well() {
    let mut server = Setup::new()
        .database("postgres://nobody@127.0.0.1:1/none")
        .config("[database]\nwait = \"1h\"")
        .spawn();
    server.wait_for_line("the database is unavailable");
    server.signal(Signal::SIGTERM);
    assert_ended_well(&mut server, PROMPTLY);
}

/// Nobody listens any more, or nobody takes what waits in the queue.
fn assert_refused_soon(server: &Server) {
    let address = server.http.unwrap();
    let deadline = std::time::Instant::now() + PATIENCE;
    while std::time::Instant::now() < deadline {
        let Ok(mut late) = TcpStream::connect(address) else {
            return;
        };
        // It was queued just before the listener closed: then it ends unanswered.
        late.set_read_timeout(Some(PATIENCE)).unwrap();
        assert!(!matches!(late.read(&mut [0]), Ok(1..)));
    }
    panic!("still listening");
}
