//! What is kept of one answer while it is written.

use std::sync::{Arc, OnceLock};

use pingora_http::ResponseHeader;

use super::table::Table;
use super::{Freshness, Question, Recording};
use crate::edge::measure::RouteCells;

/// Longest answer that is recorded, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// The bytes of an answer as they leave, from the moment it is offered; over HTTP/2, of its body.
///
/// Over HTTP/1.1 it belongs to the connection, which Pingora lends to handlers for reading only; so what they tell
/// is told through shared references, once for each answer.
pub(in crate::edge) struct Tape {
    /// Whose question it is; another configuration's answer is none to it.
    table: Arc<Table>,
    /// Of the question, as the table counts.
    hash: u64,
    /// `None` where it is asked for the first time: then only the offer is of interest.
    question: Option<Question<Box<[u8]>>>,
    offer: OnceLock<Offer>,
    body_bytes: OnceLock<u64>,
    bytes: Vec<u8>,
    is_too_long: bool,
}

/// What the producer says of its answer.
#[derive(Debug)]
struct Offer {
    freshness: Freshness,
    request_id: String,
    cells: &'static RouteCells,
}

/// All that a recording is made of.
pub(super) struct Master {
    pub(super) hash: u64,
    pub(super) question: Question<Box<[u8]>>,
    pub(super) freshness: Freshness,
    pub(super) request_id: String,
    pub(super) cells: &'static RouteCells,
    pub(super) body_bytes: u64,
    pub(super) bytes: Vec<u8>,
}

impl Tape {
    pub(super) fn new(table: Arc<Table>, hash: u64, question: Option<Question<Box<[u8]>>>) -> Self {
        Self {
            table,
            hash,
            question,
            offer: OnceLock::new(),
            body_bytes: OnceLock::new(),
            bytes: Vec::new(),
            is_too_long: false,
        }
    }

    pub(super) fn begin(
        &self,
        table: &Arc<Table>,
        freshness: &Freshness,
        request_id: &str,
        cells: &'static RouteCells,
    ) {
        if Arc::ptr_eq(table, &self.table) {
            let _ = self.offer.set(Offer {
                freshness: freshness.clone(),
                request_id: request_id.to_owned(),
                cells,
            });
        }
    }

    pub(super) fn complete(&self, body_bytes: u64) {
        let _ = self.body_bytes.set(body_bytes);
    }

    /// Takes bytes that the client has been sent.
    pub(in crate::edge) fn take(&mut self, bytes: &[u8]) {
        if !self.records() || self.offer.get().is_none() || self.is_too_long {
            return;
        }
        if self.bytes.len() + bytes.len() > MAX_ANSWER {
            self.is_too_long = true;
            self.bytes = Vec::new();
        } else {
            self.bytes.extend_from_slice(bytes);
        }
    }

    /// Whether the answer is kept, and not only noticed, if it is offered.
    pub(super) fn records(&self) -> bool {
        self.question.is_some()
    }

    /// Keeps the HTTP/1.1 answer whose bytes it has, if it is whole and may be said again.
    pub(in crate::edge) fn keep(self) {
        let (table, master) = self.wind_up();
        if let Some(recording) = master.and_then(Recording::of_lines) {
            table.keep(recording);
        }
    }

    /// Keeps the HTTP/2 answer whose body it has and whose head is `written`.
    pub(super) fn keep_under(self, written: &ResponseHeader) {
        let (table, master) = self.wind_up();
        let recording = master.and_then(|master| Recording::of_fields(master, written));
        if let Some(recording) = recording {
            table.keep(recording);
        }
    }

    fn wind_up(self) -> (Arc<Table>, Option<Master>) {
        let table = self.table;
        let Some(offer) = self.offer.into_inner() else {
            return (table, None);
        };
        let (Some(question), Some(body_bytes)) = (self.question, self.body_bytes.into_inner())
        else {
            table.note_glance(self.hash);
            return (table, None);
        };
        let master = Master {
            hash: self.hash,
            question,
            freshness: offer.freshness,
            request_id: offer.request_id,
            cells: offer.cells,
            body_bytes,
            bytes: self.bytes,
        };
        (table, (!self.is_too_long).then_some(master))
    }
}
