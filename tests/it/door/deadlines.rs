//! How long a client may take.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use super::{connect, edge, edge_with, get};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};

#[test]
fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let server = edge("timeouts = { header = \"2s\" }");
    let mut client = connect(&server);
    let start = Instant::now();
    for byte in get(&format!("/{}", "a".repeat(1000))).bytes() {
        client.send([byte]);
        if !client.is_silent_for(Duration::from_millis(100)) {
            break;
        }
    }
    let answer = client.last_answer();
    let took = start.elapsed();
    assert_eq!(answer.status, 408, "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert!((2..20).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn half_a_head_on_a_kept_connection_has_the_same_time() {
    let server = edge("timeouts = { header = \"1s\", keepalive = \"60s\" }");
    let mut client = connect(&server);
    client.send(get("/word/one") + "GET /word");
    assert_eq!(client.answer().text(), "one");
    assert_eq!(client.last_answer().status, 408);
}

#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let server = edge("timeouts = { keepalive = \"1s\" }");
    let start = Instant::now();
    let mut fresh = connect(&server);
    let mut used = connect(&server);
    assert_eq!(used.send(get("/word/one")).answer().text(), "one");
    // A line end is no request, and gets no answer either.
    let mut stray = connect(&server);
    stray.send("\r\n");
    assert_eq!(fresh.read_to_end(), b"");
    assert_eq!(used.read_to_end(), b"");
    let took = start.elapsed();
    assert!((1..20).contains(&took.as_secs()), "{took:?}");
}

#[test]
fn a_stray_line_end_is_not_worth_an_answer() {
    let server = edge("timeouts = { header = \"1s\" }");
    let mut client = connect(&server);
    client.send(get("/word/one"));
    assert_eq!(client.answer().text(), "one");
    client.send("\r\n");
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_client_that_stops_reading_is_cut_off() {
    let length = 64 * 1024 * 1024;
    let mut server = server_with_large_file("timeouts = { write_idle = \"1s\" }", length);
    let mut client = connect(&server);
    client.send(get("/files/large"));
    // The line is written when the answer is over, however it was.
    let line = server.wait_for_line("GET /files/large");
    assert!(line.contains("\" 200 "), "{line}");
    let got = client.read_to_end().len() as u64;
    assert!(got < length, "{got} bytes");
}

#[test]
fn a_client_that_reads_slowly_gets_everything() {
    let length = 16 * 1024 * 1024;
    let server = server_with_large_file("timeouts = { write_idle = \"2s\" }", length);
    let mut client = connect(&server);
    client.send(get("/files/large"));
    let answer = client.head();
    assert_eq!(answer.header("content-length"), Some(&*length.to_string()));
    let start = Instant::now();
    let mut got = 0;
    let mut buffer = vec![0; 2 * 1024 * 1024];
    while got < length {
        // Nothing is read meanwhile; an idle connection of our own is the clock.
        assert!(connect(&server).is_silent_for(Duration::from_millis(400)));
        let room = usize::try_from(length - got).unwrap().min(buffer.len());
        client.0.read_exact(&mut buffer[..room]).unwrap();
        got += room as u64;
    }
    assert!(
        start.elapsed() > Duration::from_secs(2),
        "longer than write_idle in all"
    );
    assert_eq!(client.send(get("/word/one")).answer().text(), "one");
}

#[test]
fn a_handshake_that_does_not_come_is_not_waited_for() {
    let server = Setup::new()
        .database("postgres://nobody@127.0.0.1:1/none")
        .config(
            r#"
            [server]
            http = []
            https = ["127.0.0.1:0"]
            timeouts = { tls_handshake = "1s" }
            [database]
            wait = "1ms"
            "#,
        )
        .start();
    for bytes in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let start = Instant::now();
        let mut client = Raw::connect(server.https.unwrap());
        client.send(bytes).read_to_end();
        let took = start.elapsed();
        assert!((1..20).contains(&took.as_secs()), "{took:?}");
    }
    let mut client = Raw::connect(server.https.unwrap());
    let start = Instant::now();
    client.send(get("/")).read_to_end();
    assert!(
        start.elapsed() < PATIENCE,
        "plain HTTP on a TLS port ends at once"
    );
}

fn server_with_large_file(server: &str, length: u64) -> Server {
    let setup = Setup::new();
    let directory = setup.directory().join("files");
    fs::create_dir_all(&directory).unwrap();
    let file = fs::File::create(directory.join("large")).unwrap();
    file.set_len(length).unwrap();
    edge_with(server, setup)
}
