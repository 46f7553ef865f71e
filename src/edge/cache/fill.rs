//! An answer on its way from an upstream to the store.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_LENGTH;
use pingora_cache::storage::{HandleMiss, MissFinishType};
use pingora_core::Result;
use pingora_http::ResponseHeader;

use super::rules::Terms;
use super::store::Store;
use super::stored::Stored;
use super::wanted::Wanted;

/// What has come so far. Dropped without [`finish`](HandleMiss::finish), nothing is kept: the body
/// broke off.
pub(super) struct Fill {
    store: &'static Store,
    wanted: Arc<Wanted>,
    head: ResponseHeader,
    terms: Terms,
    /// As many bytes are reserved as are in here. `None` where there was no memory for all of it.
    body: Option<Vec<u8>>,
}

impl Fill {
    pub(super) fn begin(
        store: &'static Store,
        wanted: Arc<Wanted>,
        head: ResponseHeader,
        terms: Terms,
    ) -> Self {
        Self {
            store,
            wanted,
            head,
            terms,
            body: Some(Vec::new()),
        }
    }

    fn give_up(&mut self) {
        if let Some(body) = self.body.take() {
            self.store.release(body.len());
        }
    }
}

#[async_trait]
impl HandleMiss for Fill {
    async fn write_body(&mut self, piece: Bytes, _: bool) -> Result<()> {
        if let Some(body) = &mut self.body {
            if self.store.reserve(piece.len(), self.wanted.memory) {
                body.extend_from_slice(&piece);
            } else {
                self.give_up();
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<MissFinishType> {
        let Some(body) = self.body.take() else {
            return Ok(MissFinishType::Created(0));
        };
        self.store.release(body.len());
        let mut head = self.head.clone();
        // Chunked or not, its length is known now. Nothing has none (RFC 9110, section 8.6).
        if head.status == StatusCode::NO_CONTENT {
            head.remove_header(&CONTENT_LENGTH);
        } else {
            head.insert_header(CONTENT_LENGTH, body.len())?;
        }
        let body = Bytes::from(body.into_boxed_slice());
        let stored = Stored::new(&self.wanted, head, body, self.terms.clone());
        let size = stored.size;
        self.store.keep(&self.wanted, stored);
        Ok(MissFinishType::Created(size))
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.give_up();
    }
}
