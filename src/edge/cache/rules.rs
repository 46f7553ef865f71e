//! Whether an answer may be kept, for whom, and how long it may be given (RFC 9111, sections 3 and
//! 4). Pure.

use std::time::{Duration, SystemTime};

use http::header::{
    AGE, CONTENT_LENGTH, CONTENT_TYPE, DATE, ETAG, EXPIRES, LAST_MODIFIED, SET_COOKIE, TRAILER,
    TRANSFER_ENCODING, VARY,
};
use http::{HeaderMap, HeaderName, StatusCode, Version};
use pingora_http::ResponseHeader;

use super::control::CacheControl;

/// What a request brings that speaks for one person.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) has_authorization: bool,
    /// Cookies, unless the route says that they make no difference.
    pub(super) has_cookies: bool,
}

impl Credentials {
    pub(super) fn are_none(self) -> bool {
        self == Self::default()
    }
}

/// On which terms an answer is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Terms {
    /// From when it was made.
    pub(super) lifetime: Duration,
    /// How old it was when it came.
    pub(super) age: Duration,
    /// How long after its lifetime it may be given while it is asked for anew.
    pub(super) while_revalidated: Duration,
    /// How long after its lifetime it may be given when the upstream fails.
    pub(super) if_error: Duration,
    /// The upstream has said nothing, and the route's `ttl` is its lifetime.
    pub(super) is_assumed: bool,
    /// Also those who bring `Authorization` may have it (section 3.5).
    pub(super) is_for_authorized: bool,
    /// What selects it besides its URL, in order.
    pub(super) vary: Vec<HeaderName>,
}

impl Terms {
    /// Whether it may be given for a time without the upstream being asked first.
    pub(super) fn stand_alone(&self) -> bool {
        self.lifetime + self.while_revalidated > self.age
    }
}

/// Why an answer is not kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The next one to the same question is likely to be refused as well.
    Uncacheable,
    /// Something was wrong with this request.
    ClientError,
    /// The upstream is not well.
    ServerError,
}

/// Judges the answer to a GET. `ttl` is the lifetime of what says nothing of its own, `delay` how
/// long the answer took to come, `now` is when it came.
pub(super) fn judge(
    credentials: Credentials,
    answer: &ResponseHeader,
    ttl: Option<Duration>,
    delay: Duration,
    now: SystemTime,
) -> Result<Terms, Refusal> {
    let headers = &answer.headers;
    let control = CacheControl::of(headers);
    let refusal = match answer.status {
        status if status.is_server_error() => Refusal::ServerError,
        status if status.is_client_error() => Refusal::ClientError,
        _ => Refusal::Uncacheable,
    };
    let is_part = [StatusCode::PARTIAL_CONTENT, StatusCode::NOT_MODIFIED].contains(&answer.status);
    if answer.status.is_informational()
        || is_part
        || control.no_store
        || control.private
        || headers.contains_key(SET_COOKIE)
        || !has_an_end(answer)
    {
        return Err(refusal);
    }
    let is_for_authorized = control.public || control.must_revalidate || control.s_maxage.is_some();
    if credentials.has_authorization && !is_for_authorized {
        return Err(refusal);
    }
    let vary = vary(headers).ok_or(refusal)?;
    let said = if control.no_cache {
        Some(Duration::ZERO)
    } else {
        lifetime(&control, headers, now)
    };
    // SECURITY: an app that says nothing may still answer each of its users in another way.
    let may_assume = credentials.are_none() && is_usually_cacheable(answer.status);
    let (lifetime, is_assumed) = match (said, ttl) {
        (Some(said), _) => (said, false),
        (None, Some(ttl)) if may_assume => (ttl, true),
        (None, _) => return Err(refusal),
    };
    let is_strict = control.no_cache || control.must_revalidate || control.proxy_revalidate;
    let allowed = |time: Option<Duration>| time.filter(|_| !is_strict).unwrap_or_default();
    let terms = Terms {
        lifetime,
        age: age(headers, delay, now),
        while_revalidated: allowed(control.stale_while_revalidate),
        if_error: allowed(control.stale_if_error),
        is_assumed,
        is_for_authorized,
        vary,
    };
    // SECURITY: an app that has each use confirmed may answer each of its users in another way without
    // saying `private`.
    if !terms.stand_alone() && !credentials.are_none() {
        return Err(refusal);
    }
    let given_until = terms.lifetime + terms.while_revalidated.max(terms.if_error);
    let can_be_confirmed = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    if given_until <= terms.age && !can_be_confirmed {
        return Err(refusal);
    }
    Ok(terms)
}

/// How long it is fresh, as far as it says (section 4.2.1).
fn lifetime(control: &CacheControl, headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    if let Some(said) = control.s_maxage.or(control.max_age) {
        return Some(said);
    }
    let mut expires = headers.get_all(EXPIRES).iter();
    let first = expires.next()?;
    if expires.next().is_some() {
        return Some(Duration::ZERO);
    }
    let made = date(headers.get(DATE)).unwrap_or(now);
    // `0` and all that is no date lie in the past (section 5.3).
    let lifetime = date(Some(first)).and_then(|expires| expires.duration_since(made).ok());
    Some(lifetime.unwrap_or_default())
}

/// How old it is by what it says and how long it took (section 4.2.3).
fn age(headers: &HeaderMap, delay: Duration, now: SystemTime) -> Duration {
    let made = date(headers.get(DATE)).unwrap_or(now);
    let apparent = now.duration_since(made).unwrap_or_default();
    let told = headers.get(AGE).and_then(|age| {
        let first = age.to_str().ok()?.split(',').next()?;
        first.trim().parse::<u32>().ok()
    });
    let told = Duration::from_secs(told.unwrap_or(0).into()) + delay;
    // A date has no parts of a second: what seems to be one is none.
    Duration::from_secs(apparent.as_secs().saturating_sub(1)).max(told)
}

fn date(value: Option<&http::HeaderValue>) -> Option<SystemTime> {
    httpdate::parse_http_date(value?.to_str().ok()?).ok()
}

/// Statuses whose answers `ttl` may keep. Those of RFC 9110, section 15.1, but for the errors: a
/// page that is not there yet, or a method that is not known yet, shall be there when it is.
fn is_usually_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308 | 410)
}

/// Whether it has an end that can be told from its breaking off, and comes to it by itself.
fn has_an_end(answer: &ResponseHeader) -> bool {
    let headers = &answer.headers;
    let is_framed = headers.contains_key(CONTENT_LENGTH)
        || headers.contains_key(TRANSFER_ENCODING)
        || answer.status == StatusCode::NO_CONTENT
        || answer.version >= Version::HTTP_2;
    let content_type = headers.get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
    let is_stream = content_type.is_some_and(|content_type| {
        let begins = |known: &[u8]| {
            let start = content_type.get(..known.len());
            start.is_some_and(|start| start.eq_ignore_ascii_case(known))
        };
        begins(b"text/event-stream") || begins(b"application/grpc")
    });
    // Trailers are not kept.
    is_framed && !is_stream && !headers.contains_key(TRAILER)
}

/// The names in `Vary`; `None` where no request can be seen to ask the same (section 4.1).
fn vary(headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for line in headers.get_all(VARY) {
        for name in line.as_bytes().split(|&byte| byte == b',') {
            let name = name.trim_ascii();
            if name == b"*" {
                return None;
            }
            if !name.is_empty() {
                names.push(HeaderName::from_bytes(name).ok()?);
            }
        }
    }
    names.sort_unstable_by(|one, two| one.as_str().cmp(two.as_str()));
    names.dedup();
    Some(names)
}
