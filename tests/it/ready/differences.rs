//! The proof: thousands of requests to a server that keeps its answers and to one that doesn't.

use std::fs;
use std::path::Path;
use std::time::Instant;

use axum::Router;
use axum::routing::get;

use super::given;
use super::talk::Talk;
use crate::support::edge::Edge;
use crate::support::server::PATIENCE;

/// How many requests are made up, each for plain HTTP and for TLS.
const REQUESTS: usize = 700;
/// How often each is sent to the server with ready answers: it is asked for, recorded, and given.
const TIMES: usize = 3;

pub const METHODS: &[&str] = &[
    "GET", "GET", "GET", "GET", "HEAD", "HEAD", "POST", "OPTIONS", "PUT",
];
pub const HOSTS: &[&str] = &[
    "localhost",
    "localhost",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "localhost:80",
    "a.b.test",
    "nobody.test",
    "127.0.0.1",
];
pub const TARGETS: &[&str] = &[
    "/small",
    "/small",
    "/small?",
    "/small?a=1&token=b",
    "/sm%61ll",
    "//small",
    "/small/",
    "/small/../large",
    "/small;a",
    "/large",
    "/large",
    "/large?a|b{c}",
    "/plain",
    "/asked-for",
    "/teapot",
    "/page",
    "/moved/a?b=c",
    "/moved//evil.test",
    "/moved",
    "/changed",
    "/shared",
    "/files/a.txt",
    "/files/a.txt",
    "/files/page.html",
    "/files/sub",
    "/files/sub/",
    "/files/none",
    "/files/.hidden",
    "/app",
    "/nothing",
    "http://localhost/small",
    "http://localhost/shared",
    "http://localhost/files/a.txt",
    "http://localhost/moved/a?b=c",
    "/.well-known/acme-challenge/x",
];
/// What may stand in a request besides; each about as often as it matters.
pub const FIELDS: &[(usize, &[&str])] = &[
    (
        50,
        &[
            "Accept-Encoding: gzip",
            "Accept-Encoding: gzip, deflate, br, zstd",
            "accept-encoding: gzip, deflate, br",
            "ACCEPT-ENCODING: br;q=0.5, gzip",
            "Accept-Encoding: identity",
            "Accept-Encoding: *",
            "Accept-Encoding: gzip;q=0",
            "Accept-Encoding:",
            "Accept-Encoding: br\r\nAccept-Encoding: gzip",
        ],
    ),
    (
        30,
        &[
            "Connection: keep-alive",
            "connection: Keep-Alive",
            "Connection: close",
            "Connection: close, x",
            "Connection: keep-alive\r\nConnection: close",
            "Connection: TE",
            "Connection: Upgrade\r\nUpgrade: websocket",
        ],
    ),
    (
        30,
        &[
            "If-None-Match: *",
            "If-None-Match: \"other\"",
            "If-None-Match: {etag}",
            "If-None-Match: W/{etag}",
            "if-none-match: \"other\", {etag}",
            "If-None-Match: {gzip}",
            "If-None-Match: {gzip}\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            "If-None-Match: nonsense",
            "If-None-Match: {etag}\r\nIf-None-Match: \"other\"",
        ],
    ),
    (
        15,
        &[
            "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT",
            "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            "If-Modified-Since: yesterday",
        ],
    ),
    (
        5,
        &["If-Match: *", "If-Match: \"other\"", "If-Match: {etag}"],
    ),
    (
        5,
        &[
            "If-Unmodified-Since: Sun, 06 Nov 1994 08:49:37 GMT",
            "If-Unmodified-Since: Sun, 06 Nov 2094 08:49:37 GMT",
        ],
    ),
    (
        10,
        &[
            "Range: bytes=0-3",
            "Range: bytes=9999999-",
            "range: bytes=-2",
        ],
    ),
    (5, &["If-Range: {etag}", "If-Range: \"other\""]),
    (10, &["Cookie: a=b", "Cookie: a=b\r\nCookie: c=d"]),
    (5, &["Authorization: Basic YTpi"]),
    (
        5,
        &[
            "Cache-Control: no-cache",
            "Cache-Control: max-age=0\r\nPragma: no-cache",
        ],
    ),
    (
        20,
        &[
            "Accept: text/html",
            "Accept: */*",
            "Accept: application/json",
        ],
    ),
    (10, &["User-Agent: Mozilla/5.0 (X11)", "User-Agent: \u{e9}"]),
    (
        10,
        &[
            "Referer: https://a.test/?token=1",
            "Referer: a\r\nReferer: b",
        ],
    ),
    (5, &["Origin: https://a.test"]),
    (5, &["TE: trailers", "Trailer: X"]),
    (5, &["Content-Length: 0", "Content-Type: text/plain"]),
    (
        15,
        &[
            "X-Forwarded-For: 192.0.2.1",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Proto: http\r\nX-Forwarded-For: 192.0.2.1, 10.0.0.1",
            "Forwarded: for=192.0.2.1;proto=https",
        ],
    ),
    (5, &["X-Request-Id: from-outside-1"]),
    (5, &["X-Anything: else"]),
];

#[tokio::test]
async fn a_ready_answer_differs_in_nothing_but_its_date_and_id() {
    compare("", 1).await;
}

#[tokio::test]
async fn behind_a_trusted_proxy_neither() {
    compare("trusted_proxies = [\"127.0.0.1\"]", 2).await;
}

async fn compare(server: &str, seed: u64) {
    let root = tempfile::tempdir().unwrap();
    let routes = site(root.path());
    let hosts = "hosts = [\"localhost\", \"*.b.test\"]";
    let start =
        |keys: &str| Edge::with_server(&format!("{hosts}\n{server}\n{keys}"), &routes, app());
    let (ready, normal) = (start(""), start("ready_answers = 0"));
    settle(&normal).await;
    settle(&ready).await;
    let etag = etag(&normal).await;
    let mut random = Random(seed);
    for number in 0..REQUESTS {
        let (request, is_head) = random.request();
        let gzip = format!("{}-gzip\"", etag.trim_end_matches('"'));
        let request = request.replace("{etag}", &etag).replace("{gzip}", &gzip);
        let request = request.into_bytes();
        for over_tls in [false, true] {
            let expected = conversation(&normal, over_tls, &request, is_head, 1).await;
            let found = conversation(&ready, over_tls, &request, is_head, TIMES).await;
            for (time, found) in found.iter().enumerate() {
                assert!(
                    *found == expected[0],
                    "request {number}, over TLS: {over_tls}, asked {time} times before:\n{}\n-- normal\n{}\n-- found\n{}",
                    request.escape_ascii(),
                    expected[0].escape_ascii(),
                    found.escape_ascii(),
                );
            }
        }
    }
    assert_eq!(normal.figures().ready_answers_given(), 0);
    let least = REQUESTS as u64 / 4;
    let given = given(&ready, least).await;
    assert!(given >= least, "only {given} answers were ready");
}

/// The answers to one request, asked several times, without what may differ.
async fn conversation(
    edge: &Edge,
    over_tls: bool,
    request: &[u8],
    is_head: bool,
    times: usize,
) -> Vec<Vec<u8>> {
    let connect = || async {
        if over_tls {
            Talk::tls(edge).await
        } else {
            Talk::plain(edge).await
        }
    };
    let mut talk = connect().await;
    let mut answers = Vec::new();
    for _ in 0..times {
        let mut answer = talk.ask(request, is_head).await;
        if String::from_utf8_lossy(&answer).contains("Connection: close\r\n") {
            // A refused head is answered without regard to its method, so there may be more.
            answer.extend(talk.rest().await);
            talk = connect().await;
        }
        answers.push(without_date_and_id(&answer));
    }
    answers
}

/// Blanks out `Date` and the request id, which error pages show as well.
fn without_date_and_id(answer: &[u8]) -> Vec<u8> {
    let mut answer = answer.to_vec();
    let mut id = Vec::new();
    let head = answer
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .unwrap();
    for name in [&b"\r\nDate: "[..], b"\r\nX-Request-Id: "] {
        let found = answer[..head]
            .windows(name.len())
            .position(|window| window.eq_ignore_ascii_case(name));
        if let Some(at) = found {
            let start = at + name.len();
            let end = start
                + answer[start..]
                    .iter()
                    .position(|&byte| byte == b'\r')
                    .unwrap();
            if name.starts_with(b"\r\nX") {
                id = answer[start..end].to_vec();
            }
            answer[start..end].fill(b'-');
        }
    }
    while let Some(at) = answer
        .windows(id.len().max(1))
        .position(|window| window == id && id.len() == 32)
    {
        answer[at..at + id.len()].fill(b'-');
    }
    answer
}

/// Waits until the best forms of the text file are there; before, answers differ by themselves.
pub async fn settle(edge: &Edge) {
    let start = Instant::now();
    for coding in ["gzip", "br", "zstd"] {
        let request = format!(
            "GET /files/a.txt HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}\r\n\r\n"
        );
        let mut talk = Talk::plain(edge).await;
        loop {
            let answer = talk.ask(request.as_bytes(), false).await;
            let answer = String::from_utf8_lossy(&answer);
            if answer.contains(&format!("-{coding}\"")) {
                break;
            }
            assert!(start.elapsed() < PATIENCE, "{answer}");
        }
    }
}

pub async fn etag(edge: &Edge) -> String {
    let mut talk = Talk::plain(edge).await;
    let answer = talk.ask(&super::get("/files/a.txt"), false).await;
    let answer = String::from_utf8(answer).unwrap();
    let (_, after) = answer
        .split_once("ETag: ")
        .or(answer.split_once("etag: "))
        .unwrap();
    after.split_once("\r\n").unwrap().0.to_owned()
}

pub fn app() -> Router {
    Router::new().route("/app", get(|| async { "the app" }))
}

/// Routes of all kinds that can be ready, and of some that can't.
pub fn site(root: &Path) -> String {
    let text = "All work and no play makes Jack a dull boy. ".repeat(100);
    fs::write(root.join("a.txt"), &text).unwrap();
    fs::write(root.join("page.html"), "<!doctype html><p>page").unwrap();
    fs::create_dir(root.join("sub")).unwrap();
    fs::write(root.join("sub/index.html"), "<!doctype html><p>sub").unwrap();
    format!(
        r#"
        [headers]
        "X-Frame-Options" = "SAMEORIGIN"
        [[route]]
        path = "=/small"
        respond = {{ status = 200, body = "hello" }}
        [[route]]
        path = "/large"
        respond = {{ status = 200, body = "{text}", content_type = "text/html; charset=utf-8" }}
        [[route]]
        path = "/plain"
        compress = false
        respond = {{ status = 200, body = "{text}" }}
        [[route]]
        path = "/asked-for"
        compress = true
        respond = {{ status = 200, body = "{text}" }}
        [[route]]
        path = "/teapot"
        respond = {{ status = 418, body = "short and stout" }}
        [[route]]
        path = "/page"
        respond = {{ status = 410 }}
        [[route]]
        path = "/moved/"
        redirect = {{ to = "https://cdn.test{{path}}", status = 302 }}
        [[route]]
        path = "/changed"
        respond = {{ status = 200, body = "changed" }}
        headers = {{ set = {{ "X-Frame-Options" = "DENY", "Set-Cookie" = "a=b" }}, remove = ["X-Request-Id"] }}
        [[route]]
        host = "a.b.test"
        path = "/small"
        respond = {{ status = 200, body = "another host" }}
        [[route]]
        path = "/shared"
        cors = {{ origins = ["https://a.test"] }}
        respond = {{ status = 200, body = "for pages of others" }}
        [[route]]
        path = "/files/"
        files = "{root}"
        "#,
        root = root.display(),
    )
}

/// A sequence that is the same each time (xorshift64).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    pub fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    /// A request, and whether it is HEAD.
    fn request(&mut self) -> (String, bool) {
        let method = self.one(METHODS);
        let version = self.one(&["1.1", "1.1", "1.1", "1.1", "1.0"]);
        let mut request = format!("{method} {} HTTP/{version}\r\n", self.one(TARGETS));
        if version == "1.1" || self.below(3) > 0 {
            request += "Host: ";
            request += self.one(HOSTS);
            request += "\r\n";
        }
        for (percent, fields) in FIELDS {
            // Plain requests have to be among them.
            if self.below(200) < *percent {
                request += self.one(fields);
                request += "\r\n";
            }
        }
        (request + "\r\n", method == "HEAD")
    }
}
