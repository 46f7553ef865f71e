//! The strict reading of heads and the wire behind it.

mod chunks;
mod framing;
mod head;
mod head_properties;
mod host;
mod request_line;
mod websocket;
mod wire;

use super::head::{Framing, Reading, read};

/// `GET /` for `a.test` with further `fields`, each ending in CRLF.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

/// A request that consists of its first line and a Host.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: a.test\r\n\r\n")
}

/// `GET /` with this Host.
fn host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n")
}

/// The status that `bytes` are refused with.
fn refused(bytes: &[u8]) -> u16 {
    match read(bytes, 0) {
        Reading::Refused(refusal) => refusal.status.as_u16(),
        other => panic!("{:?} is {other:?}", bytes.escape_ascii().to_string()),
    }
}

fn expect_refusals<'a>(table: impl IntoIterator<Item = (u16, Vec<u8>, &'a str)>) {
    for (status, bytes, why) in table {
        let shown = bytes.escape_ascii().to_string();
        assert_eq!(refused(&bytes), status, "{why}: {shown}");
    }
}

fn expect_complete(bytes: &[u8], body: Framing, why: &str) {
    let Reading::Complete(head) = read(bytes, 0) else {
        let verdict = read(bytes, 0);
        panic!("{why}: {verdict:?} for {}", bytes.escape_ascii());
    };
    assert_eq!((head.length, head.body), (bytes.len(), body), "{why}");
}
