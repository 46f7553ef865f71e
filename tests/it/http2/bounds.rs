//! How much a client may ask for, and what a flood gets.

use super::client::{post, to};
use super::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, Frames, GOAWAY, HEADERS,
    NO_ERROR, PING, REFUSED_STREAM, RST_STREAM, frame, header_block,
};
use super::{Client, edge};

#[tokio::test]
async fn a_client_has_a_hundred_streams_at_once() {
    let server = edge("");
    let mut frames = Frames::connect(&server).await;
    let block = header_block("POST");
    for stream in (1..=201).step_by(2) {
        frames.send(HEADERS, END_HEADERS, stream, &block).await;
    }
    let refused = frames.next_of(RST_STREAM).await.unwrap();
    assert_eq!((refused.stream, refused.code()), (201, REFUSED_STREAM));
    // The others go on, and a finished one makes room.
    frames.send(DATA, END_STREAM, 1, b"[]").await;
    assert_eq!(frames.next_of(HEADERS).await.unwrap().stream, 1);
    let get = header_block("GET");
    frames
        .send(HEADERS, END_HEADERS | END_STREAM, 203, &get)
        .await;
    assert_eq!(frames.next_of(HEADERS).await.unwrap().stream, 203);
}

#[tokio::test]
async fn a_header_list_has_a_size() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    let with = |length: usize| to("/word").header("x", "a".repeat(length));
    assert_eq!(client.send(with(31 * 1024)).await.status, 200);
    assert_eq!(client.send(with(33 * 1024)).await.status, 431);
    assert_eq!(
        client.get("/word").await.text(),
        "word",
        "the connection lives on"
    );
}

#[tokio::test]
async fn headers_without_end_end_the_connection() {
    let server = edge("");
    let mut frames = Frames::connect(&server).await;
    frames.send(HEADERS, 0, 1, &header_block("GET")).await;
    // Each brings one more field, `x: y`.
    let more = frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y'].repeat(3000));
    for _ in 0..100 {
        frames.send_bytes(&more).await;
    }
    let ended = frames.until_end().await;
    assert!(
        !ended.iter().any(|frame| frame.kind == HEADERS),
        "it was no request: {ended:?}"
    );
}

#[tokio::test]
async fn who_is_refused_may_stop_sending_before_it_is_stopped() {
    let server = edge("max_body = \"1KiB\"");
    for stops in [true, false] {
        let mut frames = Frames::connect(&server).await;
        let block = header_block("POST");
        frames.send(HEADERS, END_HEADERS, 1, &block).await;
        frames.send(DATA, 0, 1, &[b'a'; 2000]).await;
        assert_eq!(frames.next_of(HEADERS).await.unwrap().stream, 1);
        while frames.next_of(DATA).await.unwrap().flags & END_STREAM == 0 {}
        if stops {
            frames.send(DATA, END_STREAM, 1, b"a").await;
        }
        frames.send(PING, 0, 0, &[0; 8]).await;
        let next = loop {
            let next = frames.next().await.unwrap();
            if [PING, RST_STREAM].contains(&next.kind) {
                break next;
            }
        };
        assert_eq!(next.kind, PING, "{next:?}");
        if !stops {
            let reset = frames.next_of(RST_STREAM).await.unwrap();
            assert_eq!((reset.stream, reset.code()), (1, NO_ERROR));
        }
    }
}

#[tokio::test]
async fn a_body_has_a_size() {
    let server = edge("max_body = \"1KiB\"");
    let mut client = Client::connect(&server).await;
    let announced = client
        .begin(post().header("content-length", "1025"), false)
        .await;
    let answer = announced.answer().await.unwrap();
    assert_eq!(answer.status, 413, "before a byte of it has come");
    assert_eq!(answer.headers["content-type"], "application/problem+json");

    let mut upload = client.post().await;
    upload.send(&"a".repeat(1000), false);
    upload.send(&"a".repeat(1000), false);
    assert_eq!(upload.answer().await.unwrap().status, 413);

    let mut upload = client.post().await;
    upload.send(&"a".repeat(1024), true);
    assert_eq!(
        upload.answer().await.unwrap().status,
        400,
        "within the limit, and no JSON"
    );
    assert_eq!(
        client.get("/word").await.text(),
        "word",
        "the connection lives on"
    );
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let server = edge("");
    let mut bystander = Client::connect(&server).await;
    assert_eq!(bystander.get("/word").await.text(), "word");

    // Such whose answer takes a while, and such whose answer is ready.
    for _ in 0..2 {
        bystander.get("/word").await;
    }
    for method in ["POST", "GET"] {
        let mut frames = Frames::connect(&server).await;
        let block = header_block(method);
        let flags = if method == "GET" {
            END_HEADERS | END_STREAM
        } else {
            END_HEADERS
        };
        let mut flood = Vec::new();
        for stream in (1..4000).step_by(2) {
            flood.extend(frame(HEADERS, flags, stream, &block));
            flood.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        frames.send_bytes(&flood).await;
        let goaway = frames.next_of(GOAWAY).await.unwrap();
        assert_eq!(goaway.code(), ENHANCE_YOUR_CALM, "{method}");
        assert!(frames.until_end().await.len() < 2000);
    }

    assert_eq!(bystander.get("/word").await.text(), "word");
}

#[tokio::test]
async fn requests_for_no_host_end_the_connection_after_a_while() {
    let server = edge("");
    let mut frames = Frames::connect(&server).await;
    // `:method`, `:scheme` and `:path`, but neither `:authority` nor `host`.
    for stream in (1..=201).step_by(2) {
        let flags = END_HEADERS | END_STREAM;
        frames
            .send(HEADERS, flags, stream, &[0x82, 0x87, 0x84])
            .await;
    }
    let answers = frames.until_end().await.into_iter();
    let answers: Vec<_> = answers.filter(|frame| frame.kind == HEADERS).collect();
    assert!((1..50).contains(&answers.len()), "{answers:?}");
    // Index 12 of the static table is `:status` 400.
    assert!(
        answers.iter().all(|answer| answer.payload[0] == 0x8c),
        "{answers:?}"
    );
}
