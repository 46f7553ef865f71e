//! `Cache-Control` (RFC 9111, section 5.2), of requests and of answers.

use std::time::Duration;

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// Longest time that is told from a longer one, in seconds (section 1.2.2).
const LONGEST: u64 = 1 << 31;

/// What all lines of the header say together. Where they contradict each other, the strictest counts.
#[derive(Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "directives that are there or not"
)]
pub(super) struct CacheControl {
    pub(super) no_store: bool,
    /// Also with a list of fields: that form may be read as the whole (section 5.2.2.4), as may
    /// that of `private`.
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) only_if_cached: bool,
    pub(super) max_age: Option<Duration>,
    pub(super) s_maxage: Option<Duration>,
    pub(super) min_fresh: Option<Duration>,
    /// RFC 5861, sections 3 and 4.
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// Reads the header of an answer.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        for line in headers.get_all(CACHE_CONTROL) {
            for directive in split(line.as_bytes()) {
                control.take(directive);
            }
        }
        control
    }

    /// Reads the header of a request, or what came before it (section 5.4).
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        let mut control = Self::of(headers);
        if !headers.contains_key(CACHE_CONTROL) {
            let old = headers.get(PRAGMA).map(http::HeaderValue::as_bytes);
            control.no_cache |= old.is_some_and(|old| old.eq_ignore_ascii_case(b"no-cache"));
        }
        control
    }

    fn take(&mut self, directive: &[u8]) {
        let equals = memchr::memchr(b'=', directive).unwrap_or(directive.len());
        let (name, value) = directive.split_at(equals);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let is = |known: &str| name.trim_ascii().eq_ignore_ascii_case(known.as_bytes());
        if is("no-store") {
            self.no_store = true;
        } else if is("no-cache") {
            self.no_cache = true;
        } else if is("private") {
            self.private = true;
        } else if is("public") {
            self.public = true;
        } else if is("must-revalidate") {
            self.must_revalidate = true;
        } else if is("proxy-revalidate") {
            self.proxy_revalidate = true;
        } else if is("only-if-cached") {
            self.only_if_cached = true;
        } else if is("max-age") {
            note(&mut self.max_age, value);
        } else if is("s-maxage") {
            note(&mut self.s_maxage, value);
        } else if is("min-fresh") {
            self.min_fresh = Some(seconds(value).unwrap_or(Duration::from_secs(LONGEST)));
        } else if is("stale-while-revalidate") {
            note(&mut self.stale_while_revalidate, value);
        } else if is("stale-if-error") {
            note(&mut self.stale_if_error, value);
        }
    }
}

/// Keeps the shortest. What is no number of seconds is none (section 4.2.1).
fn note(time: &mut Option<Duration>, value: &[u8]) {
    let new = seconds(value).unwrap_or(Duration::ZERO);
    *time = Some(time.map_or(new, |before| before.min(new)));
}

fn seconds(value: &[u8]) -> Option<Duration> {
    let quoted = value.strip_prefix(b"\"");
    let value = quoted
        .and_then(|value| value.strip_suffix(b"\""))
        .unwrap_or(value);
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = std::str::from_utf8(value).ok()?.parse().unwrap_or(LONGEST);
    Some(Duration::from_secs(number.min(LONGEST)))
}

/// The members of a list, of which some may have commas in quotes.
fn split(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    line.split(move |&byte| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' => is_escaped = is_quoted,
            _ => {}
        }
        byte == b',' && !is_quoted
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(lines: &[&'static str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        CacheControl::of(&headers)
    }

    #[test]
    fn what_is_said_more_than_once_counts_as_the_strictest() {
        let age = |seconds| CacheControl {
            max_age: Some(Duration::from_secs(seconds)),
            ..CacheControl::default()
        };
        for (lines, expected) in [
            (&["max-age=10"][..], age(10)),
            (&["MAX-AGE = 10 "], age(10)),
            (&["max-age=\"10\""], age(10)),
            (&["max-age=10", "max-age=3"], age(3)),
            (&["max-age=-1"], age(0)),
            (&["max-age"], age(0)),
            (&["max-age=ten"], age(0)),
            (&["max-age=99999999999999999999"], age(LONGEST)),
            (&["x=\"a, max-age=1\", max-age=2"], age(2)),
            (&["x=\"\\\", max-age=1\", max-age=2"], age(2)),
            (&[", ,"], CacheControl::default()),
        ] {
            assert_eq!(read(lines), expected, "{lines:?}");
        }
        let several = read(&["no-cache=\"set-cookie, x\", Private", "no-store"]);
        assert!(several.no_cache && several.private && several.no_store);
    }
}
