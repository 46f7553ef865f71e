//! What becomes of bodies, down to the bytes of HTTP/1.1.

use std::io::Read;

use flate2::read::GzDecoder;
use pingora_core::protocols::l4::stream::Stream;
use pingora_proxy::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;

#[tokio::test]
async fn every_way_to_end_a_body_ends_the_encoding() {
    for way in ["body", "empty body", "trailers", "done"] {
        let mut context = armed(&head("GET", BROWSER), None);
        filtered(&mut context, &mut answer(200, PAGE)).await;
        let mut encoded = Vec::new();
        let mut body = Some(Bytes::from_static(b"hello, "));
        context.response_body_filter(&mut body, false).unwrap();
        assert_eq!(
            body, None,
            "a body of known length is not written in crumbs"
        );
        let mut body = Some(Bytes::from_static(b"world"));
        context
            .response_body_filter(&mut body, way == "body")
            .unwrap();
        encoded.extend(body.unwrap_or_default());
        match way {
            "empty body" => {
                let mut body = None;
                context.response_body_filter(&mut body, true).unwrap();
                encoded.extend(body.unwrap());
            }
            "trailers" => {
                encoded.extend(context.response_trailer_filter(&mut None).unwrap().unwrap());
            }
            "done" => encoded.extend(context.response_done_filter().unwrap().unwrap()),
            _ => {}
        }
        assert_eq!(
            context.response_done_filter().unwrap(),
            None,
            "{way}: ended once"
        );
        let mut decoded = String::new();
        GzDecoder::new(&encoded[..])
            .read_to_string(&mut decoded)
            .unwrap();
        assert_eq!(decoded, "hello, world", "{way}");
    }
}

/// What a client reads of an answer whose body comes in `pieces`.
async fn on_the_wire(method: &str, response: ResponseHeader, pieces: &[&'static str]) -> Vec<u8> {
    let (server, mut client) = UnixStream::pair().unwrap();
    let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut session = Session::new_h1_with_modules(Box::new(Stream::from(server)), &modules());
    session.read_request().await.unwrap();
    let request = Request::new(session.req_header(), None, config());
    session
        .downstream_modules_ctx
        .get_mut::<Compression>()
        .unwrap()
        .arm(request);
    let has_body = method != "HEAD";
    session
        .write_response_header(Box::new(response), !has_body)
        .await
        .unwrap();
    if has_body {
        for piece in pieces {
            session
                .write_response_body(Some(Bytes::from_static(piece.as_bytes())), false)
                .await
                .unwrap();
        }
        session.write_response_body(None, true).await.unwrap();
    }
    drop(session);
    let mut written = Vec::new();
    client.read_to_end(&mut written).await.unwrap();
    written
}

/// Takes chunks apart; panics where they are malformed or do not end.
fn dechunk(mut wire: &[u8]) -> Vec<Vec<u8>> {
    let mut chunks = Vec::new();
    loop {
        let line = wire.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&wire[..line]).unwrap(), 16).unwrap();
        let rest = &wire[line + 2..];
        assert_eq!(&rest[size..size + 2], b"\r\n");
        if size == 0 {
            assert_eq!(rest.len(), 2, "nothing follows the last chunk");
            return chunks;
        }
        chunks.push(rest[..size].to_vec());
        wire = &rest[size + 2..];
    }
}

#[tokio::test]
async fn a_compressed_stream_is_chunked_on_the_wire() {
    let response = answer(200, &[PAGE[0]]);
    let wire = on_the_wire("GET", response, &["one ", "", "two ", "three"]).await;
    let end = wire
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap();
    let head = String::from_utf8(wire[..end].to_ascii_lowercase()).unwrap();
    assert!(head.contains("transfer-encoding: chunked"), "{head}");
    assert!(head.contains("content-encoding: gzip"), "{head}");
    let chunks = dechunk(&wire[end + 4..]);
    assert_eq!(chunks.len(), 4, "three pieces and the end");
    let mut decoded = String::new();
    GzDecoder::new(&chunks.concat()[..])
        .read_to_string(&mut decoded)
        .unwrap();
    assert_eq!(decoded, "one two three");
}

#[tokio::test]
async fn head_has_the_head_of_get_and_no_body() {
    let wire = on_the_wire("HEAD", answer(200, PAGE), &[]).await;
    let head = String::from_utf8(wire.to_ascii_lowercase()).unwrap();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert!(head.contains("vary: accept-encoding"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    assert!(head.ends_with("\r\n\r\n"), "{head}");
}
