//! The cache as Pingora asks it: where it looks, where it writes, and what it need not try.
//!
//! Pingora's own storage is for tests, and its eviction counts bytes that it doesn't hold. Ours
//! selects by `Vary` itself: a [`CacheKey`] carries the whole request, and its bytes only say who
//! waits for whom.

use std::sync::Arc;

use async_trait::async_trait;
use pingora_cache::key::CacheHashKey;
use pingora_cache::lock::{CacheKeyLock, LockStatus, Locked, WritePermit};
use pingora_cache::predictor::CacheablePredictor;
use pingora_cache::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, PurgeType};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheKey, CacheMeta, NoCacheReason, Storage};
use pingora_core::{Error, ErrorType, Result};

use super::Cache;
use super::fill::Fill;
use super::look::will_do;
use super::rules::Terms;
use super::stored::{Reading, Stored};
use super::wanted::Wanted;

/// What an answer that can't be kept is called. The reason stands for all questions like this one.
pub(super) const UNCACHEABLE: NoCacheReason = NoCacheReason::Custom("uncacheable");
/// The same, where another request may be answered otherwise.
pub(super) const CLIENT_ERROR: NoCacheReason = NoCacheReason::Custom("client error");

impl Cache {
    /// The key that Pingora knows the request by. Requests with the same bytes wait for each other.
    pub(super) fn key_of(&self, wanted: &Arc<Wanted>) -> CacheKey {
        let mut bytes = Vec::with_capacity(64 + wanted.key.target.len());
        wanted.key.write(&mut bytes);
        // Those who may get answers of their own wait for none that is for all, nor others for theirs.
        bytes.push(wanted.credentials.has_authorization.into());
        bytes.push(wanted.credentials.has_cookies.into());
        for value in self.store.selecting(wanted) {
            let value = value.as_deref();
            let length = value.map_or(u64::MAX, |value| value.len() as u64);
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(value.unwrap_or_default());
        }
        // Nor is there anything to wait for where each has to ask.
        if self.is_each_ones_own(wanted) {
            bytes.extend_from_slice(&Arc::as_ptr(wanted).addr().to_be_bytes());
        }
        let mut key = CacheKey::new(bytes, "");
        key.extensions.insert(wanted.clone());
        key
    }
}

fn wanted(key: &CacheKey) -> Result<&Arc<Wanted>> {
    present(key.extensions.get(), "a request")
}

/// What was put there before; Pingora has lost it where it is missing.
fn present<T>(part: Option<T>, what: &str) -> Result<T> {
    part.ok_or_else(|| Error::explain(ErrorType::InternalError, format!("{what} was lost")))
}

#[async_trait]
impl Storage for Cache {
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let stored = self.store.find(wanted(key)?);
        Ok(stored.map(|stored| {
            let reading: HitHandler = Box::new(Reading::of(&stored));
            (stored.meta(), reading)
        }))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<MissHandler> {
        let terms: &Terms = present(meta.extensions().get(), "an answer's terms")?;
        let head = meta.response_header().clone();
        let wanted = wanted(key)?.clone();
        Ok(Box::new(Fill::begin(
            &self.store,
            wanted,
            head,
            terms.clone(),
        )))
    }

    async fn purge(
        &'static self,
        _: PurgeTarget<'_>,
        _: PurgeType,
        _: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        // Nobody purges by a hash here; see `Store::purge`.
        Ok(PurgeOutcome::NotFound)
    }

    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<bool> {
        let before = present(Stored::behind(meta), "a stored answer")?;
        let terms: &Terms = present(meta.extensions().get(), "an answer's terms")?;
        let wanted = wanted(key)?;
        let (head, body) = (meta.response_header().clone(), before.body.clone());
        self.store
            .keep(wanted, Stored::new(wanted, head, body, terms.clone()));
        Ok(true)
    }

    fn as_any(&self) -> &(dyn std::any::Any + Send + Sync + 'static) {
        self
    }
}

impl CacheKeyLock for Cache {
    /// Who is to ask the upstream looks once more before it does: Pingora's look and its lock are two
    /// steps, and in between another request may have brought the answer and gone.
    fn lock(&self, key: &CacheKey, stale_writer: bool) -> Locked {
        let locked = self.asking.lock(key, stale_writer);
        let Locked::Write(permit) = locked else {
            return locked;
        };
        if !self.has_come(key) {
            return Locked::Write(permit);
        }
        // Whoever waits for what is done already looks again at once.
        let done = self.asking.lock(key, stale_writer);
        self.asking.release(key, permit, LockStatus::Done);
        done
    }

    /// Whoever waits for what each has to ask for asks now, all at once.
    fn release(&self, key: &CacheKey, permit: WritePermit, reason: LockStatus) {
        let wanted: Option<&Arc<Wanted>> = key.extensions.get();
        let is_in_vain = wanted.is_some_and(|wanted| self.is_each_ones_own(wanted));
        let reason = match reason {
            LockStatus::Done if is_in_vain => LockStatus::GiveUp,
            reason => reason,
        };
        self.asking.release(key, permit, reason);
    }
}

impl Cache {
    /// Whether what is stored for `wanted` has to be confirmed at each use.
    fn is_each_ones_own(&self, wanted: &Wanted) -> bool {
        let stored = self.store.glance(wanted);
        stored.is_some_and(|stored| !stored.terms.stand_alone())
    }

    fn has_come(&self, key: &CacheKey) -> bool {
        let wanted: Option<&Arc<Wanted>> = key.extensions.get();
        wanted.is_some_and(|wanted| {
            let stored = self.store.find(wanted);
            stored.is_some_and(|stored| will_do(&stored, wanted))
        })
    }
}

impl CacheablePredictor for Cache {
    fn cacheable_prediction(&self, key: &CacheKey) -> bool {
        !self.refused.has(hash(key))
    }

    fn mark_cacheable(&self, key: &CacheKey) -> bool {
        !self.refused.forget(hash(key))
    }

    fn mark_uncacheable(&self, key: &CacheKey, reason: NoCacheReason) -> Option<bool> {
        let is_likely_again = [UNCACHEABLE, NoCacheReason::ResponseTooLarge].contains(&reason);
        is_likely_again.then(|| self.refused.note(hash(key)))
    }
}

fn hash(key: &CacheKey) -> u128 {
    u128::from_be_bytes(key.primary_bin())
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use http::{HeaderMap, StatusCode};
    use pingora_http::ResponseHeader;

    use super::super::control::CacheControl;
    use super::super::rules::Credentials;
    use super::super::wanted::Key;
    use super::*;

    fn request() -> Arc<Wanted> {
        Arc::new(Wanted {
            key: Key {
                site: 0,
                is_https: false,
                host: "localhost".into(),
                port: None,
                target: "/".into(),
            },
            headers: HeaderMap::new(),
            credentials: Credentials::default(),
            control: CacheControl::default(),
            began: Instant::now(),
            asked: OnceLock::new(),
            ttl: None,
            max_size: 1000,
            memory: 100_000,
            is_void: AtomicBool::new(false),
        })
    }

    const MINUTE: Duration = Duration::from_mins(1);

    fn bring(cache: &Cache, wanted: &Wanted, lifetime: Duration) {
        let head = ResponseHeader::build(StatusCode::OK, None).unwrap();
        let terms = Terms {
            lifetime,
            age: Duration::ZERO,
            while_revalidated: Duration::ZERO,
            if_error: Duration::ZERO,
            is_assumed: false,
            is_for_authorized: false,
            vary: Vec::new(),
        };
        let stored = Stored::new(wanted, head, "hello".into(), terms);
        cache.store.keep(wanted, stored);
    }

    /// Whether a request that has looked, and found nothing of use, is to ask the upstream.
    fn asks(cache: &Cache, key: &CacheKey) -> bool {
        match cache.lock(key, false) {
            Locked::Write(permit) => {
                cache.release(key, permit, LockStatus::Done);
                true
            }
            Locked::Read(waits) => {
                assert!(!waits.locked(), "there is nobody to wait for");
                false
            }
        }
    }

    #[test]
    fn who_has_looked_too_early_looks_again_before_it_asks() {
        let cache = Cache::forever(1);
        let early = request();
        let key = cache.key_of(&early);
        let first = cache.lock(&key, false);
        let Locked::Write(first) = first else {
            panic!("somebody has to ask")
        };
        assert!(!cache.lock(&key, false).is_write(), "the others wait");
        bring(cache, &early, MINUTE);
        cache.release(&key, first, LockStatus::Done);
        assert!(!asks(cache, &key), "it came meanwhile");
        assert!(!asks(cache, &cache.key_of(&request())), "it is fresh");
    }

    #[test]
    fn what_each_use_has_to_confirm_is_waited_for_by_nobody() {
        let cache = Cache::forever(1);
        let first = request();
        let key = cache.key_of(&first);
        let Locked::Write(permit) = cache.lock(&key, false) else {
            panic!("somebody has to ask")
        };
        let Locked::Read(waits) = cache.lock(&cache.key_of(&request()), false) else {
            panic!("nobody knows yet what the first one gets")
        };
        bring(cache, &first, Duration::ZERO);
        cache.release(&key, permit, LockStatus::Done);
        assert_eq!(waits.lock_status(), LockStatus::GiveUp);

        let keys = [(); 2].map(|()| cache.key_of(&request()));
        let asking = keys.each_ref().map(|key| cache.lock(key, true));
        for (key, locked) in keys.iter().zip(asking) {
            let Locked::Write(permit) = locked else {
                panic!("each asks for himself")
            };
            cache.release(key, permit, LockStatus::Done);
        }
    }
}
