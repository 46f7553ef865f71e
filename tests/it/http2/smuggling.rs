//! What HTTP/2 can carry and HTTP/1.1 would read as something else (RFC 9113, sections 8.2 and 10.3) never
//! reaches an upstream that speaks HTTP/1.1.

use super::frames::{
    DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, RST_STREAM, header_block, push_field,
};
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

/// Sends a POST with `fields` and `body`; whether the server refused it, and went on.
async fn is_refused(server: &Server, fields: &[(&str, &str)], body: &str) -> bool {
    let mut frames = Frames::connect(server).await;
    let mut block = header_block("POST");
    for (name, value) in fields {
        push_field(&mut block, name, value);
    }
    frames.send(HEADERS, END_HEADERS, 1, &block).await;
    frames.send(DATA, END_STREAM, 1, body.as_bytes()).await;
    loop {
        match frames.next().await {
            None => return true,
            Some(frame) if [RST_STREAM, GOAWAY].contains(&frame.kind) => return true,
            // 400 stands in HPACK's table of Huffman codes, 200 in its static table as 0x88.
            Some(frame) if frame.kind == HEADERS => return frame.payload.first() != Some(&0x88),
            Some(_) => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_it_is_read_as_a_request_of_its_own() {
    let upstream = Upstream::saying("fine");
    let server = Setup::new()
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n[tls]\nredirect = false\n\
             {}[[route]]\npath = \"/\"\nupstream = \"backend\"\n",
            upstream.table("")
        ))
        .start();
    let after = |why: &str| {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send("GET /after HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(raw.last_answer().status, 200, "{why}");
        loop {
            let seen = upstream.request();
            if seen.line() == "GET /after HTTP/1.1" {
                return;
            }
            assert!(!seen.head.contains("hidden"), "{why}: {}", seen.head);
            assert!(!seen.head.contains("x-evil"), "{why}: {}", seen.head);
        }
    };
    assert!(
        !is_refused(&server, &[], "[]").await,
        "a good one is answered"
    );
    tokio::task::block_in_place(|| after("a good one"));

    let chunked = format!("0\r\n\r\n{HIDDEN}");
    let longer = format!("[]{HIDDEN}");
    for (fields, body, why) in [
        (
            &[("transfer-encoding", "chunked")][..],
            chunked.as_str(),
            "chunks",
        ),
        (
            &[("transfer-encoding", "identity")],
            HIDDEN,
            "another coding",
        ),
        (&[("content-length", "0")], HIDDEN, "more than no body"),
        (&[("content-length", "2")], &longer, "more than its length"),
        (&[("content-length", "200")], "[]", "less than its length"),
        (
            &[("content-length", "2"), ("content-length", "0")],
            "[]",
            "two lengths",
        ),
        (&[("content-length", "+2")], "[]", "a length with a sign"),
        (&[("content-length", "2, 2")], "[]", "a list of lengths"),
        (
            &[("connection", "keep-alive")],
            "[]",
            "a field of the connection",
        ),
        (
            &[("proxy-connection", "keep-alive")],
            "[]",
            "its other spelling",
        ),
        (&[("keep-alive", "timeout=5")], "[]", "another"),
        (&[("upgrade", "websocket")], "[]", "an upgrade"),
        (&[("te", "gzip")], "[]", "codings of the connection"),
        (&[("x-a", "b\r\nx-evil: 1")], "[]", "a line end in a value"),
        (&[("x-a", "b\nx-evil: 1")], "[]", "a bare one"),
        (&[("x-a", "b\0")], "[]", "a NUL in a value"),
        (&[("x-a: b\r\nx-evil", "1")], "[]", "a line end in a name"),
        (&[("x-evil ", "1")], "[]", "a space in a name"),
        (&[("X-Evil", "1")], "[]", "a capital in a name"),
        (&[("x-evil:", "1")], "[]", "a colon in a name"),
        (&[("host", "evil.example")], "[]", "another host"),
        (
            &[(":path", "/hidden")],
            "[]",
            "a second path, after the fields",
        ),
        (&[(":evil", "1")], "[]", "a pseudo-header that is none"),
    ] {
        assert!(is_refused(&server, fields, body).await, "{why}");
        tokio::task::block_in_place(|| after(why));
    }
}
