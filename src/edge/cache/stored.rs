//! One answer that is kept, and how Pingora reads it.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use http::HeaderName;
use pingora_cache::storage::HandleHit;
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta, Storage};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use super::rules::Terms;
use super::wanted::{Key, Wanted};
use crate::edge::freshness::Freshness;

/// What an answer and each of its fields take besides their bytes, roughly.
const OVERHEAD: usize = 600;
const FIELD_OVERHEAD: usize = 100;

/// A kept answer.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) key: Key,
    /// What the request said under each name in `Vary`.
    selecting: Vec<(HeaderName, Option<Vec<u8>>)>,
    pub(super) head: ResponseHeader,
    pub(super) body: Bytes,
    pub(super) terms: Terms,
    /// When the upstream was asked for it, or whether it holds.
    pub(super) asked: Instant,
    /// When it came, or was confirmed.
    pub(super) received: Instant,
    /// Until its lifetime is over, or it is not kept any more.
    pub(super) freshness: Freshness,
    /// Bytes that it takes.
    pub(super) size: usize,
}

impl Stored {
    /// The answer to `wanted`, which came just now.
    pub(super) fn new(wanted: &Wanted, head: ResponseHeader, body: Bytes, terms: Terms) -> Self {
        let selecting: Vec<_> = terms
            .vary
            .iter()
            .map(|name| (name.clone(), wanted.value(name)))
            .collect();
        let fields = head.headers.iter();
        let fields = fields.map(|(name, value)| name.as_str().len() + value.len() + FIELD_OVERHEAD);
        let selecting_bytes = selecting
            .iter()
            .map(|(_, value)| value.as_ref().map_or(0, Vec::len) + FIELD_OVERHEAD);
        let size = OVERHEAD
            + body.len()
            + wanted.key.host.len()
            + wanted.key.target.len()
            + fields.sum::<usize>()
            + selecting_bytes.sum::<usize>();
        let left = terms.lifetime.saturating_sub(terms.age);
        Self {
            key: wanted.key.clone(),
            selecting,
            head,
            body,
            asked: wanted.asked(),
            received: Instant::now(),
            freshness: Freshness::aging(terms.age, left),
            terms,
            size,
        }
    }

    /// Whether it is an answer to `wanted`, fresh or not.
    pub(super) fn answers(&self, wanted: &Wanted) -> bool {
        let (terms, credentials) = (&self.terms, wanted.credentials);
        let is_for_one = terms.is_assumed || !terms.stand_alone();
        (terms.is_for_authorized || !credentials.has_authorization)
            && (credentials.are_none() || !is_for_one)
            && self.is_selected_by(wanted)
    }

    /// Whether `wanted` says the same under each name in `Vary` (RFC 9111, section 4.1).
    pub(super) fn is_selected_by(&self, wanted: &Wanted) -> bool {
        let mut selecting = self.selecting.iter();
        selecting.all(|(name, value)| wanted.value(name) == *value)
    }

    /// Whether both answer the same questions.
    pub(super) fn is_in_place_of(&self, other: &Self) -> bool {
        self.selecting == other.selecting
    }

    /// How old it is.
    pub(super) fn age(&self) -> Duration {
        self.terms.age + self.received.elapsed()
    }

    /// How long it is fresh yet.
    pub(super) fn remains(&self) -> Duration {
        self.terms.lifetime.saturating_sub(self.age())
    }

    /// What Pingora needs to know of it. The clock that it reads may have been set since.
    pub(super) fn meta(self: &Arc<Self>) -> CacheMeta {
        let now = SystemTime::now();
        let (lifetime, age) = (self.terms.lifetime, self.age());
        let until = match lifetime.checked_sub(age) {
            Some(left) if !left.is_zero() => now.checked_add(left),
            // Not before this very moment, or it would seem fresh in it.
            _ => now.checked_sub(age.saturating_sub(lifetime) + Duration::from_millis(1)),
        };
        let window = |time: Duration| u32::try_from(time.as_secs()).unwrap_or(u32::MAX);
        let mut meta = CacheMeta::new(
            until.unwrap_or(SystemTime::UNIX_EPOCH),
            now,
            window(self.terms.while_revalidated),
            window(self.terms.if_error),
            self.head.clone(),
        );
        meta.extensions_mut().insert(self.clone());
        meta
    }

    /// The one that `meta` tells of.
    pub(super) fn behind(meta: &CacheMeta) -> Option<&Arc<Self>> {
        meta.extensions().get()
    }
}

impl Drop for Stored {
    fn drop(&mut self) {
        self.freshness.end();
    }
}

/// The body of a kept answer on its way to a client, in one piece.
pub(super) struct Reading {
    rest: Bytes,
    whole: Bytes,
}

impl Reading {
    pub(super) fn of(stored: &Stored) -> Self {
        Self {
            rest: stored.body.clone(),
            whole: stored.body.clone(),
        }
    }
}

#[async_trait]
impl HandleHit for Reading {
    async fn read_body(&mut self) -> Result<Option<Bytes>> {
        let piece = std::mem::take(&mut self.rest);
        Ok((!piece.is_empty()).then_some(piece))
    }

    async fn finish(
        self: Box<Self>,
        _: &'static (dyn Storage + Sync),
        _: &CacheKey,
        _: &SpanHandle,
    ) -> Result<()> {
        Ok(())
    }

    fn can_seek(&self) -> bool {
        true
    }

    /// Several parts are cut out of the whole by Pingora.
    fn can_seek_multipart(&self) -> bool {
        false
    }

    fn seek(&mut self, start: usize, end: Option<usize>) -> Result<()> {
        let end = end.unwrap_or(self.whole.len()).min(self.whole.len());
        self.rest = self.whole.slice(start.min(end)..end);
        Ok(())
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync) {
        self
    }

    fn as_any_mut(&mut self) -> &mut (dyn std::any::Any + Send + Sync) {
        self
    }
}
