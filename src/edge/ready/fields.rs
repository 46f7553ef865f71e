//! The head of an answer as HTTP/2 has it: fields, which the connection compresses anew each time.

use http::{HeaderValue, header};
use pingora_http::ResponseHeader;

use super::lines::is_known;
use crate::edge::request_id::{self, X_REQUEST_ID};

/// What a field takes besides its bytes, roughly.
const OVERHEAD: usize = 100;

/// Fields as they were written. What belongs to one request is put in the place of the old, so that
/// the order stays: the id and the age here, `Date` by Pingora.
#[derive(Debug)]
pub(super) struct Fields {
    head: ResponseHeader,
    has_request_id: bool,
}

impl Fields {
    /// `None` for what can't be said again; `ages` tells that its age is known.
    pub(super) fn read(written: &ResponseHeader, request_id: &str, ages: bool) -> Option<Self> {
        let fields = &written.headers;
        let varies = fields.get_all(header::VARY);
        let mut ids = fields.get_all(X_REQUEST_ID).iter();
        let has_request_id = ids.next().is_some_and(|id| id == request_id);
        if fields.contains_key(header::SET_COOKIE)
            || fields.contains_key(header::AGE) && !ages
            || !varies.iter().all(|value| is_known(value.as_bytes()))
            || has_request_id && ids.next().is_some()
        {
            return None;
        }
        Some(Self {
            head: written.clone(),
            has_request_id,
        })
    }

    pub(super) fn status(&self) -> u16 {
        self.head.status.as_u16()
    }

    /// The head for the request with this id, of an answer that is `age` seconds old.
    pub(super) fn head(&self, request_id: &str, age: Option<u64>) -> Option<Box<ResponseHeader>> {
        let mut head = Box::new(self.head.clone());
        if let Some(age) = age
            && head.headers.contains_key(header::AGE)
        {
            head.insert_header(header::AGE, age).ok()?;
        }
        if self.has_request_id {
            let id: HeaderValue = request_id::header_value(request_id);
            head.insert_header(X_REQUEST_ID, id).ok()?;
        }
        Some(head)
    }

    /// Bytes it takes.
    pub(super) fn size(&self) -> usize {
        let fields = self.head.headers.iter();
        fields
            .map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD)
            .sum()
    }
}
