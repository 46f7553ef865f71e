//! Asks either server, and says what is comparable of its answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use url::{Position, Url};

use super::requests::Request;
use crate::support::server::PATIENCE;

/// Where a server listens.
pub enum Server {
    Nginx(PathBuf),
    Unibody(SocketAddr),
}

/// An answer, its body without the framing of its transfer.
struct Answer {
    status: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What is compared, and what both have to say of it.
pub type Comparable = Vec<(&'static str, String)>;

/// Headers whose value is compared as it is.
const AS_IT_IS: [&str; 5] = [
    "allow",
    "content-encoding",
    "content-range",
    "last-modified",
    "vary",
];

/// Says nothing that could differ.
const ANY: &str = "any";

/// The fields that differ, with both values: of answers of different status that alone.
pub fn differing(theirs: Comparable, ours: Comparable) -> Vec<(&'static str, String, String)> {
    let pairs = theirs.into_iter().zip(ours);
    let mut differing: Vec<_> = pairs
        .filter(|((_, theirs), (_, ours))| theirs != ours && theirs != ANY && ours != ANY)
        .map(|((field, theirs), (_, ours))| (field, theirs, ours))
        .collect();
    if differing
        .first()
        .is_some_and(|(field, ..)| *field == "status")
    {
        differing.truncate(1);
    }
    differing
}

impl Server {
    /// The comparable of the answer to `request`.
    pub fn ask(&self, request: &Request) -> Comparable {
        let mut headers = String::new();
        for (name, value) in &request.headers {
            let mut value = value.clone();
            for (placeholder, tagged) in [("{etag}", &*headers), ("{plain}", "")] {
                if value.contains(placeholder) {
                    let tagged = self.answer("GET", request.path, tagged);
                    let tag = tagged.header("etag").expect("a tag");
                    value = value.replace(placeholder, tag);
                }
            }
            headers.extend([name, ": ", &value, "\r\n"]);
        }
        self.answer(request.method, request.path, &headers)
            .comparable(request)
    }

    fn answer(&self, method: &str, path: &str, headers: &str) -> Answer {
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        );
        match self {
            Self::Nginx(socket) => {
                let stream = UnixStream::connect(socket).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                exchange(stream, &request)
            }
            Self::Unibody(address) => {
                let stream = TcpStream::connect(address).unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                exchange(stream, &request)
            }
        }
    }
}

fn exchange(mut stream: impl Read + Write, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    Answer::parse(&bytes)
}

impl Answer {
    fn parse(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        let end = end.expect("a whole head");
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers = lines
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap();
                (name.to_lowercase(), value.trim().to_owned())
            })
            .collect();
        let mut answer = Self {
            status,
            headers,
            body: bytes[end + 4..].to_vec(),
        };
        if answer.header("transfer-encoding").is_some() {
            answer.body = dechunk(&answer.body);
        }
        answer
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Entity tags are each server's own, and so are boundaries and the pages of errors and redirects.
    fn comparable(&self, request: &Request) -> Comparable {
        let told = |name| self.header(name).unwrap_or("none").to_owned();
        let is_success = self.status.starts_with('2');
        let (content_type, boundary) = self.content_type();
        let is_plain = told("content-encoding") == "none";
        let is_whole = is_plain && boundary.is_none();
        let body = self.decoded();
        if request.method == "HEAD" {
            assert!(body.is_empty(), "{request} got a body");
        } else if let (true, Some(length)) = (is_whole, self.header("content-length")) {
            let is_right = self.status == "304" || length == self.body.len().to_string();
            assert!(
                is_right,
                "{request} got {} of {length} bytes",
                self.body.len()
            );
        }
        let only = |holds: bool, value: String| if holds { value } else { ANY.to_owned() };
        let mut comparable = vec![
            ("status", self.status.clone()),
            ("content-type", only(is_success, content_type)),
            (
                "content-length",
                only(is_success && is_whole, told("content-length")),
            ),
            (
                "etag",
                self.header("etag").map_or("none", |_| "some").to_owned(),
            ),
            // One that was made on the way has no ranges, and one that is kept has.
            ("accept-ranges", only(is_plain, told("accept-ranges"))),
            (
                "location",
                self.header("location")
                    .map_or("none".to_owned(), |to| target(request, to)),
            ),
            (
                "body",
                only(is_success, summary(&body, boundary.as_deref())),
            ),
        ];
        comparable.extend(AS_IT_IS.map(|name| (name, told(name))));
        comparable
    }

    /// The type, and the boundary of several parts.
    fn content_type(&self) -> (String, Option<String>) {
        let content_type = self.header("content-type").unwrap_or("none");
        match content_type.split_once("; boundary=") {
            Some((several, boundary)) => (several.to_owned(), Some(boundary.replace('"', ""))),
            None => (content_type.to_owned(), None),
        }
    }

    fn decoded(&self) -> Vec<u8> {
        let mut decoded = Vec::new();
        let body = self.body.as_slice();
        if body.is_empty() {
            return decoded;
        }
        match self.header("content-encoding") {
            None => return self.body.clone(),
            Some("gzip") => flate2::read::GzDecoder::new(body).read_to_end(&mut decoded),
            Some("br") => brotli::Decompressor::new(body, 4096).read_to_end(&mut decoded),
            Some("zstd") => zstd::Decoder::new(body).unwrap().read_to_end(&mut decoded),
            Some(other) => panic!("nobody asked for {other}"),
        }
        .map_or_else(
            |error| format!("broken: {error}").into_bytes(),
            |_| decoded.clone(),
        )
    }
}

/// The path and query that a `Location` leads to (RFC 9110, section 10.2.2).
fn target(request: &Request, location: &str) -> String {
    let asked = Url::parse("http://localhost")
        .unwrap()
        .join(request.path)
        .unwrap();
    let url = asked.join(location).unwrap();
    assert_eq!(
        url.host_str(),
        Some("localhost"),
        "{request} leads elsewhere"
    );
    url[Position::BeforePath..].to_owned()
}

/// Short enough to read, and different for different bodies.
fn summary(body: &[u8], boundary: Option<&str>) -> String {
    let text = String::from_utf8_lossy(body);
    let text = match boundary {
        // Case, and a line end before the first part, mean nothing (RFC 2046, section 5.1.1).
        Some(boundary) => text.replace(boundary, "B").trim().to_lowercase(),
        None => text.into_owned(),
    };
    if text.len() <= 400 {
        return text;
    }
    let sum = text.bytes().fold(0_u32, |sum, byte| {
        sum.wrapping_mul(31).wrapping_add(u32::from(byte))
    });
    format!("{} bytes, sum {sum:08x}", body.len())
}

fn dechunk(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = bytes.windows(2).position(|two| two == b"\r\n").unwrap();
        let size = std::str::from_utf8(&bytes[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 2 + size + 2..];
    }
}
