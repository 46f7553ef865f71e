//! What becomes of heads, among Pingora's other modules.

mod wire;

use std::io::{Read, Write};

use pingora_core::modules::http::{HttpModuleCtx, HttpModules};

use super::*;
use crate::config::{self, MediaPattern};

const BROWSER: &[(&str, &str)] = &[("accept-encoding", "gzip")];
const PAGE: &[(&str, &str)] = &[("content-type", "text/html"), ("content-length", "5000")];

/// What a client makes of pieces as they come.
pub(super) struct Decoder(Box<dyn DecoderWrite>);

trait DecoderWrite: Write {
    fn take(&mut self) -> Vec<u8>;
}

impl DecoderWrite for flate2::write::GzDecoder<Vec<u8>> {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.get_mut())
    }
}

impl DecoderWrite for brotli::DecompressorWriter<Vec<u8>> {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.get_mut())
    }
}

impl DecoderWrite for zstd::stream::write::Decoder<'_, Vec<u8>> {
    fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.get_mut())
    }
}

impl Decoder {
    pub(super) fn new(coding: Coding) -> Self {
        Self(match coding {
            Coding::Gzip => Box::new(flate2::write::GzDecoder::new(Vec::new())),
            // With a smaller buffer it keeps what does not fit for its next write.
            Coding::Br => Box::new(brotli::DecompressorWriter::new(Vec::new(), 1 << 20)),
            Coding::Zstd => Box::new(zstd::stream::write::Decoder::new(Vec::new()).unwrap()),
        })
    }

    /// What `piece` adds.
    pub(super) fn read(&mut self, piece: &[u8]) -> Vec<u8> {
        self.0.write_all(piece).unwrap();
        self.0.flush().unwrap();
        self.0.take()
    }
}

/// A whole body, which must end where its encoding ends.
pub(super) fn decoded(coding: Coding, encoded: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(encoded).read_to_end(&mut decoded),
        Coding::Br => brotli::Decompressor::new(encoded, 4096).read_to_end(&mut decoded),
        Coding::Zstd => zstd::stream::read::Decoder::new(encoded)
            .unwrap()
            .read_to_end(&mut decoded),
    }
    .unwrap();
    decoded
}

pub(super) fn config() -> config::Compression {
    config::Compression {
        algorithms: Coding::ALL.to_vec(),
        min_length: 1024,
        types: vec![
            MediaPattern::Any("text".into()),
            MediaPattern::Exact("application/json".into()),
            MediaPattern::Any("application".into()),
        ],
        level: 0,
    }
}

fn encoders() -> Arc<Encoders> {
    Arc::new(Encoders::new(config(), Arc::default()))
}

fn modules() -> HttpModules {
    let mut modules = HttpModules::new();
    modules.add_module(Compression::builder());
    modules
}

fn head(method: &str, lines: &[(&str, &str)]) -> request::Parts {
    let mut request = http::Request::builder().method(method).uri("/");
    for (name, value) in lines {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn answer(status: u16, lines: &[(&str, &str)]) -> ResponseHeader {
    let mut response = ResponseHeader::build(status, None).unwrap();
    for (name, value) in lines {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        response.append_header(name, *value).unwrap();
    }
    response
}

fn armed(request: &request::Parts, compress: Option<bool>) -> HttpModuleCtx {
    let mut context = modules().build_ctx();
    let request = Request::new(request, compress, encoders());
    context.get_mut::<Compression>().unwrap().arm(request);
    context
}

async fn filtered(context: &mut HttpModuleCtx, response: &mut ResponseHeader) {
    context
        .response_header_filter(response, false)
        .await
        .unwrap();
}

fn text<'a>(response: &'a ResponseHeader, name: &str) -> Option<&'a str> {
    response
        .headers
        .get(name)
        .map(|value| value.to_str().unwrap())
}

/// What an answer became: left alone, negotiable, or compressed.
#[derive(Debug, PartialEq)]
enum Outcome {
    Left,
    Identity,
    Gzip,
}

async fn outcome(
    request: &request::Parts,
    compress: Option<bool>,
    status: u16,
    lines: &[(&str, &str)],
) -> Outcome {
    let mut response = answer(status, lines);
    filtered(&mut armed(request, compress), &mut response).await;
    let varies = text(&response, "vary").is_some_and(|vary| vary.contains("Accept-Encoding"));
    match (response.headers.get("content-encoding"), varies) {
        (Some(coding), true) if coding == "gzip" => {
            assert!(!response.headers.contains_key("content-length"));
            Outcome::Gzip
        }
        (_, true) => Outcome::Identity,
        (_, false) => Outcome::Left,
    }
}

#[tokio::test]
async fn answers_are_judged_by_their_heads() {
    use Outcome::{Gzip, Identity, Left};
    const HTML: (&str, &str) = ("content-type", "text/html");
    type Lines = &'static [(&'static str, &'static str)];
    let table: &[(u16, Lines, Outcome, &str)] = &[
        (200, PAGE, Gzip, "a page"),
        (404, PAGE, Gzip, "an error page"),
        (200, &[HTML], Gzip, "of unknown length"),
        (
            200,
            &[("content-type", "Text/HTML; charset=utf-8")],
            Gzip,
            "with a charset",
        ),
        (
            200,
            &[("content-type", "application/json")],
            Gzip,
            "listed exactly",
        ),
        (
            200,
            &[HTML, ("content-length", "1024")],
            Gzip,
            "just long enough",
        ),
        (200, &[HTML, ("content-length", "1023")], Left, "too short"),
        (200, &[HTML, ("content-length", "0")], Left, "empty"),
        (
            200,
            &[HTML, ("content-length", "many")],
            Left,
            "a broken length",
        ),
        (200, &[("content-length", "5000")], Left, "of unknown type"),
        (200, &[("content-type", "image/png")], Left, "not listed"),
        (200, &[("content-type", "html")], Left, "a broken type"),
        (
            200,
            &[("content-type", "text/event-stream")],
            Left,
            "an event stream",
        ),
        (
            200,
            &[("content-type", "application/grpc+proto")],
            Left,
            "gRPC",
        ),
        (
            200,
            &[HTML, ("content-encoding", "br")],
            Left,
            "encoded already",
        ),
        (
            200,
            &[HTML, ("content-range", "bytes 0-9/10")],
            Left,
            "a part",
        ),
        (
            200,
            &[HTML, ("cache-control", "public, No-Transform")],
            Left,
            "not to be changed",
        ),
        (200, &[HTML, ("set-cookie", "a=b")], Left, "somebody's own"),
        (
            200,
            &[HTML, ("trailer", "checksum")],
            Left,
            "trailers follow",
        ),
        (
            206,
            PAGE,
            Identity,
            "a part of a page that may be compressed",
        ),
        (
            206,
            &[HTML, ("content-range", "bytes 0-9/1024")],
            Identity,
            "of a long page",
        ),
        (
            206,
            &[HTML, ("content-range", "bytes 0-9/1023")],
            Left,
            "of a short page",
        ),
        (
            206,
            &[HTML, ("content-range", "bytes 0-9/*")],
            Identity,
            "of unknown length",
        ),
        (206, &[("content-type", "image/png")], Left, "of an image"),
        (
            206,
            &[("content-type", "multipart/byteranges; boundary=x")],
            Identity,
            "several parts",
        ),
        (204, PAGE, Left, "no content"),
        (205, PAGE, Left, "no content"),
        (304, PAGE, Identity, "as of its 200"),
        (304, &[], Identity, "of unknown type"),
        (304, &[("content-type", "image/png")], Left, "not listed"),
        (
            304,
            &[("cache-control", "no-transform")],
            Left,
            "not to be changed",
        ),
        (101, PAGE, Left, "another protocol"),
        (103, PAGE, Left, "not yet the answer"),
    ];
    for (status, lines, expected, why) in table {
        let got = outcome(&head("GET", BROWSER), None, *status, lines).await;
        assert_eq!(got, *expected, "{status} {lines:?}: {why}");
        let got = outcome(&head("HEAD", BROWSER), None, *status, lines).await;
        assert_eq!(got, *expected, "HEAD {status} {lines:?}: {why}");
    }
}

#[tokio::test]
async fn requests_and_routes_have_their_say() {
    use Outcome::{Gzip, Identity, Left};
    const GZIP: (&str, &str) = BROWSER[0];
    type Lines = &'static [(&'static str, &'static str)];
    let table: &[(Lines, Option<bool>, Outcome, &str)] = &[
        (&[], None, Identity, "a client that takes nothing"),
        (
            &[("accept-encoding", "gzip;q=0")],
            None,
            Identity,
            "or not gzip",
        ),
        (&[GZIP, ("cookie", "a=b")], None, Identity, "a cookie"),
        (
            &[GZIP, ("cache-control", "max-age=0, no-transform")],
            None,
            Identity,
            "a client that wants the bytes as they are",
        ),
        (
            &[GZIP, ("authorization", "Bearer x")],
            None,
            Identity,
            "a token",
        ),
        (
            &[GZIP, ("cookie", "a=b")],
            Some(true),
            Gzip,
            "the route knows better",
        ),
        (&[], Some(true), Identity, "but cannot force a client"),
        (&[GZIP], Some(false), Left, "the route says no"),
    ];
    for (lines, compress, expected, why) in table {
        let got = outcome(&head("GET", lines), *compress, 200, PAGE).await;
        assert_eq!(got, *expected, "{lines:?}: {why}");
    }
    let own = [PAGE[0], PAGE[1], ("set-cookie", "a=b")];
    let got = outcome(&head("GET", BROWSER), Some(true), 200, &own).await;
    assert_eq!(
        got, Gzip,
        "an answer's cookie does not stop a route that knows better"
    );
    let mut old = head("GET", BROWSER);
    old.version = Version::HTTP_10;
    assert_eq!(
        outcome(&old, None, 200, PAGE).await,
        Identity,
        "HTTP/1.0 has no chunks"
    );
}

#[tokio::test]
async fn a_module_that_was_not_armed_does_nothing() {
    let mut context = modules().build_ctx();
    let mut response = answer(200, PAGE);
    filtered(&mut context, &mut response).await;
    assert_eq!(response.headers, answer(200, PAGE).headers);
    let mut body = Some(Bytes::from_static(b"as it is"));
    context.response_body_filter(&mut body, true).unwrap();
    assert_eq!(body.as_deref(), Some(&b"as it is"[..]));
}

#[tokio::test]
async fn what_described_the_bytes_before_is_corrected() {
    let lines = [
        PAGE[0],
        PAGE[1],
        ("etag", "\"v1\""),
        ("accept-ranges", "bytes"),
        ("content-md5", "x"),
        ("digest", "x"),
        ("content-digest", "x"),
        ("repr-digest", "x"),
    ];
    let mut response = answer(200, &lines);
    response.set_version(Version::HTTP_10);
    filtered(&mut armed(&head("GET", BROWSER), None), &mut response).await;
    let mut left: Vec<_> = response
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    left.sort_unstable();
    let expected = [
        ("content-encoding", "gzip"),
        ("content-type", "text/html"),
        ("etag", "W/\"v1\""),
        ("transfer-encoding", "chunked"),
        ("vary", "Accept-Encoding"),
    ];
    assert_eq!(left, expected);
    assert_eq!(response.version, Version::HTTP_11, "chunks are of HTTP/1.1");
}

#[tokio::test]
async fn etags_and_vary_are_merged() {
    let etags = [
        ("\"v1\"", Some("W/\"v1\"")),
        ("W/\"v1\"", Some("W/\"v1\"")),
        ("v1", None),
    ];
    for (before, after) in etags {
        let mut response = answer(200, &[PAGE[0], ("etag", before)]);
        filtered(&mut armed(&head("GET", BROWSER), None), &mut response).await;
        assert_eq!(text(&response, "etag"), after);
    }
    let varies: &[(&[&str], &[&str])] = &[
        (&[], &["Accept-Encoding"]),
        (&["Origin"], &["Origin, Accept-Encoding"]),
        (
            &["Origin", "Cookie,Accept"],
            &["Origin, Cookie, Accept, Accept-Encoding"],
        ),
        (&["*"], &["*"]),
        (&["origin , accept-encoding"], &["origin , accept-encoding"]),
    ];
    for (before, after) in varies {
        let mut lines = vec![PAGE[0]];
        lines.extend(before.iter().map(|value| ("vary", *value)));
        let mut response = answer(200, &lines);
        filtered(&mut armed(&head("GET", &[]), None), &mut response).await;
        let got: Vec<_> = response.headers.get_all("vary").iter().collect();
        assert_eq!(got, *after);
    }
}

#[tokio::test]
async fn a_304_confirms_the_validator_that_the_client_has() {
    let table = [
        (Some("W/\"v1\""), "W/\"v1\"", "it had the compressed answer"),
        (Some("\"v0\", W/\"v1\""), "W/\"v1\"", "among others"),
        (Some("\"v1\""), "\"v1\"", "it had the answer as it is"),
        (Some("*"), "\"v1\"", "it has none"),
        (None, "\"v1\"", "it asked by date"),
    ];
    for (condition, etag, why) in table {
        let mut lines = BROWSER.to_vec();
        lines.extend(condition.map(|value| ("if-none-match", value)));
        let mut response = answer(304, &[("etag", "\"v1\"")]);
        filtered(&mut armed(&head("GET", &lines), None), &mut response).await;
        assert_eq!(text(&response, "etag"), Some(etag), "{why}");
        assert_eq!(text(&response, "vary"), Some("Accept-Encoding"), "{why}");
    }
    let mut response = answer(304, &[("etag", "\"v1\"")]);
    let condition = [("if-none-match", "W/\"v1\"")];
    filtered(
        &mut armed(&head("GET", &condition), Some(false)),
        &mut response,
    )
    .await;
    assert_eq!(response.headers, answer(304, &[("etag", "\"v1\"")]).headers);
}

#[tokio::test]
async fn updates_after_a_compressed_read_can_match() {
    let table = [
        ("PUT", "W/\"v1\"", "\"v1\""),
        (
            "DELETE",
            "W/\"v1\", \"v2\",W/\"a,W/b\"",
            "\"v1\", \"v2\",\"a,W/b\"",
        ),
        ("PATCH", "*", "*"),
        ("PUT", "\"W/\"", "\"W/\""),
        ("GET", "W/\"v1\"", "W/\"v1\""),
    ];
    for (method, before, after) in table {
        let mut request = RequestHeader::build(method, b"/", None).unwrap();
        request.insert_header("if-match", before).unwrap();
        let mut context = modules().build_ctx();
        context.request_header_filter(&mut request).await.unwrap();
        assert_eq!(request.headers["if-match"], after, "{method}");
    }
}

#[tokio::test]
async fn an_interim_answer_does_not_use_up_the_judgement() {
    let mut context = armed(&head("GET", BROWSER), None);
    filtered(&mut context, &mut answer(103, &[])).await;
    let mut response = answer(200, PAGE);
    filtered(&mut context, &mut response).await;
    assert_eq!(text(&response, "content-encoding"), Some("gzip"));
}
