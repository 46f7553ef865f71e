//! The rules of compression for answers of every origin: the app's, an upstream's, and files.

use std::io::Read as _;

use super::compression::{LONG_FILE, comparable, router, text};
use crate::support::codings::{CODINGS, Decoder, decoded};
use crate::support::edge::Edge;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::upstream::Upstream;
use tempfile::TempDir;

const BROWSER: &str = "Accept-Encoding: gzip, deflate, br, zstd\r\n";

/// An edge whose app answers as its query says, on these paths: `/` itself, `/proxied/` the same
/// through an upstream, `/files/` files, and below `/yes/` and `/no/` the same again with
/// `compress = true` and `false`.
struct Site {
    edge: Edge,
    _inner: Edge,
    _files: TempDir,
}

impl Site {
    fn start() -> Self {
        let inner = Edge::with("[compression]\nalgorithms = []\n[headers]\n", router());
        let files = tempfile::tempdir().unwrap();
        for (name, length) in [
            ("long.txt", LONG_FILE),
            ("short.txt", 500),
            ("image.png", 5000),
        ] {
            std::fs::write(files.path().join(name), text(length)).unwrap();
        }
        let root = files.path().display();
        let mut tables = vec![format!(
            "[[upstream]]\nname = \"inner\"\nservers = [\"{}\"]\n",
            inner.http
        )];
        for (prefix, key) in [
            ("", ""),
            ("/yes", "compress = true\n"),
            ("/no", "compress = false\n"),
        ] {
            for (path, action) in [
                ("/proxied/", "upstream = \"inner\""),
                ("/files/", &format!("files = \"{root}\"")),
                ("/", "app = true"),
            ] {
                // The plain route to the app is there already.
                if prefix.is_empty() && path == "/" {
                    continue;
                }
                tables.push(format!(
                    "[[route]]\npath = \"{prefix}{path}\"\n{action}\n{key}"
                ));
            }
        }
        Self {
            edge: Edge::with(&tables.concat(), router()),
            _inner: inner,
            _files: files,
        }
    }

    fn ask(&self, method: &str, path: &str, headers: &str) -> RawAnswer {
        let mut raw = Raw::connect(self.edge.http);
        raw.send(format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
        ));
        let mut answer = raw.head();
        if method == "HEAD" {
            return answer;
        }
        if answer.header("transfer-encoding").is_some() {
            answer.body = raw.chunks().expect("a whole body");
        } else if let Some(length) = answer.header("content-length") {
            answer.body = vec![0; length.parse().unwrap()];
            raw.0.read_exact(&mut answer.body).unwrap();
        }
        answer
    }
}

/// A long text with a strong `ETag`, of each origin.
const LONG: [&str; 3] = [
    "/?content-type=text/plain&etag=%22v1%22",
    "/proxied/?content-type=text/plain&etag=%22v1%22",
    "/files/long.txt",
];

/// The text at a path of [`LONG`].
fn long_text(path: &str) -> String {
    text(if path.starts_with("/files/") {
        LONG_FILE
    } else {
        5000
    })
}

fn varies(answer: &RawAnswer) -> bool {
    answer.header("vary") == Some("accept-encoding")
}

#[test]
fn each_client_gets_the_coding_that_it_likes_best() {
    let site = Site::start();
    for path in LONG {
        let long = long_text(path);
        for (accept, coding) in [
            ("gzip, deflate, br, zstd", Some("zstd")),
            ("gzip, deflate, br", Some("br")),
            ("gzip, deflate", Some("gzip")),
            ("x-gzip", Some("gzip")),
            ("*", Some("zstd")),
            ("zstd;q=0.1, br;q=0.2, gzip;q=0.3", Some("gzip")),
            ("br;q=0, *;q=0.1", Some("zstd")),
            ("identity;q=0, br", Some("br")),
            ("zstd;q=nonsense, br", Some("br")),
            ("deflate, compress", None),
            ("identity;q=0", None),
            ("*;q=0", None),
        ] {
            let answer = site.ask("GET", path, &format!("Accept-Encoding: {accept}\r\n"));
            let shown = format!("{path}, {accept}: {}", answer.head);
            assert_eq!(answer.status, 200, "{shown}");
            assert_eq!(answer.header("content-encoding"), coding, "{shown}");
            assert!(varies(&answer), "{shown}");
            let etag = answer.header("etag").unwrap();
            assert_eq!(etag.starts_with("w/\""), coding.is_some(), "{shown}");
            match coding {
                Some(coding) => {
                    assert_eq!(answer.header("content-length"), None, "{shown}");
                    assert_eq!(answer.header("accept-ranges"), None, "{shown}");
                    assert!(answer.body.len() < long.len() / 10, "{shown}");
                    assert!(decoded(coding, &answer.body) == long.as_bytes(), "{shown}");
                }
                None => assert!(answer.body == long.as_bytes(), "{shown}"),
            }
        }
    }
}

#[test]
fn a_cache_learns_from_every_answer_that_others_may_get_another() {
    let site = Site::start();
    let not_modified = [
        "/?etag=%22v1%22&status=304&length=0",
        "/proxied/?etag=%22v1%22&status=304&length=0",
        "/files/long.txt",
    ];
    let part = "status=206&content-type=text/plain&content-range=bytes%200-9/5000&length=10";
    let parts = [
        format!("/?{part}"),
        format!("/proxied/?{part}"),
        LONG[2].to_owned(),
    ];
    for (origin, path) in LONG.into_iter().enumerate() {
        for accept in ["", "Accept-Encoding: identity\r\n", BROWSER] {
            let shown = format!("{path}, {accept:?}");
            let get = site.ask("GET", path, accept);
            assert!(varies(&get), "{shown}");
            assert!(varies(&site.ask("HEAD", path, accept)), "HEAD {shown}");

            let known = get.header("etag").unwrap().replace("w/", "W/");
            let condition = format!("{accept}If-None-Match: {known}\r\n");
            for method in ["GET", "HEAD"] {
                let answer = site.ask(method, not_modified[origin], &condition);
                assert_eq!(answer.status, 304, "{shown}");
                assert!(varies(&answer), "{method} {shown}: {}", answer.head);
                assert_eq!(answer.header("etag"), get.header("etag"), "{shown}");
                assert_eq!(answer.header("content-encoding"), None, "{shown}");
            }

            let range = format!("{accept}Range: bytes=0-9\r\n");
            let answer = site.ask("GET", &parts[origin], &range);
            assert_eq!(answer.status, 206, "{shown}");
            assert_eq!(answer.header("content-encoding"), None, "{shown}");
            assert_eq!(answer.body, text(10).as_bytes(), "{shown}");
            assert!(varies(&answer), "part, {shown}: {}", answer.head);
        }
    }
}

#[test]
fn what_is_never_compressed_says_nothing_of_it() {
    let site = Site::start();
    for (query, why) in [
        ("content-type=image/png", "compressed by itself"),
        ("", "of unknown type"),
        ("content-type=text/event-stream", "an event stream"),
        ("content-type=text/plain&length=1023", "below min_length"),
        (
            "content-type=text/plain&content-encoding=deflate",
            "encoded already",
        ),
        (
            "content-type=text/plain&cache-control=no-transform",
            "no-transform",
        ),
        ("content-type=text/plain&set-cookie=a=b", "a cookie is set"),
    ] {
        for path in ["/", "/proxied/"] {
            let path = format!("{path}?{query}");
            let answer = site.ask("GET", &path, BROWSER);
            let shown = format!("{why}: {path}: {}", answer.head);
            assert!(!varies(&answer), "{shown}");
            assert!(answer.header("content-length").is_some(), "{shown}");
            assert!(text(5000).as_bytes().starts_with(&answer.body), "{shown}");
        }
    }
    for path in ["/files/short.txt", "/files/image.png"] {
        let answer = site.ask("GET", path, BROWSER);
        assert_eq!(answer.header("content-encoding"), None, "{path}");
        assert!(!varies(&answer), "{path}");
    }
}

/// What may hold a secret beside what an attacker wrote is not compressed, unless the route's
/// owner knows better.
#[test]
fn secrets_are_compressed_only_where_the_route_says_so() {
    let site = Site::start();
    for path in LONG {
        for (prefix, headers, coding) in [
            ("", "", Some("zstd")),
            ("", "Cookie: session=1\r\n", None),
            ("", "Authorization: Bearer x\r\n", None),
            ("/yes", "Cookie: session=1\r\n", Some("zstd")),
            ("/yes", "Authorization: Bearer x\r\n", Some("zstd")),
            ("/no", "", None),
        ] {
            // Nothing in a file comes from a request.
            let is_file = path.starts_with("/files/");
            let coding = if is_file && prefix.is_empty() {
                Some("zstd")
            } else {
                coding
            };
            let asked = format!("{prefix}{path}");
            let answer = site.ask("GET", &asked, &format!("{BROWSER}{headers}"));
            let shown = format!("{asked}, {headers:?}: {}", answer.head);
            assert_eq!(answer.header("content-encoding"), coding, "{shown}");
            // To others it is compressed, unless it never is.
            assert_eq!(varies(&answer), prefix != "/no", "{shown}");
        }
    }
    for (prefix, coding) in [("", None), ("/yes", Some("zstd")), ("/no", None)] {
        for path in ["/", "/proxied/"] {
            let asked = format!("{prefix}{path}?content-type=text/html&set-cookie=a=b");
            let answer = site.ask("GET", &asked, BROWSER);
            assert_eq!(answer.header("content-encoding"), coding, "{asked}");
        }
    }
}

#[test]
fn head_has_the_head_of_get_in_every_coding() {
    let site = Site::start();
    for path in LONG {
        for coding in CODINGS {
            let accept = format!("Accept-Encoding: {coding}\r\n");
            let [get, head] = ["GET", "HEAD"].map(|method| site.ask(method, path, &accept));
            assert_eq!(head.header("content-encoding"), Some(coding), "{path}");
            let mut expected = comparable(&get);
            // Framing of a body that isn't sent may be left out (RFC 9110, section 9.3.2).
            if head.header("transfer-encoding").is_none() {
                expected.retain(|line| !line.starts_with("transfer-encoding"));
            }
            assert_eq!(comparable(&head), expected, "{path}, {coding}");
        }
    }
}

/// An upstream that makes its answer while it sends it, waiting for the client in between.
#[test]
fn a_proxied_stream_that_pauses_is_readable_up_to_the_pause() {
    const PIECES: [&str; 3] = ["one\n", "two, somewhat longer\n", "three\n"];
    let (seen, wait) = std::sync::mpsc::channel();
    let wait = std::sync::Mutex::new(wait);
    let upstream = Upstream::scripted(move |connection| {
        while connection.head().is_some() {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            for piece in PIECES {
                connection.send(format!("{:x}\r\n{piece}\r\n", piece.len()));
                wait.lock().unwrap().recv().unwrap();
            }
            connection.send("0\r\n\r\n");
        }
    });
    let route = "[[route]]\npath = \"/proxied/\"\nupstream = \"backend\"\n";
    let edge = Edge::with(&format!("{}{route}", upstream.table("")), router());
    for coding in CODINGS {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!(
            "GET /proxied/ HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}\r\n\r\n"
        ));
        assert_eq!(raw.head().header("content-encoding"), Some(coding));
        let mut client = Decoder::new(coding);
        for piece in PIECES {
            let mut read = Vec::new();
            while read.len() < piece.len() {
                read.extend(client.read(&raw.chunk().expect("a chunk")));
            }
            assert_eq!(read, piece.as_bytes(), "{coding}");
            seen.send(()).unwrap();
        }
        assert!(client.read(&raw.chunks().expect("the end")).is_empty());
    }
}
