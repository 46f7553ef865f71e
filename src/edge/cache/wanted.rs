//! What a request asks a cache for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};

use super::control::CacheControl;
use super::rules::Credentials;

/// Where an answer belongs: its URL as clients know it, and what the configuration makes of it.
///
/// SECURITY: all that an upstream is told of the URL is here (scheme, host with its port, path and
/// query as they were written), and what it is told beyond that is in `Vary`, or not told: see
/// [`is_not_told`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Tells routes that send the same URL to different places: one may have had another's URLs
    /// before the configuration was changed.
    pub(super) site: u64,
    pub(super) is_https: bool,
    /// Lower case, without port.
    pub(super) host: Box<str>,
    pub(super) port: Option<u16>,
    /// Path and query as they were written.
    pub(super) target: Box<str>,
}

/// One request, as the cache sees it.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) key: Key,
    /// As the upstream would get them, but for what belongs to its connection.
    pub(super) headers: HeaderMap,
    pub(super) credentials: Credentials,
    /// What the client says of freshness.
    pub(super) control: CacheControl,
    pub(super) began: Instant,
    /// When the upstream was asked for it.
    pub(super) asked: OnceLock<Instant>,
    /// The lifetime of what says nothing of its own.
    pub(super) ttl: Option<Duration>,
    /// Bytes of the largest answer that is kept.
    pub(super) max_size: u64,
    /// Bytes that all answers may take.
    pub(super) memory: usize,
    /// What the upstream is about to answer was purged meanwhile.
    pub(super) is_void: AtomicBool,
}

/// Headers that some frameworks take for another URL, method or host than the request's own.
const NOT_TOLD: [&str; 9] = [
    "x-original-url",
    "x-rewrite-url",
    "x-original-host",
    "x-host",
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-scheme",
    "front-end-https",
];

/// Whether a header of this name is not sent to an upstream whose answer could be kept, unless we say it.
///
/// SECURITY: it could change the answer for everybody who asks for the same URL, without being a
/// part of the question. A proxy that is trusted to say who the client is may pass on what that client has
/// written here.
pub(super) fn is_not_told(name: &HeaderName) -> bool {
    // Many programs read both as the same.
    let name = name.as_str().replace('_', "-");
    NOT_TOLD.contains(&name.as_str()) || name.starts_with("x-forwarded-") || name == "forwarded"
}

impl Wanted {
    /// When the upstream was asked for it, or might have been.
    pub(super) fn asked(&self) -> Instant {
        self.asked.get().copied().unwrap_or(self.began)
    }

    /// What it says under `name`, all lines as one (RFC 9110, section 5.3).
    pub(super) fn value(&self, name: &HeaderName) -> Option<Vec<u8>> {
        let mut lines = self.headers.get_all(name).iter();
        let mut value = lines.next()?.as_bytes().trim_ascii().to_vec();
        for line in lines {
            value.extend_from_slice(b", ");
            value.extend_from_slice(line.as_bytes().trim_ascii());
        }
        Some(value)
    }

    /// Has what comes of it not be kept.
    pub(super) fn make_void(&self) {
        self.is_void.store(true, Ordering::Release);
    }

    pub(super) fn is_void(&self) -> bool {
        self.is_void.load(Ordering::Acquire)
    }
}

impl Key {
    /// The key as bytes, in which no part can pass for another's.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.site.to_be_bytes());
        bytes.push(self.is_https.into());
        bytes.extend_from_slice(&self.port.unwrap_or(0).to_be_bytes());
        bytes.extend_from_slice(self.host.as_bytes());
        // A target begins with a slash, which no host has.
        bytes.extend_from_slice(self.target.as_bytes());
        bytes.push(0);
    }
}
