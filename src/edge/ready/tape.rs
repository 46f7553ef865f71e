//! What a connection keeps of one answer while it is written.

use std::sync::{Arc, OnceLock};

use super::table::Table;
use super::{Freshness, Question, Recording};

/// Longest answer that is recorded, in bytes.
const MAX_ANSWER: usize = 1024 * 1024;

/// The bytes of an answer as they leave, from the moment it is offered.
///
/// It belongs to the connection, which Pingora lends to handlers for reading only; so what they tell
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
}

/// All that a recording is made of.
pub(super) struct Master {
    pub(super) hash: u64,
    pub(super) question: Question<Box<[u8]>>,
    pub(super) freshness: Freshness,
    pub(super) request_id: String,
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

    pub(super) fn begin(&self, table: &Arc<Table>, freshness: &Freshness, request_id: &str) {
        if Arc::ptr_eq(table, &self.table) {
            let _ = self.offer.set(Offer {
                freshness: freshness.clone(),
                request_id: request_id.to_owned(),
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

    /// Keeps the answer, if it is whole and may be said again.
    pub(in crate::edge) fn keep(self) {
        let Some(offer) = self.offer.into_inner() else {
            return;
        };
        let (Some(question), Some(body_bytes)) = (self.question, self.body_bytes.into_inner())
        else {
            return self.table.note_glance(self.hash);
        };
        let recording = Recording::make(Master {
            hash: self.hash,
            question,
            freshness: offer.freshness,
            request_id: offer.request_id,
            body_bytes,
            bytes: self.bytes,
        });
        if let Some(recording) = recording {
            self.table.keep(recording);
        }
    }
}
