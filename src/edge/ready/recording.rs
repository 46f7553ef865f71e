//! One answer as it was written, and how it is said again.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::tape::Master;
use super::{Freshness, Question};

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
    /// Without what belongs to one request.
    head: Box<[u8]>,
    /// Where in `head` what is missing, in order.
    gaps: Vec<(usize, Gap)>,
    body: Bytes,
    pub(in crate::edge) status: u16,
    /// Bytes of content, as the access log counts them.
    pub(in crate::edge) body_bytes: u64,
}

/// What differs from one request to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gap {
    Date,
    Connection,
    RequestId,
}

/// What to fill the gaps with.
#[derive(Debug, Clone, Copy)]
pub(in crate::edge) struct Patches<'a> {
    pub(in crate::edge) date: &'a str,
    pub(in crate::edge) connection: &'a str,
    pub(in crate::edge) request_id: &'a str,
}

impl Recording {
    /// Finds the gaps. `None` for what can't be said again: an answer that isn't whole, sets a
    /// cookie, or varies with more than a question has.
    pub(super) fn make(master: Master) -> Option<Self> {
        let bytes = &master.bytes;
        let end = memchr::memmem::find(bytes, b"\r\n\r\n")? + 4;
        let status = std::str::from_utf8(bytes.get(9..12)?).ok()?.parse().ok()?;
        let mut head = Vec::with_capacity(end);
        let mut gaps = Vec::with_capacity(3);
        for line in bytes[..end].split_inclusive(|&byte| byte == b'\n') {
            let colon = memchr::memchr(b':', line).unwrap_or(line.len());
            let (name, rest) = line.split_at(colon);
            let value = rest.get(1..).unwrap_or_default().trim_ascii();
            let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
            let gap = if is("date") {
                Gap::Date
            } else if is("connection") && value.eq_ignore_ascii_case(b"keep-alive") {
                Gap::Connection
            } else if is("x-request-id") && value == master.request_id.as_bytes() {
                Gap::RequestId
            } else if is("connection") || is("set-cookie") || is("vary") && !is_known(value) {
                return None;
            } else {
                head.extend_from_slice(line);
                continue;
            };
            head.extend_from_slice(name);
            head.extend_from_slice(b": ");
            gaps.push((head.len(), gap));
            head.extend_from_slice(b"\r\n");
        }
        let belongs_to_one = |gap| gaps.iter().filter(|(_, found)| *found == gap).count();
        if status < 200 || belongs_to_one(Gap::Date) != 1 || belongs_to_one(Gap::Connection) != 1 {
            return None;
        }
        Some(Self {
            hash: master.hash,
            question: master.question,
            freshness: master.freshness,
            // It was asked for just now.
            used: AtomicBool::new(true),
            head: head.into(),
            gaps,
            body: Bytes::copy_from_slice(&bytes[end..]),
            status,
            body_bytes: master.body_bytes,
        })
    }

    /// Appends the answer to `output`; a large body is given back instead, to be sent after it.
    pub(in crate::edge) fn write(&self, patches: &Patches<'_>, output: &mut Vec<u8>) -> Bytes {
        let mut written = 0;
        for &(at, gap) in &self.gaps {
            output.extend_from_slice(&self.head[written..at]);
            output.extend_from_slice(match gap {
                Gap::Date => patches.date.as_bytes(),
                Gap::Connection => patches.connection.as_bytes(),
                Gap::RequestId => patches.request_id.as_bytes(),
            });
            written = at;
        }
        output.extend_from_slice(&self.head[written..]);
        if self.body.len() > SMALL {
            return self.body.clone();
        }
        output.extend_from_slice(&self.body);
        Bytes::new()
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.head.len() + self.body.len() + self.question.length() + OVERHEAD
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

/// Whether `vary` names only what a question has.
fn is_known(vary: &[u8]) -> bool {
    vary.split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .all(|name| name.is_empty() || name.eq_ignore_ascii_case(b"accept-encoding"))
}
