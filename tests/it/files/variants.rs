//! A text is compressed on the way at first, and from then on sent as it was compressed best.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{PATIENCE, Server, Setup};

struct Got {
    head: RawAnswer,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.head.header(name).unwrap_or_default()
    }

    /// Whether all of it was there before it was sent.
    fn is_prepared(&self) -> bool {
        !self.header("content-encoding").is_empty() && !self.header("content-length").is_empty()
    }

    fn decoded(&self) -> Vec<u8> {
        let mut decoded = Vec::new();
        let body = self.body.as_slice();
        match self.header("content-encoding") {
            "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut decoded),
            "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut decoded),
            "zstd" => zstd::Decoder::new(body).unwrap().read_to_end(&mut decoded),
            _ => return self.body.clone(),
        }
        .unwrap();
        decoded
    }
}

fn get(server: SocketAddr, path: &str, headers: &str) -> Got {
    let mut raw = Raw::connect(server);
    raw.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
    ));
    let head = raw.head();
    let body = if head.header("transfer-encoding").is_some() {
        raw.chunks().expect("a whole body")
    } else {
        let length = head.header("content-length").unwrap_or("0");
        let mut body = vec![0; length.parse().unwrap()];
        raw.0.read_exact(&mut body).unwrap();
        body
    };
    Got { head, body }
}

fn get_until(server: SocketAddr, path: &str, headers: &str, is_good: impl Fn(&Got) -> bool) -> Got {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = get(server, path, headers);
        if is_good(&got) {
            return got;
        }
        assert!(Instant::now() < deadline, "still {:?}", got.head);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A text as people write it: there the levels differ.
const TEXT: &str = include_str!("../../../docs/configuration.md");

/// Serves `site/`, where `app.js` is a text.
fn server() -> Server {
    let setup = Setup::new()
        .plain()
        .database("postgres://localhost:1/none")
        .config(
            r#"
[database]
wait = "0s"
[[route]]
path = "/"
files = "site"
[[route]]
path = "/as-it-is/"
files = "site"
compress = false
"#,
        );
    let site = setup.directory().join("site");
    fs::create_dir(&site).unwrap();
    fs::write(site.join("app.js"), TEXT).unwrap();
    setup.start()
}

#[test]
fn the_first_gets_a_fast_encoding_and_later_ones_the_best() {
    let server = server();
    let address = server.http.unwrap();
    for coding in ["gzip", "br", "zstd"] {
        let accept = format!("Accept-Encoding: {coding}\r\n");
        let cookie = format!("{accept}Cookie: id=1\r\n");
        let live = get(address, "/app.js", &cookie);
        let best = get_until(address, "/app.js", &accept, Got::is_prepared);
        for got in [&live, &best] {
            assert_eq!(got.header("content-encoding"), coding);
            assert_eq!(got.header("vary"), "accept-encoding");
            assert_eq!(got.decoded(), TEXT.as_bytes(), "{coding}");
        }
        assert!(!live.is_prepared(), "{coding}");
        assert!(
            live.header("etag").starts_with("w/"),
            "{coding}: made on the way"
        );
        assert!(
            best.header("etag").starts_with('"'),
            "{coding}: always the same bytes"
        );
        // The levels of gzip hardly differ on a short text.
        if coding != "gzip" {
            assert!(best.body.len() < live.body.len(), "{coding}");
        }
        let again = get(address, "/app.js", &cookie);
        assert_eq!(
            again.body, best.body,
            "{coding}: nothing in it is the client's"
        );
        let known = format!("{accept}If-None-Match: {}\r\n", best.header("etag"));
        assert_eq!(get(address, "/app.js", &known).head.status, 304);
        // Who got the first encoding has the same content.
        let known = format!(
            "{accept}If-None-Match: {}\r\n",
            live.header("etag").replace("w/", "W/")
        );
        let unchanged = get(address, "/app.js", &known);
        assert_eq!(unchanged.head.status, 304, "{coding}");
        assert_eq!(unchanged.header("etag"), live.header("etag"), "{coding}");
    }
    let plain = get(address, "/app.js", "");
    assert_eq!(
        (plain.header("content-encoding"), plain.header("vary")),
        ("", "accept-encoding")
    );
    assert_eq!(plain.body, TEXT.as_bytes());
    let part = get(
        address,
        "/app.js",
        "Accept-Encoding: br\r\nRange: bytes=0-9\r\n",
    );
    assert_eq!(
        (part.head.status, part.header("content-encoding")),
        (206, "")
    );
    assert_eq!(part.body, &TEXT.as_bytes()[..10]);
}

#[test]
fn a_route_that_says_no_gets_none() {
    let server = server();
    let address = server.http.unwrap();
    fs::write(server.path("site/app.js.gz"), "sidecar").unwrap();
    let accept = "Accept-Encoding: gzip\r\n";
    get_until(address, "/app.js", accept, |got| got.body == b"sidecar");
    for _ in 0..3 {
        let got = get(address, "/as-it-is/app.js", accept);
        assert_eq!(
            (got.header("content-encoding"), got.header("vary")),
            ("", "")
        );
    }
}
