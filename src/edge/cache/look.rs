//! One request's way through the cache, phase by phase.
//!
//! 1. [`begin`]: may the cache be asked at all? Who asks for a part or sends HEAD gets one from what
//!    is stored and else goes on as if there were no cache, so that nobody waits for more than was
//!    asked for.
//! 2. [`Look::freshness_of`]: does what is stored please the client?
//! 3. [`Look::may_ask`]: the upstream is about to be asked; [`Look::prepare`]: what it isn't told.
//! 4. [`Look::judge`]: may its answer be kept? [`Look::count`]: as long as it doesn't get too large.
//! 5. [`Look::mark`]: what the client is told of all this.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{ACCEPT_ENCODING, AGE, CACHE_CONTROL, HOST, IF_RANGE, PRAGMA, RANGE};
use http::{HeaderValue, Method, StatusCode, Version};
use pingora_cache::{CacheMeta, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable};
use pingora_core::Result;
use pingora_http::{RequestHeader, ResponseHeader};
use pingora_proxy::{RangeType, Session, range_header_filter};

use super::heads::X_CACHE;
use super::outcome::Outcome;
use super::rules::{self, Refusal};
use super::storage::{CLIENT_ERROR, UNCACHEABLE};
use super::stored::Stored;
use super::wanted::{Wanted, is_not_told};
use super::{Cache, Plan, asking, heads};
use crate::edge::exchange::Exchange;
use crate::edge::freshness::Freshness;
use crate::edge::message::content_length;

/// Who asks for as many parts as this gets the whole.
const PARTS: usize = 64;

/// What the cache is asked for one request on a route that has one.
pub(crate) struct Look {
    cache: &'static Cache,
    /// `None` where it is not asked.
    wanted: Option<Arc<Wanted>>,
    /// The client wants nothing of the upstream.
    only_if_cached: bool,
    /// What has confirmed the stored answer.
    confirmation: Option<Box<ResponseHeader>>,
    /// Something was stored, and was too old.
    is_expired: bool,
    /// The last answer to this question could not be kept, so the cache was passed by.
    is_passed_by: bool,
    /// Bytes of the answer's body.
    received: u64,
    /// The version that the client speaks, while the request pretends to be of another.
    version: Option<Version>,
    outcome: Option<Outcome>,
}

/// Begins it, and enables the cache where that is to be asked. Whoever is told of the host from here on is
/// told it in one spelling.
pub(crate) fn begin(
    cache: &'static Cache,
    plan: &Plan,
    session: &mut Session,
    exchange: &mut Exchange,
) -> Look {
    exchange.authority = exchange.authority.as_ref().and_then(asking::normal);
    let wanted = asking::read(plan, session, exchange);
    let only_if_cached = wanted
        .as_ref()
        .is_some_and(|wanted| wanted.control.only_if_cached);
    let wanted = wanted.filter(|wanted| is_worth_asking(cache, wanted, session));
    if wanted.is_some() {
        cache.enable_for(session);
    }
    Look {
        cache,
        wanted: wanted.map(Arc::new),
        only_if_cached,
        confirmation: None,
        is_expired: false,
        is_passed_by: false,
        received: 0,
        version: None,
        outcome: None,
    }
}

/// Whether the cache can give just what is asked for.
fn is_worth_asking(cache: &Cache, wanted: &Wanted, session: &Session) -> bool {
    let head = session.req_header();
    if head.method == Method::GET && !head.headers.contains_key(RANGE) {
        return true;
    }
    let stored = cache.store.find(wanted);
    stored.is_some_and(|stored| will_do(&stored, wanted))
}

/// Whether `stored` answers `wanted` without anybody being asked.
pub(super) fn will_do(stored: &Stored, wanted: &Wanted) -> bool {
    !stored.remains().is_zero() && pleases(stored, wanted)
}

/// Whether `stored` is as fresh as the client asks for. What the upstream was asked for after that is as good
/// as an answer of its own.
fn pleases(stored: &Stored, wanted: &Wanted) -> bool {
    let control = &wanted.control;
    let is_as_asked = !control.no_cache
        && control
            .max_age
            .is_none_or(|max_age| stored.age() <= max_age)
        && control
            .min_fresh
            .is_none_or(|least| stored.remains() >= least);
    is_as_asked || stored.asked >= wanted.began
}

impl Look {
    /// The request, where the cache is asked.
    pub(super) fn wanted(&self) -> Option<&Arc<Wanted>> {
        self.wanted.as_ref()
    }

    /// What Pingora is to think of the stored answer that it has found.
    pub(crate) fn freshness_of(
        &mut self,
        meta: &CacheMeta,
        is_fresh: bool,
    ) -> Option<ForcedFreshness> {
        let (stored, wanted) = (Stored::behind(meta)?, self.wanted.as_ref()?);
        // SECURITY: what is not fresh stays so, though it was asked for after this request had begun: what each
        // use has to confirm may be another for each client (RFC 9111, sections 4 and 5.2.2.4).
        let pleases = pleases(stored, wanted);
        self.is_expired = !is_fresh || !pleases;
        (!pleases).then_some(ForcedFreshness::ForceExpired)
    }

    /// Whether the upstream may be asked; notes that it is.
    pub(crate) fn may_ask(&mut self, session: &Session) -> bool {
        self.is_passed_by = session.cache.bypassing();
        if let Some(wanted) = &self.wanted {
            let _ = wanted.asked.set(Instant::now());
            self.cache.store.note_underway(wanted);
        }
        !self.only_if_cached
    }

    /// Leaves out what must make no difference to an answer that is kept; `authority` is the host that the
    /// client has named.
    pub(crate) fn prepare(
        &self,
        request: &mut RequestHeader,
        authority: Option<&HeaderValue>,
    ) -> Result<()> {
        if let Some(authority) = authority {
            request.insert_header(HOST, authority)?;
        }
        let Some(wanted) = &self.wanted else {
            return Ok(());
        };
        let names = request.headers.keys().filter(|name| is_not_told(name));
        for name in names.cloned().collect::<Vec<_>>() {
            request.remove_header(&name);
        }
        request.remove_header(&ACCEPT_ENCODING);
        let codings = wanted.headers.get(ACCEPT_ENCODING);
        codings.map_or(Ok(()), |codings| {
            request.insert_header(ACCEPT_ENCODING, codings)
        })
    }

    /// Looks at the head of the upstream's answer as it came.
    pub(crate) fn note_head(&mut self, session: &Session, head: &ResponseHeader) {
        if head.status == StatusCode::NOT_MODIFIED && session.cache.maybe_cache_meta().is_some() {
            self.confirmation = Some(Box::new(head.clone()));
        }
    }

    /// Whether the answer with the head `answer`, which came after `delay`, is to be kept, and on
    /// which terms.
    pub(crate) fn judge(
        &mut self,
        session: &Session,
        answer: &ResponseHeader,
        delay: Duration,
    ) -> RespCacheable {
        let Some(wanted) = &self.wanted else {
            return RespCacheable::Uncacheable(UNCACHEABLE);
        };
        let before = session.cache.maybe_cache_meta().and_then(Stored::behind);
        let mut head = answer.clone();
        if let (Some(confirmation), Some(before)) = (self.confirmation.take(), before) {
            head = heads::confirmed(&before.head, &confirmation);
        }
        let length = content_length(&head.headers);
        let now = SystemTime::now();
        let judged = if length.is_some_and(|length| length > wanted.max_size) {
            Err(NoCacheReason::ResponseTooLarge)
        } else {
            rules::judge(wanted.credentials, &head, wanted.ttl, delay, now).map_err(|refusal| {
                match refusal {
                    Refusal::Uncacheable => UNCACHEABLE,
                    Refusal::ClientError => CLIENT_ERROR,
                    // Whoever waits asks for himself, one after the other.
                    Refusal::ServerError => NoCacheReason::UpstreamError,
                }
            })
        };
        match judged {
            Ok(terms) => {
                heads::strip(&mut head);
                let mut meta = CacheMeta::new(now + terms.lifetime, now, 0, 0, head);
                meta.extensions_mut().insert(terms);
                RespCacheable::Cacheable(meta)
            }
            Err(reason) => {
                // The upstream has taken back what it said before.
                if let Some(before) = before
                    && reason != NoCacheReason::UpstreamError
                {
                    self.cache.store.remove(before);
                }
                RespCacheable::Uncacheable(reason)
            }
        }
    }

    /// Counts bytes of the upstream's body; too many of them are not kept, and nobody waits for
    /// their end.
    pub(crate) fn count(&mut self, session: &mut Session, bytes: usize) {
        let Some(wanted) = &self.wanted else {
            return;
        };
        self.received += bytes as u64;
        let is_kept = matches!(
            session.cache.phase(),
            CachePhase::Miss | CachePhase::Expired
        );
        if is_kept && self.received > wanted.max_size {
            let reason = NoCacheReason::ResponseTooLarge;
            session.cache.response_became_uncacheable(reason);
            session.cache.disable(reason);
        }
    }

    /// Puts on the answer's head what the cache has to say. Returns how long it may be said again,
    /// if it may be.
    pub(crate) fn mark(
        &mut self,
        session: &mut Session,
        head: &mut ResponseHeader,
    ) -> Result<Option<Freshness>> {
        if let Some(version) = self.version.take() {
            session.req_header_mut().set_version(version);
        }
        let outcome = self.outcome_of(session.cache.phase());
        self.outcome = Some(outcome);
        head.insert_header(X_CACHE, HeaderValue::from_static(outcome.as_str()))?;
        if matches!(outcome, Outcome::Miss | Outcome::Expired | Outcome::Bypass) {
            return Ok(None);
        }
        let meta = session.cache.maybe_cache_meta();
        let Some(stored) = meta.and_then(Stored::behind) else {
            return Ok(None);
        };
        if outcome != Outcome::Revalidated {
            head.insert_header(AGE, stored.age().as_secs())?;
        }
        // What the client says of freshness is no part of a ready answer's question.
        let is_plain = self.wanted.as_ref().is_some_and(|wanted| {
            let fields = &wanted.headers;
            !fields.contains_key(CACHE_CONTROL) && !fields.contains_key(PRAGMA)
        });
        let may_be_repeated = outcome == Outcome::Hit && is_plain && stored.freshness.is_fresh();
        Ok(may_be_repeated.then(|| stored.freshness.clone()))
    }

    fn outcome_of(&self, phase: CachePhase) -> Outcome {
        match phase {
            CachePhase::Hit => Outcome::Hit,
            CachePhase::Stale | CachePhase::StaleUpdating => Outcome::Stale,
            CachePhase::Revalidated | CachePhase::RevalidatedNoCache(_) => Outcome::Revalidated,
            // Whether it is kept or not is of no interest to who has got it.
            _ if self.wanted.is_none() || self.is_passed_by => Outcome::Bypass,
            _ if self.is_expired => Outcome::Expired,
            _ => Outcome::Miss,
        }
    }

    /// Has a request that Pingora is about to repeat in the background be one that it can repeat:
    /// it writes the head down as HTTP/1.1 and reads it again, and does not know how to do that for
    /// HTTP/2.
    pub(crate) fn make_repeatable(
        &mut self,
        session: &mut Session,
        authority: Option<&HeaderValue>,
    ) {
        let head = session.req_header_mut();
        if head.version != Version::HTTP_2 {
            return;
        }
        if let Some(authority) = authority
            && head.insert_header(HOST, authority).is_err()
        {
            return;
        }
        self.version = Some(head.version);
        head.set_version(Version::HTTP_11);
    }

    /// What became of it, for the log; `None` where no answer has come from here or the upstream.
    pub(crate) fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }
}

/// Lets go of what the request has changed, if the upstream has accepted it with `status` (RFC 9111,
/// section 4.4).
pub(crate) fn invalidate(
    cache: &Cache,
    plan: &Plan,
    session: &Session,
    exchange: &Exchange,
    status: StatusCode,
) {
    let is_accepted = status.is_success() || status.is_redirection();
    if is_accepted
        && !session.req_header().method.is_safe()
        && let Some(key) = asking::key(plan, session, exchange)
    {
        cache.store.invalidate(key);
    }
}

/// The part of a stored answer that the client asks for, and its head.
pub(crate) fn part(session: &Session, head: &mut ResponseHeader) -> RangeType {
    use CachePhase::{Hit, Revalidated, RevalidatedNoCache, Stale, StaleUpdating};
    let request = session.req_header();
    let is_stored = matches!(
        session.cache.phase(),
        Hit | Stale | StaleUpdating | Revalidated | RevalidatedNoCache(_)
    );
    // A weak validator selects no part (RFC 9110, section 13.1.5).
    let condition = request.headers.get(IF_RANGE).map(HeaderValue::as_bytes);
    if !is_stored || condition.is_some_and(|condition| condition.starts_with(b"W/")) {
        return RangeType::None;
    }
    range_header_filter(request, head, Some(PARTS))
}
