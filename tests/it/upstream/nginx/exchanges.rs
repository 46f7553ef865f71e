//! What both are asked.

/// What `/page` is.
pub const PAGE: &str = "a page of several bytes\n";

pub struct Exchange {
    pub name: &'static str,
    pub steps: Vec<Step>,
    /// Its answers have no body, whatever they say of one.
    pub is_head: bool,
}

/// What a client does.
pub enum Step {
    Send(Vec<u8>),
    /// Goes on with a new connection.
    Anew,
    /// Waits for an interim answer.
    Interim,
    /// Waits for the answer, and those before it.
    Answer,
    /// Waits for the end of the connection.
    Closed,
}

use Step::{Answer, Closed, Interim};

/// 4 MiB that a shift or a swap of pieces would change.
pub fn large() -> Vec<u8> {
    (0..=250).cycle().take(4 << 20).collect()
}

#[expect(clippy::too_many_lines, reason = "a table")]
pub fn all() -> Vec<Exchange> {
    let get = |path: &str, fields: &str| request("GET", path, fields);
    let stored = |put: Vec<Step>| {
        let mut steps = put;
        steps.extend([Answer, get("/store/it", ""), Answer]);
        steps.extend([request("DELETE", "/store/it", ""), Answer]);
        steps
    };
    let put = |path, fields| request("PUT", path, fields);
    let large = large();
    let length = format!("Content-Length: {}\r\n", large.len());
    let continues = "Expect: 100-continue\r\nContent-Length: 5\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n";
    vec![
        exchange(
            "a connection lives on",
            [
                get("/page", ""),
                Answer,
                get("/asked?a=%20b;c", ""),
                Answer,
                get("/page", ""),
                Answer,
            ],
        ),
        exchange(
            "two requests at once",
            [
                send([&*bytes(&get("/page", "")), &bytes(&get("/asked", ""))].concat()),
                Answer,
                Answer,
            ],
        ),
        exchange(
            "the client wants it to end",
            [get("/page", "Connection: close\r\n"), Answer, Closed],
        ),
        Exchange {
            is_head: true,
            ..exchange(
                "HEAD",
                [
                    request("HEAD", "/page", ""),
                    Answer,
                    request("HEAD", "/chunks", ""),
                    Answer,
                ],
            )
        },
        exchange(
            "204",
            [get("/nothing", ""), Answer, get("/page", ""), Answer],
        ),
        exchange(
            "304",
            [
                get("/page", "If-None-Match: *\r\n"),
                Answer,
                get("/page", ""),
                Answer,
            ],
        ),
        exchange("301", [get("/moved", ""), Answer]),
        exchange("404", [get("/unknown", ""), Answer]),
        exchange(
            "405",
            [request("POST", "/page", "Content-Length: 0\r\n"), Answer],
        ),
        exchange(
            "chunks",
            [get("/chunks", ""), Answer, get("/page", ""), Answer],
        ),
        exchange(
            "trailers",
            [
                get("/trailers", "TE: trailers\r\nConnection: TE\r\n"),
                Answer,
            ],
        ),
        exchange("a range", [get("/page", "Range: bytes=2-5\r\n"), Answer]),
        exchange(
            "the end of it",
            [get("/page", "Range: bytes=-5\r\n"), Answer],
        ),
        exchange(
            "no such range",
            [get("/page", "Range: bytes=900-\r\n"), Answer],
        ),
        exchange("gzip", [get("/gzip", "Accept-Encoding: gzip\r\n"), Answer]),
        exchange("not gzip", [get("/gzip", ""), Answer]),
        exchange("headers that nginx would heed", [get("/accel", ""), Answer]),
        exchange("a large answer", [get("/large", ""), Answer]),
        exchange(
            "a large upload",
            stored(vec![put("/store/it", &length), send(large.clone())]),
        ),
        exchange(
            "a large upload in chunks",
            stored(vec![put("/store/it", chunked), send(in_chunks(&large))]),
        ),
        exchange(
            "an empty upload",
            stored(vec![put("/store/it", "Content-Length: 0\r\n")]),
        ),
        exchange(
            "the client waits to be told to go on",
            [
                put("/store/it", continues),
                Interim,
                send(b"hello".to_vec()),
                Answer,
                Step::Anew,
                get("/store/it", ""),
                Answer,
                request("DELETE", "/store/it", ""),
                Answer,
            ],
        ),
        exchange(
            "the client does not wait",
            stored(vec![put("/store/it", continues), send(b"hello".to_vec())]),
        ),
        exchange(
            "the client waits in vain",
            [
                put(
                    "/small/it",
                    "Expect: 100-continue\r\nContent-Length: 5000\r\n",
                ),
                Answer,
            ],
        ),
        exchange(
            "too large, and the client is still sending",
            [
                put("/small/it", &length),
                send(large[..64 << 10].to_vec()),
                Answer,
            ],
        ),
        exchange(
            "chunks become too large, and the client is still sending",
            [
                put("/small/it", chunked),
                send(in_chunks(&large[..64 << 10])[..60 << 10].to_vec()),
                Answer,
            ],
        ),
    ]
}

fn exchange(name: &'static str, steps: impl Into<Vec<Step>>) -> Exchange {
    Exchange {
        name,
        steps: steps.into(),
        is_head: false,
    }
}

fn request(method: &str, path: &str, fields: &str) -> Step {
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    send(head.into_bytes())
}

fn send(bytes: Vec<u8>) -> Step {
    Step::Send(bytes)
}

fn bytes(step: &Step) -> Vec<u8> {
    match step {
        Step::Send(bytes) => bytes.clone(),
        _ => Vec::new(),
    }
}

fn in_chunks(body: &[u8]) -> Vec<u8> {
    let mut chunks = Vec::new();
    for piece in body.chunks(10_000) {
        chunks.extend(format!("{:x}\r\n", piece.len()).into_bytes());
        chunks.extend_from_slice(piece);
        chunks.extend(b"\r\n");
    }
    chunks.extend(b"0\r\n\r\n");
    chunks
}
