//! The end of a WebSocket as the wire gives it, byte by byte.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, timeout};

use super::super::head::Framing;
use super::super::wire::Wire;
use crate::edge::farewell::Farewell;

const AGREED: &str = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\nConnection: upgrade\r\n\r\n";
const DECLINED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n";
const COME_ANEW: &[u8] = b"\x88\x11\x03\xf4Service Restart";
/// A client's Close with the status that it was told.
const ANSWER: &[u8] = b"\x88\x82\0\0\0\0\x03\xf4";
const SECOND: Duration = Duration::from_secs(1);
/// Longer than anything here waits; with the clock paused it passes at once.
const LONG: Duration = Duration::from_hours(1);

/// A client, and the wire over which it has got `answer` to its request for a WebSocket, and which then
/// has to end: after the server has said this, and the client that.
async fn due_after(answer: &str, server: &[u8], client_says: &[u8]) -> (DuplexStream, Wire) {
    let (mut client, inner) = duplex(64 * 1024);
    let farewell = Farewell::new();
    let mut wire = Wire::new(Box::new(inner), LONG, farewell.clone());
    client.write_all(b"HEAD").await.unwrap();
    wire.read_more().await.unwrap();
    wire.begin(4, Framing::Upgrade);
    // Byte by byte: it may come in any pieces.
    for byte in answer.as_bytes().iter().chain(server) {
        wire.write_all(&[*byte]).await.unwrap();
    }
    let mut head = vec![0; answer.len()];
    client.read_exact(&mut head).await.unwrap();
    client.write_all(client_says).await.unwrap();
    assert_eq!(readable(&mut wire, SECOND).await, client_says);
    farewell.part(Duration::ZERO);
    (client, wire)
}

/// What there is to read until one would wait for `time`.
async fn readable(mut from: impl AsyncReadExt + Unpin, time: Duration) -> Vec<u8> {
    let (mut bytes, mut buffer) = (Vec::new(), [0; 1024]);
    while let Ok(Ok(read @ 1..)) = timeout(time, from.read(&mut buffer)).await {
        bytes.extend_from_slice(&buffer[..read]);
    }
    bytes
}

#[tokio::test(start_paused = true)]
async fn the_message_under_way_comes_to_its_end_and_nothing_after_the_close() {
    for (before, after, message, why) in [
        (b"".as_slice(), b"".as_slice(), b"".as_slice(), "silent"),
        (b"\x81\x02ab", b"", b"", "between two messages"),
        (b"\x82\x04ab", b"cd", b"cd", "within a frame"),
        (b"\x82\x04abc", b"d", b"d", "its last byte"),
        (
            b"\x01\x02a",
            b"b\x89\x01!\x80\x01c",
            b"b\x89\x01!\x80\x01c",
            "fragments",
        ),
    ] {
        for late in [b"".as_slice(), b"\x81\x04late"] {
            let (mut client, mut wire) = due_after(AGREED, before, b"").await;
            wire.write_all(&[after, late].concat()).await.unwrap();
            // Pingora listens to the client whenever it doesn't write.
            assert_eq!(readable(&mut wire, SECOND).await, b"", "{why}");
            let expected = [before, message, COME_ANEW].concat();
            assert_eq!(readable(&mut client, SECOND).await, expected, "{why}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_without_end_is_not_waited_for() {
    let begun = b"\x01\x02ab\x00\x02";
    let (mut client, mut wire) = due_after(AGREED, begun, b"").await;
    assert_eq!(readable(&mut wire, 6 * SECOND).await, b"");
    assert_eq!(readable(&mut client, SECOND).await, begun, "not in a frame");
    wire.write_all(b"cd\x00\x01e").await.unwrap();
    let expected = [b"cd", COME_ANEW].concat();
    assert_eq!(readable(&mut client, SECOND).await, expected);
}

#[tokio::test(start_paused = true)]
async fn the_client_has_its_say_up_to_its_close() {
    let (mut client, mut wire) = due_after(AGREED, b"", b"").await;
    assert_eq!(readable(&mut wire, SECOND).await, b"");
    let hello = b"\x81\x82\0\0\0\0hi".as_slice();
    let said = [hello, ANSWER].concat();
    client.write_all(&[&said, hello].concat()).await.unwrap();
    let begin = Instant::now();
    assert_eq!(readable(&mut wire, SECOND / 2).await, said);
    // The server's answer ends it: nobody waits for anything any more.
    wire.write_all(b"\x88\x02\x03\xf4").await.unwrap();
    assert_eq!(wire.read(&mut [0; 8]).await.unwrap(), 0);
    assert!(begin.elapsed() < SECOND);
    let heard = readable(&mut client, SECOND).await;
    assert_eq!(heard, COME_ANEW, "and nothing else");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_answer_is_waited_for_a_moment() {
    let (_client, mut wire) = due_after(AGREED, b"", b"").await;
    let mut buffer = [0; 64];
    let begin = Instant::now();
    let read = wire.read(&mut buffer).await.unwrap();
    assert_eq!(begin.elapsed().as_secs(), 3);
    assert_eq!(&buffer[..2], b"\x88\x82", "a masked Close");
    let status = [buffer[6] ^ buffer[2], buffer[7] ^ buffer[3]];
    assert_eq!((read, u16::from_be_bytes(status)), (8, 1001));
    assert_eq!(wire.read(&mut buffer).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn who_says_goodbye_already_is_not_talked_over() {
    let goodbye = b"\x88\x02\x03\xe8".as_slice();
    let (mut client, mut wire) = due_after(AGREED, goodbye, b"").await;
    client.write_all(ANSWER).await.unwrap();
    assert_eq!(
        readable(&mut wire, SECOND).await,
        ANSWER,
        "the client answers"
    );
    assert_eq!(readable(&mut client, SECOND).await, goodbye);
    let (mut client, mut wire) = due_after(AGREED, b"", ANSWER).await;
    assert_eq!(
        timeout(SECOND, wire.read(&mut [0]))
            .await
            .ok()
            .map(Result::unwrap),
        None
    );
    wire.write_all(goodbye).await.unwrap();
    assert_eq!(wire.read(&mut [0]).await.unwrap(), 0, "both have");
    assert_eq!(
        readable(&mut client, SECOND).await,
        goodbye,
        "the server answers"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_no_websocket_is_left_alone() {
    for (answer, says, why) in [
        (DECLINED, b"hello\n".as_slice(), "an ordinary answer"),
        (AGREED, b"hello\n", "bytes that are no frames"),
        (AGREED, b"\x81\x82\0\0\0\0hi", "frames of a client"),
    ] {
        let (mut client, mut wire) = due_after(answer, says, b"").await;
        assert_eq!(readable(&mut wire, LONG).await, b"", "{why}");
        assert_eq!(readable(&mut client, LONG).await, says, "{why}");
    }
}
