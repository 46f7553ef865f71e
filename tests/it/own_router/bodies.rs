//! Large bodies go through in bounded memory, and are what they were.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};

use crate::support::edge::Edge;
use crate::support::http2::{Http2, piece};
use crate::support::raw::Raw;

const MIB: usize = 1024 * 1024;
const PIECE: usize = 64 * 1024;
/// What may be on the way at once: the kernel's buffers on loopback, with room to spare.
const ON_THE_WAY: usize = 24 * MIB;

/// A pattern whose period no buffer has.
fn at(offset: usize, length: usize) -> Bytes {
    (offset..offset + length)
        .map(|place| u8::try_from(place % 251).unwrap())
        .collect()
}

fn is_in_order(bytes: &[u8], offset: usize) -> bool {
    *bytes == at(offset, bytes.len())
}

/// `/large` streams [`LARGE`] bytes and notes in `most` how far it was ever ahead of `read`.
fn large(read: &Arc<AtomicUsize>, most: &Arc<AtomicUsize>, length: usize) -> Router {
    let (read, most) = (read.clone(), most.clone());
    Router::new().route(
        "/large",
        get(async move || {
            let pieces = stream::iter((0..length / PIECE).map(move |number| {
                let made = (number + 1) * PIECE;
                most.fetch_max(
                    made.saturating_sub(read.load(Ordering::SeqCst)),
                    Ordering::SeqCst,
                );
                Ok::<_, std::io::Error>(at(number * PIECE, PIECE))
            }));
            Body::from_stream(pieces)
        }),
    )
}

#[test]
fn a_hundred_mebibytes_are_downloaded_in_bounded_memory() {
    const LARGE: usize = 100 * MIB;
    let (read, most) = (Arc::default(), Arc::default());
    let edge = Edge::serve(large(&read, &most, LARGE));
    let mut raw = Raw::connect(edge.http);
    raw.send("GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().status, 200);
    let mut offset = 0;
    loop {
        let chunk = raw.chunk().unwrap();
        if chunk.is_empty() {
            break;
        }
        assert!(is_in_order(&chunk, offset), "at {offset}");
        offset += chunk.len();
        read.store(offset, Ordering::SeqCst);
    }
    assert_eq!(offset, LARGE);
    let most = most.load(Ordering::SeqCst);
    assert!(most < ON_THE_WAY, "{most} bytes were on the way");
}

#[tokio::test]
async fn a_large_download_over_http_2_is_bounded_too() {
    const LARGE: usize = 16 * MIB;
    let (read, most) = (Arc::default(), Arc::default());
    let edge = Edge::serve(large(&read, &most, LARGE));
    let mut client = Http2::connect(edge.https).await;
    let mut body = client.get("/large", &[]).await.into_body();
    let mut offset = 0;
    while let Some(bytes) = piece(&mut body).await {
        let bytes = bytes.unwrap();
        assert!(is_in_order(&bytes, offset), "at {offset}");
        offset += bytes.len();
        read.store(offset, Ordering::SeqCst);
    }
    assert_eq!(offset, LARGE);
    let most = most.load(Ordering::SeqCst);
    assert!(most <= 2 * MIB, "{most} bytes were on the way");
}

/// Counts the bytes of a body, checking each.
fn counting() -> Router {
    Router::new().route(
        "/count",
        post(async |body: Body| {
            let mut pieces = body.into_data_stream();
            let mut count = 0;
            while let Some(piece) = pieces.next().await {
                let piece = piece.unwrap();
                assert!(is_in_order(&piece, count), "at {count}");
                count += piece.len();
            }
            count.to_string()
        }),
    )
}

#[test]
fn a_large_upload_arrives_whole_with_a_length_or_in_chunks() {
    const LARGE: usize = 32 * MIB;
    let edge = Edge::with_server(r#"max_body = "32MiB""#, "", counting());
    for chunked in [false, true] {
        let mut raw = Raw::connect(edge.http);
        let mut sender = Raw(raw.0.try_clone().unwrap());
        let framing = if chunked {
            "Transfer-Encoding: chunked".to_owned()
        } else {
            format!("Content-Length: {LARGE}")
        };
        sender.send(format!(
            "POST /count HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n"
        ));
        let sending = thread::spawn(move || {
            for number in 0..LARGE / PIECE {
                let piece = at(number * PIECE, PIECE);
                if chunked {
                    sender.send_chunk(&piece);
                } else {
                    sender.send(&piece);
                }
            }
            if chunked {
                sender.send("0\r\n\r\n");
            }
        });
        let answer = raw.answer();
        assert_eq!(answer.status, 200, "chunked: {chunked}");
        assert_eq!(answer.body, LARGE.to_string().as_bytes());
        sending.join().unwrap();
    }
}

#[test]
fn a_body_of_one_byte_too_many_is_413_with_a_length_or_in_chunks() {
    let edge = Edge::with_server(r#"max_body = "1KiB""#, "", counting());
    let whole = at(0, 1024);
    let more = at(0, 1025);
    for (body, status) in [(&whole, 200), (&more, 413)] {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!(
            "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ))
        .send(body);
        assert_eq!(raw.answer().status, status);

        let mut raw = Raw::connect(edge.http);
        raw.send("POST /count HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
        for piece in body.chunks(100) {
            raw.send_chunk(piece);
        }
        raw.send("0\r\n\r\n");
        assert_eq!(raw.answer().status, status, "chunked");
    }
}
