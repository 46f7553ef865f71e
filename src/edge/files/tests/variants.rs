//! Encodings that are made in the background.

use std::fmt::Write;
use std::fs;
use std::io::Read;

use super::*;

/// Text that no two letters of repeat too soon, so that levels differ.
fn text(length: usize) -> String {
    let mut text = String::new();
    for number in 0_u64.. {
        if text.len() >= length {
            break;
        }
        let _ = writeln!(text, "{} is the square of {number}", number * number);
    }
    text.truncate(length);
    text
}

fn decoded(coding: &str, body: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        "gzip" => {
            flate2::read::GzDecoder::new(body)
                .read_to_end(&mut decoded)
                .unwrap();
        }
        "br" => {
            brotli::Decompressor::new(body, 4096)
                .read_to_end(&mut decoded)
                .unwrap();
        }
        "zstd" => decoded = zstd::decode_all(body).unwrap(),
        _ => decoded = body.to_vec(),
    }
    decoded
}

fn is_encoded(reply: &Reply) -> bool {
    !reply.header("content-encoding").is_empty()
}

#[tokio::test]
async fn a_text_is_compressed_once_and_then_sent_so() {
    let text = text(30_000);
    let site = Site::of(&[("a.txt", &text)]);
    let plain_tag = site.settled_tag("/static/a.txt").await;
    let mut tags = vec![plain_tag.clone()];
    for coding in ["gzip", "br", "zstd"] {
        let fields = [("accept-encoding", coding)];
        let first = site.ask(Method::GET, "/static/a.txt", &fields).await;
        assert!(!is_encoded(&first), "{coding}: for the live compression");
        assert_eq!(first.header("etag"), plain_tag, "{coding}");
        assert_eq!(first.header("vary"), "Accept-Encoding", "{coding}");
        assert!(
            first.freshness.is_none(),
            "{coding}: it is about to get better"
        );
        let later = site.ask_until("/static/a.txt", &fields, is_encoded).await;
        assert_eq!(later.header("content-encoding"), coding);
        assert_eq!(later.header("content-length"), later.body.len().to_string());
        assert_eq!(later.header("vary"), "Accept-Encoding");
        assert_eq!(decoded(coding, &later.body), text.as_bytes());
        assert!(later.body.len() * 3 < text.len(), "{coding}");
        assert!(later.freshness.unwrap().is_fresh(), "{coding}");
        let tag = later.headers["etag"].to_str().unwrap().to_owned();
        assert!(
            tag.starts_with('"') && !tags.contains(&tag),
            "{tag} in {tags:?}"
        );
        tags.push(tag);

        let head = site.ask(Method::HEAD, "/static/a.txt", &fields).await;
        assert_eq!(head.headers, later.headers, "{coding}");
        let known = [
            ("accept-encoding", coding),
            ("if-none-match", &tags[tags.len() - 1]),
        ];
        let reply = site.ask(Method::GET, "/static/a.txt", &known).await;
        assert_eq!(reply.status, 304, "{coding}");
        assert_eq!(reply.header("etag"), tags[tags.len() - 1], "{coding}");
    }
}

#[tokio::test]
async fn what_compression_does_not_concern_stays_plain() {
    let text = text(30_000);
    let site = Site::of(&[
        ("short.txt", &text[..500]),
        ("photo.jpg", &text),
        ("unknown", &text),
        ("404.html", &text),
    ]);
    let fields = [("accept-encoding", "gzip, br, zstd")];
    for (target, vary) in [
        ("/static/short.txt", ""),
        ("/static/photo.jpg", ""),
        ("/static/unknown", ""),
    ] {
        let reply = site.kept(target, &fields).await;
        assert!(!is_encoded(&reply), "{target}");
        assert_eq!(reply.header("vary"), vary, "{target}");
    }
    let missing = site.ask(Method::GET, "/static/missing", &fields).await;
    assert!(!is_encoded(&missing) && missing.status == 404);
}

#[tokio::test]
async fn that_compression_gains_nothing_is_remembered() {
    let mut state = 1_u64;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[0]
    })
    .take(30_000)
    .collect();
    let site = Site::of(&[]);
    fs::write(site.at("noise.txt"), noise).unwrap();
    let fields = [("accept-encoding", "br, gzip")];
    let reply = site.kept("/static/noise.txt", &fields).await;
    assert!(!is_encoded(&reply));
    let (uri, headers) = request("/static/noise.txt", &fields);
    let answered = site
        .files
        .answer(&Method::GET, &headers, &uri, "noise.txt")
        .await;
    assert!(answered.is_incompressible, "nor is it tried on the way");
}

#[tokio::test]
async fn a_changed_file_has_new_encodings() {
    let (old, new) = (text(20_000), text(30_000));
    let site = Site::of(&[("a.txt", &old)]);
    let fields = [("accept-encoding", "br")];
    let before = site.ask_until("/static/a.txt", &fields, is_encoded).await;
    fs::write(site.at("a.txt"), &new).unwrap();
    let after = site
        .ask_until("/static/a.txt", &fields, |reply| {
            is_encoded(reply) && reply.header("etag") != before.header("etag")
        })
        .await;
    assert_eq!(decoded("br", &after.body), new.as_bytes());
}

#[tokio::test]
async fn one_file_under_two_names_is_compressed_once() {
    let site = Site::of(&[("index.html", &text(20_000))]);
    let fields = [("accept-encoding", "br")];
    site.ask_until("/static/", &fields, is_encoded).await;
    // Whoever makes it again would need a moment.
    let other = site.kept("/static/index.html", &[]).await;
    assert!(!is_encoded(&other));
    let reply = site.ask(Method::GET, "/static/index.html", &fields).await;
    assert!(is_encoded(&reply));
}
