//! Recordings and the table they are kept in, without a connection.

mod recordings;
mod table;

use http::Version;

use super::Question;
use super::question::Shape;
use super::recording::Recording;
use super::tape::Master;
use crate::edge::compression::accept_encoding::Accepted;
use crate::edge::freshness::Freshness;
use crate::edge::measure::RouteCells;

const ID: &str = "0123456789abcdef0123456789abcdef";

/// `GET` of `target`.
fn question(target: &str) -> Question<&[u8]> {
    Question {
        shape: Shape {
            is_head: false,
            version: Version::HTTP_11,
            is_https: false,
            has_cookies: false,
            asks_for_fresh: false,
        },
        accepted: Accepted::default(),
        host: b"a.test",
        target: target.as_bytes(),
        none_match: None,
        modified_since: None,
    }
}

/// Where somebody counts.
fn cells() -> &'static RouteCells {
    RouteCells::forever("/".to_owned(), 1)
}

/// What is made of an answer with these bytes to the question for `target`.
fn recorded(hash: u64, target: &str, bytes: &str, freshness: &Freshness) -> Option<Recording> {
    Recording::of_lines(Master {
        hash,
        question: question(target).to_owned(),
        freshness: freshness.clone(),
        request_id: ID.to_owned(),
        cells: cells(),
        body_bytes: 5,
        bytes: bytes.as_bytes().to_vec(),
    })
}

/// An answer with `fields`, each ending in CRLF.
fn answer(fields: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n{fields}\
         Connection: keep-alive\r\n\r\nhello"
    )
}
