//! How long a client may take.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::client::to;
use super::frames::{
    END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, PING, SETTINGS, header_block,
};
use super::{Client, edge};
use crate::support::server::PATIENCE;

/// Of the order of a second, on a busy machine too.
fn assert_about_a_second(start: Instant) {
    let took = start.elapsed();
    assert!((1..20).contains(&took.as_secs()), "{took:?}");
}

#[tokio::test]
async fn a_preface_that_does_not_come_is_not_waited_for() {
    let server = edge("timeouts = { header = \"1s\", keepalive = \"60s\" }");
    for start_of_preface in [&b""[..], b"PRI * HTTP/2.0\r\n\r\n"] {
        let start = Instant::now();
        let mut frames = Frames::connect_silent(&server).await;
        frames.send_bytes(start_of_preface).await;
        frames.until_end().await;
        assert_about_a_second(start);
    }
    let mut other = Frames::connect_silent(&server).await;
    let start = Instant::now();
    other
        .send_bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    other.until_end().await;
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn an_idle_client_is_told_to_go() {
    let server = edge("timeouts = { keepalive = \"1s\" }");
    let start = Instant::now();
    let mut used = Client::connect(&server).await;
    assert_eq!(used.get("/word").await.text(), "word");
    used.end().await.unwrap();
    assert_about_a_second(start);
}

#[tokio::test]
async fn an_idle_client_that_does_not_go_is_shown_out() {
    let server = edge("timeouts = { keepalive = \"1s\" }");
    let start = Instant::now();
    let mut deaf = Frames::connect(&server).await;
    let farewell = deaf.until_end().await;
    assert_about_a_second(start);
    let goaway = farewell.iter().find(|frame| frame.kind == GOAWAY).unwrap();
    assert_eq!(goaway.code(), 0, "it has done nothing wrong");
}

/// What a client sends before it has read the end must not be answered with a reset, which takes
/// with it what is still on the way.
#[tokio::test]
async fn a_client_that_is_told_to_go_is_listened_to_for_a_moment() {
    let server = edge("timeouts = { keepalive = \"1s\" }");
    let mut frames = Frames::connect(&server).await;
    let get = header_block("GET");
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 1, &get)
        .await;
    while let Some(frame) = frames.next().await {
        // By the answer the server knows that its farewell has been read.
        if frame.kind == PING && frame.flags == 0 {
            frames.send(PING, 1, 0, &frame.payload).await;
        }
    }
    for _ in 0..3 {
        assert!(frames.is_listened_to().await);
        // Meanwhile the server has time to close.
        let mut other = Client::connect(&server).await;
        assert_eq!(other.get("/word").await.text(), "word");
    }
}

#[tokio::test]
async fn a_client_that_only_pings_is_idle() {
    let server = edge("timeouts = { keepalive = \"1s\" }");
    let start = Instant::now();
    let mut frames = Frames::connect(&server).await;
    frames.next_of(SETTINGS).await.unwrap();
    frames.send(PING, 0, 0, &[0; 8]).await;
    // Every answer is followed by the next ping, until the server has had enough.
    while start.elapsed() < PATIENCE {
        let frame = frames.next().await.unwrap();
        match (frame.kind, frame.flags) {
            (GOAWAY, _) => break,
            (PING, 1) => frames.send(PING, 0, 0, &[0; 8]).await,
            _ => {}
        }
    }
    frames.until_end().await;
    assert_about_a_second(start);
}

#[tokio::test]
async fn a_client_with_a_request_under_way_is_not_idle() {
    let server = edge("timeouts = { keepalive = \"1s\" }");
    let mut client = Client::connect(&server).await;
    let mut upload = client.post().await;
    upload.send("[", false);
    // Meanwhile another connection idles until it ends, which is as long as this one may.
    let idle = Client::connect(&server).await;
    idle.end().await.unwrap();
    upload.send("]", true);
    assert_eq!(upload.answer().await.unwrap().status, 422);
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up() {
    let server = edge("timeouts = { body_idle = \"1s\" }");
    let mut client = Client::connect(&server).await;
    let start = Instant::now();
    let mut upload = client.post().await;
    upload.send("[", false);
    assert_eq!(upload.answer().await.unwrap().status, 408);
    assert_about_a_second(start);
    assert_eq!(
        client.get("/word").await.text(),
        "word",
        "the connection lives on"
    );
}

#[tokio::test]
async fn half_a_header_block_is_not_waited_for() {
    let server = edge("timeouts = { header = \"1s\", keepalive = \"1s\" }");
    let start = Instant::now();
    let mut frames = Frames::connect(&server).await;
    frames.send(HEADERS, 0, 1, &header_block("GET")).await;
    frames.until_end().await;
    assert_about_a_second(start);
    // The same with half a frame.
    let start = Instant::now();
    let mut frames = Frames::connect(&server).await;
    let whole = super::frames::frame(HEADERS, END_HEADERS, 1, &header_block("GET"));
    frames.send_bytes(&whole[..12]).await;
    frames.until_end().await;
    assert_about_a_second(start);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_off() {
    let mut server = edge("timeouts = { write_idle = \"1s\" }");
    let mut client = Client::connect(&server).await;
    // The answer is never read, so its window is never opened again.
    let stalled = client.begin(to("/files/large"), true).await;
    let line = tokio::task::spawn_blocking(move || {
        let line = server.wait_for_line("GET /files/large");
        (server, line)
    });
    let (_server, line) = timeout(PATIENCE, line).await.unwrap().unwrap();
    assert!(line.contains("\" 200 "), "{line}");
    assert!(stalled.answer().await.is_err(), "it is not the whole file");
}
