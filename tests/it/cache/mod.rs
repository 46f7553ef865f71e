//! Routes with a cache: what is kept, for whom, how long, and what nobody is told twice.

mod coalescing;
mod figures;
mod origin;
mod personal;
mod purge;
mod ready;
mod rules;
mod stale;
mod urls;
mod wire;

use std::io::Read;

use self::origin::{Answer, Origin};
use crate::support::edge::Edge;
use crate::support::raw::{Raw, RawAnswer};

/// Sends a request with these lines of headers on a connection of its own.
fn send(edge: &Edge, method: &str, path: &str, fields: &str) -> RawAnswer {
    let mut raw = Raw::connect(edge.http);
    let fields = if fields.is_empty() {
        String::new()
    } else {
        format!("{fields}\r\n")
    };
    raw.send(format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n"
    ));
    raw.last_answer()
}

fn get(edge: &Edge, path: &str) -> RawAnswer {
    send(edge, "GET", path, "")
}

/// `X-Cache`, in the lower case that [`RawAnswer`] has.
fn outcome(answer: &RawAnswer) -> &str {
    answer.header("x-cache").unwrap_or("none")
}

/// The answers to five requests with these lines of headers on one connection: on those that live on,
/// answers become ready.
fn talk(edge: &Edge, path: &str, fields: &str) -> Vec<RawAnswer> {
    let mut raw = Raw::connect(edge.http);
    let mut ask = || {
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ));
        let mut answer = raw.head();
        if answer.header("transfer-encoding").is_some() {
            while !answer.body.ends_with(b"\r\n0\r\n\r\n") {
                let mut byte = [0];
                raw.0.read_exact(&mut byte).unwrap();
                answer.body.extend(byte);
            }
        } else if answer.status != 304 {
            let length = answer.header("content-length").unwrap().parse().unwrap();
            answer.body = vec![0; length];
            raw.0.read_exact(&mut answer.body).unwrap();
        }
        answer
    };
    (0..5).map(|_| ask()).collect()
}
