//! What both servers are asked.

use std::fmt::{self, Display};

use super::corpus::FILES;

/// A request without a body. `{etag}` in a header stands for the tag of what the server itself answers
/// without the condition, `{plain}` for that of the content without a coding.
#[derive(PartialEq)]
pub struct Request {
    pub method: &'static str,
    pub path: &'static str,
    pub headers: Vec<(&'static str, String)>,
}

/// When the files were changed, before, after, and what is no date.
const EXACT: &str = "Wed, 01 May 2024 12:00:00 GMT";
const BEFORE: &str = "Wed, 01 May 2024 11:59:59 GMT";
const AFTER: &str = "Wed, 01 May 2024 12:00:01 GMT";

/// The name and value of some headers.
type Headers = &'static [(&'static str, &'static str)];

const CONDITIONS: &[Headers] = &[
    &[("If-None-Match", "{etag}")],
    &[("If-None-Match", "W/{etag}")],
    &[("If-None-Match", "\"x\", {etag}")],
    &[("If-None-Match", "\"x\"")],
    &[("If-None-Match", "*")],
    &[("If-None-Match", "x")],
    &[("If-Modified-Since", EXACT)],
    &[("If-Modified-Since", BEFORE)],
    &[("If-Modified-Since", AFTER)],
    &[("If-Modified-Since", "yesterday")],
    &[("If-None-Match", "{etag}"), ("If-Modified-Since", BEFORE)],
    &[("If-None-Match", "\"x\""), ("If-Modified-Since", EXACT)],
    &[("If-Match", "{etag}")],
    &[("If-Match", "W/{etag}")],
    &[("If-Match", "\"x\", {etag}")],
    &[("If-Match", "\"x\"")],
    &[("If-Match", "*")],
    &[("If-Unmodified-Since", EXACT)],
    &[("If-Unmodified-Since", BEFORE)],
    &[("If-Unmodified-Since", AFTER)],
    &[("If-Unmodified-Since", "yesterday")],
    &[("If-Match", "{etag}"), ("If-Unmodified-Since", BEFORE)],
    &[("If-Match", "\"x\""), ("If-Unmodified-Since", AFTER)],
    &[("If-Match", "{etag}"), ("If-None-Match", "{etag}")],
];

const RANGES: &[&str] = &[
    "bytes=0-0",
    "bytes=0-99",
    "bytes=100-",
    "bytes=-100",
    "bytes=0-",
    "bytes=0-999999",
    "bytes=-999999",
    "BYTES=0-9",
    "bytes=0-9,20-29",
    "bytes=20-29,0-9",
    "bytes=0-9, 20-29",
    "bytes=0-9,999999-",
    "bytes=0-9,5-14",
    "bytes=0-,0-",
    "bytes=204800-",
    "bytes=999999-1000000",
    "bytes=-0",
    "bytes=9-5",
    "bytes=a-b",
    "bytes=",
    "bytes",
    "lines=0-9",
];

const IF_RANGES: &[&str] = &["{etag}", "W/{etag}", "\"x\"", EXACT, BEFORE, AFTER, "x"];

const CODINGS: &[&str] = &[
    "gzip",
    "gzip;q=0",
    "gzip;q=0.001",
    "GZIP",
    "x-gzip",
    "*",
    "*;q=0",
    "identity",
    "identity;q=0",
    "identity;q=0, gzip;q=0.5",
    "identity, gzip;q=0.5",
    "gzip, deflate",
    "gzip;q=x",
    "",
];

/// Beside [`FILES`].
const PATHS: &[&str] = &[
    "/docs",
    "/docs?a=b",
    "/docs/?a=b",
    "/bare",
    "/bare/",
    "/missing",
    "/missing/",
    "/app.js/",
    "/app.js?a=b",
    "/app.js?",
    "/.env",
    "/.git/config",
    "/.git",
    "/.well-known",
    "/.well-known/",
    "/outside.txt",
    "//app.js",
    "/docs//index.html",
    "/docs/./index.html",
    "/docs/../app.js",
    "/../app.js",
    "/%2e%2e/app.js",
    "/docs/%2e%2e/app.js",
    "/docs%2Findex.html",
    "/..%2Fapp.js",
    "/app%2Ejs",
    "/%61pp.js",
    "/app.js%00",
    "/a b.txt",
    "/a+b.txt",
    "/100%.txt",
    "/100%2525.txt",
    "/%zz",
    "/caf%E9.txt",
    "/docs%5Cindex.html",
    "/APP.JS",
    "/app.js.gz",
];

/// All of them, each once.
pub fn all() -> Vec<Request> {
    let mut all = Vec::new();
    let mut ask = |method, path, headers: &[(&'static str, &str)]| {
        let headers = headers
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        let request = Request {
            method,
            path,
            headers,
        };
        if !all.contains(&request) {
            all.push(request);
        }
    };
    for path in FILES.iter().chain(PATHS) {
        ask("GET", path, &[]);
        ask("HEAD", path, &[]);
    }
    for path in FILES {
        ask("GET", path, &[("Accept-Encoding", "gzip")]);
        ask("HEAD", path, &[("Accept-Encoding", "gzip")]);
        ask("GET", path, &[("If-None-Match", "{etag}")]);
    }
    for method in ["OPTIONS", "POST"] {
        for path in ["/app.js", "/docs/", "/missing"] {
            ask(method, path, &[]);
        }
    }
    for conditions in CONDITIONS {
        ask("GET", "/notes.txt", conditions);
        ask("HEAD", "/notes.txt", conditions);
        let coded = [&[("Accept-Encoding", "gzip")], *conditions].concat();
        ask("GET", "/app.js", &coded);
    }
    for condition in ["If-None-Match", "If-Match"] {
        let coded = [("Accept-Encoding", "gzip"), (condition, "{plain}")];
        ask("GET", "/app.js", &coded);
    }
    for range in RANGES {
        ask("GET", "/large.txt", &[("Range", range)]);
    }
    for range in ["bytes=0-9", "bytes=-1", "bytes=5-"] {
        ask("HEAD", "/large.txt", &[("Range", range)]);
        ask("GET", "/empty.txt", &[("Range", range)]);
        ask("GET", "/one.txt", &[("Range", range)]);
        ask("GET", "/missing", &[("Range", range)]);
    }
    for if_range in IF_RANGES {
        let headers = [("Range", "bytes=0-9"), ("If-Range", *if_range)];
        ask("GET", "/large.txt", &headers);
    }
    ask("GET", "/large.txt", &[("If-Range", "{etag}")]);
    let both = [("Range", "bytes=0-9"), ("If-None-Match", "{etag}")];
    ask("GET", "/large.txt", &both);
    for path in ["/app.js", "/style.css"] {
        let both = [("Range", "bytes=0-9"), ("Accept-Encoding", "gzip")];
        ask("GET", path, &both);
    }
    for coding in CODINGS {
        for path in ["/app.js", "/data.json", "/dot.png"] {
            ask("GET", path, &[("Accept-Encoding", coding)]);
        }
    }
    all
}

impl Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (name, value) in &self.headers {
            write!(f, " [{name}: {value}]")?;
        }
        Ok(())
    }
}
