//! The wire between a client and whoever holds the connection for a request.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::super::head::Framing;
use super::super::wire::Wire;
use crate::edge::farewell::Farewell;

const WRITE_IDLE: Duration = Duration::from_mins(1);
/// Longer than anything here waits; with the clock paused it passes at once.
const LONG: Duration = Duration::from_hours(1);
const HEAD: &str = "HEAD";

/// A client and the server's end of its connection, with room for `room` bytes on the way.
fn connected(room: usize) -> (DuplexStream, Wire) {
    let (client, server) = duplex(room);
    (
        client,
        Wire::new(Box::new(server), WRITE_IDLE, Farewell::new()),
    )
}

/// Reads until `count` bytes are there that nobody has taken.
async fn read_ahead(wire: &mut Wire, count: usize) {
    while wire.ahead().len() < count {
        assert!(wire.read_more().await.unwrap(), "the client has closed");
    }
}

/// What the holder of the wire reads until it would wait; `true` where the end came with it.
async fn readable(wire: &mut Wire) -> (String, bool) {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 64]);
    loop {
        match timeout(LONG, wire.read(&mut buffer)).await {
            Err(_) => return (String::from_utf8(bytes).unwrap(), false),
            Ok(Ok(0)) => return (String::from_utf8(bytes).unwrap(), true),
            Ok(read) => bytes.extend_from_slice(&buffer[..read.unwrap()]),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_byte_beyond_the_body_is_given_out() {
    for (ahead, later, why) in [
        ("HEADbodyNEXT", "", "all came with the head"),
        ("HEADbody", "NEXT", "the body came with the head"),
        ("HEADbo", "dyNEXT", "half of the body came with the head"),
        ("HEAD", "bodyNEXT", "the head came alone"),
    ] {
        let (mut client, mut wire) = connected(1024);
        client.write_all(ahead.as_bytes()).await.unwrap();
        read_ahead(&mut wire, ahead.len()).await;
        client.write_all(later.as_bytes()).await.unwrap();
        assert_eq!(wire.begin(HEAD.len(), Framing::Length(4)), HEAD);
        assert_eq!(readable(&mut wire).await, ("body".into(), false), "{why}");
        read_ahead(&mut wire, 4).await;
        assert_eq!(wire.ahead(), b"NEXT", "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_in_many_pieces_keeps_its_end() {
    let (mut client, mut wire) = connected(3);
    let sending = tokio::spawn(async move {
        client.write_all(b"HEAD123456789NEXT").await.unwrap();
        client
    });
    read_ahead(&mut wire, HEAD.len()).await;
    wire.begin(HEAD.len(), Framing::Length(9));
    assert_eq!(readable(&mut wire).await.0, "123456789");
    read_ahead(&mut wire, 4).await;
    assert_eq!(wire.ahead(), b"NEXT");
    drop(sending.await);
}

#[tokio::test(start_paused = true)]
async fn chunks_pass_to_their_end_and_no_further() {
    for (ahead, later, why) in [
        ("HEAD2\r\nab\r\n0\r\n\r\nNEXT", "", "all came with the head"),
        ("HEAD2\r\nab\r\n0\r", "\n\r\nNEXT", "the end came later"),
        ("HEAD", "2\r\nab\r\n0\r\n\r\nNEXT", "the head came alone"),
    ] {
        let (mut client, mut wire) = connected(1024);
        client.write_all(ahead.as_bytes()).await.unwrap();
        read_ahead(&mut wire, ahead.len()).await;
        client.write_all(later.as_bytes()).await.unwrap();
        wire.begin(HEAD.len(), Framing::Chunked);
        let body = readable(&mut wire).await;
        assert_eq!(body, ("2\r\nab\r\n0\r\n\r\n".into(), false), "{why}");
        read_ahead(&mut wire, 4).await;
        assert_eq!(wire.ahead(), b"NEXT", "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_after_chunks_keep_their_order() {
    // More than the reader takes at once, so that what is given back stands before what never left.
    let next: String = ('a'..='z').cycle().take(200).collect();
    let sent = format!("HEAD0\r\n\r\n{next}");
    let (mut client, mut wire) = connected(1024);
    client.write_all(sent.as_bytes()).await.unwrap();
    read_ahead(&mut wire, sent.len()).await;
    wire.begin(HEAD.len(), Framing::Chunked);
    assert_eq!(readable(&mut wire).await.0, "0\r\n\r\n");
    assert_eq!(wire.ahead(), next.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn what_is_no_chunk_is_an_error_however_often_it_is_read() {
    let (mut client, mut wire) = connected(1024);
    wire.begin(0, Framing::Chunked);
    client.write_all(b"2\r\nabc").await.unwrap();
    for _ in 0..2 {
        let error = wire.read(&mut [0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);
        client.write_all(b"\r\n0\r\n\r\n").await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn another_protocol_passes_as_it_comes_once_it_is_agreed_on() {
    let (mut client, mut wire) = connected(1024);
    client.write_all(b"HEADearly").await.unwrap();
    read_ahead(&mut wire, 9).await;
    wire.begin(HEAD.len(), Framing::Upgrade);
    assert_eq!(readable(&mut wire).await, (String::new(), false));
    let agreed = b"HTTP/1.1 101 Switching Protocols\r\n\r\n";
    wire.write_all(agreed).await.unwrap();
    client.write_all(b"late").await.unwrap();
    assert_eq!(readable(&mut wire).await, ("earlylate".into(), false));
    drop(client);
    assert_eq!(readable(&mut wire).await, (String::new(), true));
}

#[tokio::test(start_paused = true)]
async fn what_follows_a_declined_websocket_is_the_next_request() {
    let (mut client, mut wire) = connected(1024);
    client.write_all(b"HEADNE").await.unwrap();
    read_ahead(&mut wire, 6).await;
    wire.begin(HEAD.len(), Framing::Upgrade);
    wire.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
    client.write_all(b"XT").await.unwrap();
    assert_eq!(readable(&mut wire).await, (String::new(), false));
    read_ahead(&mut wire, 4).await;
    assert_eq!(wire.ahead(), b"NEXT");
}

#[tokio::test(start_paused = true)]
async fn an_early_request_waits_for_its_turn() {
    let (mut client, mut wire) = connected(1024);
    client.write_all(HEAD.as_bytes()).await.unwrap();
    read_ahead(&mut wire, HEAD.len()).await;
    wire.begin(HEAD.len(), Framing::Length(0));
    client.write_all(b"NEXT").await.unwrap();
    assert_eq!(readable(&mut wire).await, (String::new(), false));
    assert_eq!(wire.ahead(), b"NEXT");
}

#[tokio::test(start_paused = true)]
async fn only_a_bounded_part_of_what_comes_early_is_kept() {
    let (mut client, mut wire) = connected(1024);
    let flood = tokio::spawn(async move { while client.write_all(&[b'x'; 1024]).await.is_ok() {} });
    wire.begin(0, Framing::Length(0));
    assert_eq!(readable(&mut wire).await, (String::new(), false));
    let kept = wire.ahead().len();
    assert!((64 * 1024..66 * 1024).contains(&kept), "{kept}");
    drop(wire);
    flood.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_is_noticed_unless_it_has_left_requests() {
    for (sent, noticed) in [("HEAD", true), ("HEADNEXT", false)] {
        let (mut client, mut wire) = connected(1024);
        client.write_all(sent.as_bytes()).await.unwrap();
        read_ahead(&mut wire, HEAD.len()).await;
        wire.begin(HEAD.len(), Framing::Length(0));
        drop(client);
        assert_eq!(
            readable(&mut wire).await,
            (String::new(), noticed),
            "{sent}"
        );
        assert!(!wire.read_more().await.unwrap(), "nothing more will come");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_reading_is_cut() {
    let (client, mut wire) = connected(16);
    let start = Instant::now();
    let error = wire.write_all(&[b'x'; 64]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(start.elapsed().as_secs(), WRITE_IDLE.as_secs());
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_reads_slowly_is_not_cut() {
    let (mut client, mut wire) = connected(16);
    let reading = tokio::spawn(async move {
        let mut buffer = [0; 16];
        for _ in 0..8 {
            tokio::time::sleep(WRITE_IDLE.mul_f32(0.9)).await;
            client.read_exact(&mut buffer).await.unwrap();
        }
    });
    wire.write_all(&[b'x'; 128]).await.unwrap();
    wire.flush().await.unwrap();
    reading.await.unwrap();
}

/// How long closing takes, as Pingora does it.
async fn time_to_close(wire: &mut Wire) -> Duration {
    let start = Instant::now();
    wire.shutdown().await.unwrap();
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_client_that_still_sends_is_listened_to_for_a_moment() {
    for (framing, listened) in [
        (Framing::Length(4), true),
        (Framing::Chunked, true),
        (Framing::Length(0), false),
        (Framing::Upgrade, true),
    ] {
        let (client, mut wire) = connected(1024);
        wire.begin(0, framing);
        let time = time_to_close(&mut wire).await;
        assert_eq!(time > Duration::ZERO, listened, "{framing:?}");
        assert!(time < WRITE_IDLE, "{framing:?}");
        drop(client);
    }
    let (client, mut wire) = connected(1024);
    wire.begin(0, Framing::Length(4));
    drop(client);
    let time = time_to_close(&mut wire).await;
    assert_eq!(time, Duration::ZERO, "a client that closes ends it");

    let (mut client, mut wire) = connected(1024);
    client.write_all(b"NEXT").await.unwrap();
    read_ahead(&mut wire, 4).await;
    let time = time_to_close(&mut wire).await;
    assert!(time > Duration::ZERO, "more requests may be on their way");
    drop(client);

    let (client, mut wire) = connected(1024);
    wire.begin(0, Framing::Chunked);
    wire.end();
    let time = time_to_close(&mut wire).await;
    assert_eq!(
        time,
        Duration::ZERO,
        "between requests there is nothing to wait for"
    );
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_a_refusal_is_taken() {
    let (mut client, mut wire) = connected(16);
    let sending = tokio::spawn(async move { client.write_all(&[b'x'; 4096]).await });
    wire.close_and_listen().await;
    sending.await.unwrap().unwrap();
}
