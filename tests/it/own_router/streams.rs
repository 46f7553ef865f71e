//! Pieces arrive as they are made, in both directions at once.

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::support::codings::{CODINGS, Decoder};
use crate::support::edge::Edge;
use crate::support::http2::{Http2, piece};
use crate::support::raw::Raw;

/// A router whose `/events` and `/text` stream what the test sends, and `/sized` that many bytes.
fn streaming() -> (Router, Sender<&'static str>) {
    let (sender, receiver) = channel(1);
    let receiver = Arc::new(Mutex::new(Some(receiver)));
    let streaming = move |kind: &'static str| {
        let receiver = receiver.clone();
        get(async move || {
            let receiver: Receiver<&str> = receiver.lock().unwrap().take().unwrap();
            let pieces = stream::unfold(receiver, async |mut receiver| {
                let piece = receiver.recv().await?;
                Some((Ok::<_, std::io::Error>(piece), receiver))
            });
            ([(CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
        })
    };
    let router = Router::new()
        .route("/events", streaming("text/event-stream"))
        .route("/text", streaming("text/plain"))
        .route(
            "/sized",
            streaming("text/plain").layer(axum::middleware::map_response(
                async |answer: Response| {
                    let length = PIECES.concat().len().to_string();
                    ([(CONTENT_LENGTH, length)], answer)
                },
            )),
        );
    (router, sender)
}

const PIECES: [&str; 3] = ["data: one\n\n", "data: two\n\n", "data: three\n\n"];

#[test]
fn an_event_stream_ends_in_order_when_the_server_leaves_and_no_other_does() {
    for (path, ends) in [("/events", true), ("/text", false)] {
        let (router, pieces) = streaming();
        let mut edge = Edge::serve(router);
        let mut raw = Raw::connect(edge.http);
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        pieces.blocking_send(PIECES[0]).unwrap();
        read_until(&mut raw, PIECES[0]);
        edge.hand_over();
        if !ends {
            pieces.blocking_send(PIECES[1]).unwrap();
            read_until(&mut raw, PIECES[1]);
            drop(pieces);
        }
        read_until(&mut raw, "\r\n0\r\n\r\n");
    }
}

fn read_until(raw: &mut Raw, end: &str) {
    let mut read = Vec::new();
    let mut byte = [0];
    while !String::from_utf8_lossy(&read).contains(end) {
        raw.0.read_exact(&mut byte).unwrap();
        read.push(byte[0]);
    }
}

#[test]
fn each_event_arrives_before_the_next_is_made_even_for_clients_that_take_gzip() {
    for accept in ["", "Accept-Encoding: gzip, br\r\n"] {
        let (router, events) = streaming();
        let edge = Edge::serve(router);
        let mut raw = Raw::connect(edge.http);
        raw.send(format!(
            "GET /events HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n"
        ));
        events.blocking_send(PIECES[0]).unwrap();
        let head = raw.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-encoding"), None);
        assert_eq!(raw.chunk().unwrap(), PIECES[0].as_bytes());
        for event in &PIECES[1..] {
            events.blocking_send(event).unwrap();
            assert_eq!(raw.chunk().unwrap(), event.as_bytes());
        }
        drop(events);
        assert_eq!(raw.chunk().unwrap(), b"", "the proper end");
    }
}

#[test]
fn a_compressed_stream_can_be_read_piece_by_piece() {
    for coding in CODINGS {
        let (router, pieces) = streaming();
        let edge = Edge::serve(router);
        let mut raw = Raw::connect(edge.http);
        raw.send(format!(
            "GET /text HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}\r\n\r\n"
        ));
        let mut decoder = Decoder::new(coding);
        for (number, text) in PIECES.iter().enumerate() {
            pieces.blocking_send(text).unwrap();
            if number == 0 {
                assert_eq!(raw.head().header("content-encoding"), Some(coding));
            }
            let mut read = Vec::new();
            while read.is_empty() {
                read = decoder.read(&raw.chunk().unwrap());
            }
            assert_eq!(read, text.as_bytes());
        }
        drop(pieces);
        assert!(decoder.read(&raw.chunks().unwrap()).is_empty());
    }
}

#[test]
fn pieces_of_a_known_length_do_not_wait_for_each_other() {
    let (router, pieces) = streaming();
    let edge = Edge::serve(router);
    let mut raw = Raw::connect(edge.http);
    raw.send("GET /sized HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut length = None;
    for text in PIECES {
        pieces.blocking_send(text).unwrap();
        if length.is_none() {
            length = raw.head().header("content-length").map(str::to_owned);
        }
        let mut piece = vec![0; text.len()];
        raw.0.read_exact(&mut piece).unwrap();
        assert_eq!(piece, text.as_bytes());
    }
    assert_eq!(length, Some(PIECES.concat().len().to_string()));
}

#[tokio::test]
async fn events_arrive_one_by_one_over_http_2() {
    let (router, events) = streaming();
    let edge = Edge::serve(router);
    let mut client = Http2::connect(edge.https).await;
    events.send(PIECES[0]).await.unwrap();
    let answer = client.get("/events", &[("accept-encoding", "gzip")]).await;
    assert!(!answer.headers().contains_key("content-encoding"));
    let mut body = answer.into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), PIECES[0]);
    for event in &PIECES[1..] {
        events.send(event).await.unwrap();
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), event);
    }
    drop(events);
    assert!(piece(&mut body).await.is_none());
}

fn echo() -> Router {
    let echo = async |body: Body| Body::from_stream(body.into_data_stream());
    Router::new()
        .route("/", post(echo))
        .layer(axum::extract::DefaultBodyLimit::disable())
}

#[test]
fn an_echo_answers_each_chunk_before_the_next_is_sent() {
    let edge = Edge::serve(echo());
    let mut raw = Raw::connect(edge.http);
    raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
    for text in PIECES {
        raw.send_chunk(text.as_bytes());
        if text == PIECES[0] {
            assert_eq!(raw.head().status, 200);
        }
        assert_eq!(raw.chunk().unwrap(), text.as_bytes());
    }
    raw.send("0\r\n\r\n");
    assert_eq!(raw.chunk().unwrap(), b"", "the proper end");
}

#[tokio::test]
async fn an_echo_answers_each_piece_over_http_2() {
    let edge = Edge::serve(echo());
    let mut client = Http2::connect(edge.https).await;
    let (answer, mut upload) = client.post("/").await;
    upload.send(PIECES[0].as_bytes(), false).await;
    let mut body = answer.await.unwrap().into_body();
    assert_eq!(piece(&mut body).await.unwrap().unwrap(), PIECES[0]);
    for text in &PIECES[1..] {
        upload.send(text.as_bytes(), false).await;
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), text);
    }
    upload.0.send_data(Bytes::new(), true).unwrap();
    assert!(piece(&mut body).await.is_none());
}
