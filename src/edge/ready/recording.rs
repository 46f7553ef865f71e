//! One answer as it was written, and how it is said again.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use pingora_http::ResponseHeader;

use super::fields::Fields;
use super::lines::{Lines, Patches};
use super::tape::Master;
use super::{Freshness, Question};
use crate::edge::measure::RouteCells;

/// Bodies up to this many bytes leave in one piece with their head; larger ones are not copied.
const SMALL: usize = 4 * 1024;
/// What a recording takes besides its bytes, roughly.
const OVERHEAD: usize = 400;

/// One recorded answer.
#[derive(Debug)]
pub(in crate::edge) struct Recording {
    pub(super) hash: u64,
    pub(super) question: Question<Box<[u8]>>,
    pub(super) freshness: Freshness,
    /// Whether it was given since the table last looked for what can go.
    used: AtomicBool,
    head: Head,
    body: Bytes,
    pub(in crate::edge) status: u16,
    /// Where the requests that it answers are counted.
    pub(in crate::edge) cells: &'static RouteCells,
    /// Bytes of content, as the access log counts them.
    pub(in crate::edge) body_bytes: u64,
}

/// In the form of the protocol that the question came by.
#[derive(Debug)]
enum Head {
    Lines(Lines),
    Fields(Fields),
}

impl Recording {
    /// Reads an HTTP/1.1 answer. `None` for what can't be said again: an answer that isn't whole,
    /// sets a cookie, or varies with more than a question has.
    pub(super) fn of_lines(master: Master) -> Option<Self> {
        let end = memchr::memmem::find(&master.bytes, b"\r\n\r\n")? + 4;
        let lines = Lines::read(&master.bytes[..end], &master.request_id, ages(&master))?;
        let status = lines.status;
        Self::make(master, end, Head::Lines(lines), status)
    }

    /// Takes an HTTP/2 answer with the head `written`, whose body is the master's bytes; `None` as
    /// above.
    pub(super) fn of_fields(master: Master, written: &ResponseHeader) -> Option<Self> {
        let fields = Fields::read(written, &master.request_id, ages(&master))?;
        let status = fields.status();
        Self::make(master, 0, Head::Fields(fields), status)
    }

    fn make(master: Master, body_start: usize, head: Head, status: u16) -> Option<Self> {
        (status >= 200).then(|| Self {
            hash: master.hash,
            question: master.question,
            freshness: master.freshness,
            // It was asked for just now.
            used: AtomicBool::new(true),
            head,
            body: Bytes::copy_from_slice(&master.bytes[body_start..]),
            status,
            cells: master.cells,
            body_bytes: master.body_bytes,
        })
    }

    /// Appends an HTTP/1.1 answer to `output`; a large body is given back instead, to be sent after
    /// it.
    pub(in crate::edge) fn write(
        &self,
        patches: &Patches<'_>,
        output: &mut Vec<u8>,
    ) -> Option<Bytes> {
        let Head::Lines(lines) = &self.head else {
            return None;
        };
        lines.write(patches, self.freshness.age(), output);
        if self.body.len() > SMALL {
            return Some(self.body.clone());
        }
        output.extend_from_slice(&self.body);
        Some(Bytes::new())
    }

    /// An HTTP/2 answer to the request with this id, but for its `Date`: head and body.
    pub(in crate::edge) fn parts(&self, request_id: &str) -> Option<(Box<ResponseHeader>, Bytes)> {
        let Head::Fields(fields) = &self.head else {
            return None;
        };
        let head = fields.head(request_id, self.freshness.age())?;
        Some((head, self.body.clone()))
    }

    /// Whether it is an upstream's answer that a cache keeps: only these have an age.
    pub(in crate::edge) fn is_cached(&self) -> bool {
        self.freshness.age().is_some()
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        let head = match &self.head {
            Head::Lines(lines) => lines.size(),
            Head::Fields(fields) => fields.size(),
        };
        head + self.body.len() + self.question.length() + OVERHEAD
    }

    pub(super) fn note_use(&self) {
        // Not written where it says so already: cores would take the line from each other.
        if !self.used.load(Ordering::Relaxed) {
            self.used.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was used since the last call.
    pub(super) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }
}

/// Whether the age of the answer is known.
fn ages(master: &Master) -> bool {
    master.freshness.age().is_some()
}
