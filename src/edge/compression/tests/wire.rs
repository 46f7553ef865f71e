//! What becomes of bodies, down to the bytes of HTTP/1.1.

use pingora_core::protocols::l4::stream::Stream;
use pingora_proxy::Session;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::*;

#[tokio::test]
async fn every_way_to_end_a_body_ends_the_encoding() {
    let [first, last] = ["hello, ".repeat(500), "world".repeat(300)];
    for (coding, way) in Coding::ALL
        .into_iter()
        .flat_map(|coding| ["body", "empty body", "trailers", "done"].map(|way| (coding, way)))
    {
        let accepted = [("accept-encoding", coding.name())];
        let mut context = armed(&head("GET", &accepted), None);
        filtered(&mut context, &mut answer(200, PAGE)).await;
        let mut encoded = Vec::new();
        let mut body = Some(Bytes::from(first.clone()));
        context.response_body_filter(&mut body, false).unwrap();
        assert_eq!(
            body, None,
            "a body of known length is not written in crumbs"
        );
        let mut body = Some(Bytes::from(last.clone()));
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
        let whole = [first.as_bytes(), last.as_bytes()].concat();
        assert_eq!(decoded(coding, &encoded), whole, "{coding:?}, {way}");
    }
}

/// What a client reads of an answer whose body comes in `pieces`.
async fn on_the_wire(
    method: &str,
    coding: Coding,
    response: ResponseHeader,
    pieces: &[&'static str],
) -> Vec<u8> {
    let (server, mut client) = UnixStream::pair().unwrap();
    let coding = coding.name();
    let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nAccept-Encoding: {coding}\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let mut session = Session::new_h1_with_modules(Box::new(Stream::from(server)), &modules());
    session.read_request().await.unwrap();
    let request = Request::new(session.req_header(), None, encoders());
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
    for coding in Coding::ALL {
        let response = answer(200, &[PAGE[0]]);
        let wire = on_the_wire("GET", coding, response, &["one ", "", "two ", "three"]).await;
        let end = wire
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap();
        let head = String::from_utf8(wire[..end].to_ascii_lowercase()).unwrap();
        assert!(head.contains("transfer-encoding: chunked"), "{head}");
        let expected = format!("content-encoding: {}", coding.name());
        assert!(head.contains(&expected), "{head}");
        let chunks = dechunk(&wire[end + 4..]);
        assert_eq!(chunks.len(), 4, "three pieces and the end");
        assert_eq!(decoded(coding, &chunks.concat()), b"one two three");
    }
}

#[tokio::test]
async fn head_has_the_head_of_get_and_no_body() {
    for coding in Coding::ALL {
        let wire = on_the_wire("HEAD", coding, answer(200, PAGE), &[]).await;
        let head = String::from_utf8(wire.to_ascii_lowercase()).unwrap();
        let expected = format!("content-encoding: {}", coding.name());
        assert!(head.contains(&expected), "{head}");
        assert!(head.contains("vary: accept-encoding"), "{head}");
        assert!(!head.contains("content-length"), "{head}");
        assert!(head.ends_with("\r\n\r\n"), "{head}");
    }
}

#[tokio::test]
async fn where_memory_is_short_answers_are_sent_as_they_are() {
    let encoders = encoders();
    let mut held = Vec::new();
    loop {
        let mut context = modules().build_ctx();
        let request = Request::new(&head("GET", BROWSER), None, encoders.clone());
        context.get_mut::<Compression>().unwrap().arm(request);
        let mut response = answer(200, PAGE);
        filtered(&mut context, &mut response).await;
        assert_eq!(text(&response, "vary"), Some("Accept-Encoding"));
        if text(&response, "content-encoding").is_none() {
            assert_eq!(text(&response, "content-length"), Some("5000"));
            let mut body = Some(Bytes::from_static(b"as it is"));
            context.response_body_filter(&mut body, false).unwrap();
            assert_eq!(body.as_deref(), Some(&b"as it is"[..]));
            break;
        }
        held.push(context);
        assert!(held.len() < 10_000, "slow readers would take all memory");
    }
}
