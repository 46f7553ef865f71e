//! The path of a request, in the one form that routing compares.
//!
//! A route is a promise about who sees a request, so no spelling of a path may reach a route's
//! neighbour. What reads differently in different programs is handled in three ways:
//!
//! 1. **Refused** by [`check`], for no honest client needs it: dot segments in any spelling
//!    (`..`, `%2e%2e`, `..%2f`, and `..;x`, which Java servers cut at the semicolon), backslashes,
//!    NUL, overlong UTF-8, percent signs that introduce nothing.
//! 2. **Normalised** by [`check`] (RFC 3986, section 6.2.2): characters that may stand as they are
//!    are decoded (`/%61pi` is `/api`), all others encoded with upper-case digits. The result is
//!    still an encoded path: decode it exactly once before it meets a file system.
//! 3. **Read twice**: empty segments, `%2F` and `;parameters` mean something to some upstreams and
//!    nothing to others. [`loosest_reading`] is the path as the most forgiving would read it, and
//!    the router refuses a request whose two readings belong to different routes.

use std::borrow::Cow;

/// Why a path is not served. All are the client's fault: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// `OPTIONS *`, or an authority where a path belongs.
    #[error("the path must begin with a slash")]
    NotAbsolute,
    /// A percent sign without two hexadecimal digits after it.
    #[error("the path has a percent sign that is not followed by two hexadecimal digits")]
    BadEncoding,
    /// `.` or `..` as a segment, in any spelling.
    #[error("the path has a dot segment")]
    DotSegment,
    /// A backslash or NUL, in any spelling.
    #[error("the path has a backslash or a NUL")]
    Forbidden,
    /// An encoding of a character that is longer than needed, made to hide a dot or slash.
    #[error("the path has overlong UTF-8")]
    Overlong,
    /// The path belongs to one route as it is written and to another as upstreams may read it.
    #[error(
        "the path can be read in two ways; write it without empty segments, %2F and semicolons"
    )]
    Ambiguous,
}

/// Judges and normalises the path of a request (without its query). Allocates only where the path
/// has something to decode or encode.
pub(crate) fn check(path: &str) -> Result<Cow<'_, str>, Refusal> {
    if !path.starts_with('/') {
        return Err(Refusal::NotAbsolute);
    }
    refuse_tricks(path)?;
    Ok(normalise(path))
}

/// The normal form of a path or of a route's pattern. Percent signs that introduce nothing, which
/// only patterns can have here, are encoded themselves.
pub(crate) fn normalise(path: &str) -> Cow<'_, str> {
    if path.bytes().all(stands_as_it_is) {
        return Cow::Borrowed(path);
    }
    let mut normal = String::with_capacity(path.len());
    for (byte, written) in tokens(path) {
        if stands_as_it_is(byte) && (byte != b'/' || written.len() == 1) {
            normal.push(char::from(byte));
        } else {
            push_encoded(&mut normal, byte);
        }
    }
    Cow::Owned(normal)
}

/// A normal path as the most forgiving upstream reads it: `%2F` is a slash, runs of slashes are
/// one, segments end at their semicolon. `None` where that is the path itself.
pub(crate) fn loosest_reading(path: &str) -> Option<String> {
    if !(path.contains("//") || path.contains(';') || path.contains("%2F")) {
        return None;
    }
    let mut reading = String::with_capacity(path.len());
    for segment in path.replace("%2F", "/").split('/') {
        let name = segment.split(';').next().unwrap_or_default();
        if !name.is_empty() {
            reading.push('/');
            reading.push_str(name);
        }
    }
    if reading.is_empty() || path.ends_with('/') {
        reading.push('/');
    }
    Some(reading)
}

/// What follows `prefix` (a normal path) in `path` as the client wrote it, so that a prefix can be
/// stripped without changing one byte of the rest. `None` where `path` does not begin with it.
pub(crate) fn rest_as_written<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let mut written = tokens(path);
    let mut at = 0;
    for (expected, expected_token) in tokens(prefix) {
        let (byte, token) = written.next()?;
        // An encoded slash is another character than a slash.
        if byte != expected || (byte == b'/' && token.len() != expected_token.len()) {
            return None;
        }
        at += token.len();
    }
    Some(&path[at..])
}

/// Runs over the decoded path once and refuses what has a second meaning.
fn refuse_tricks(path: &str) -> Result<(), Refusal> {
    /// The beginning of the current segment, as far as it matters.
    #[derive(Clone, Copy, PartialEq)]
    enum Segment {
        Empty,
        Dot,
        DotDot,
        Named,
    }
    let mut segment = Segment::Empty;
    let mut in_parameters = false;
    let mut previous = 0;
    for (byte, written) in tokens(path) {
        match byte {
            b'%' if written.len() == 1 => return Err(Refusal::BadEncoding),
            b'\\' | 0 => return Err(Refusal::Forbidden),
            // Dropped with the parameters, or a new segment: `/a;%2Fb` is `/a` or `/a/b`.
            b'/' if in_parameters && written.len() > 1 => return Err(Refusal::Ambiguous),
            0x80..=0xBF if is_overlong(previous, byte) => return Err(Refusal::Overlong),
            _ => {}
        }
        segment = match (byte, segment) {
            (b'/' | b';', Segment::Dot | Segment::DotDot) => return Err(Refusal::DotSegment),
            (b'/', _) => Segment::Empty,
            (b'.', Segment::Empty) => Segment::Dot,
            (b'.', Segment::Dot) => Segment::DotDot,
            _ => Segment::Named,
        };
        in_parameters = byte != b'/' && (in_parameters || byte == b';');
        previous = byte;
    }
    match segment {
        Segment::Dot | Segment::DotDot => Err(Refusal::DotSegment),
        Segment::Empty | Segment::Named => Ok(()),
    }
}

/// Whether two bytes begin a UTF-8 sequence that a shorter one could replace (RFC 3629, section 3).
fn is_overlong(lead: u8, continuation: u8) -> bool {
    matches!(
        (lead, continuation),
        (0xC0 | 0xC1, 0x80..=0xBF) | (0xE0, 0x80..=0x9F) | (0xF0, 0x80..=0x8F)
    )
}

/// `pchar` without `pct-encoded`, and the slash (RFC 3986, section 3.3).
fn stands_as_it_is(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

/// Each byte of the decoded path with how it is written: itself, or its percent triplet.
fn tokens(path: &str) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = path.as_bytes();
    std::iter::from_fn(move || {
        let decoded = match rest {
            [b'%', high, low, ..] => hex_digit(*high)
                .zip(hex_digit(*low))
                .map(|(high, low)| high << 4 | low),
            _ => None,
        };
        let length = if decoded.is_some() { 3 } else { 1 };
        let (written, remaining) = rest.split_at_checked(length)?;
        rest = remaining;
        Some((decoded.unwrap_or(written[0]), written))
    })
}

fn hex_digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

fn push_encoded(text: &mut String, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    text.push('%');
    text.push(char::from(DIGITS[usize::from(byte >> 4)]));
    text.push(char::from(DIGITS[usize::from(byte & 0xF)]));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_have_one_form() {
        let table = [
            ("/", "/", "the root"),
            ("/api/notes", "/api/notes", "as it is"),
            ("/%61pi/", "/api/", "unreserved characters are decoded"),
            ("/%7euser", "/~user", "a tilde too"),
            ("/a%3ab%40c", "/a:b@c", "and what may stand in a segment"),
            ("/caf%c3%a9", "/caf%C3%A9", "upper-case digits"),
            ("/a%2fb", "/a%2Fb", "an encoded slash is no slash"),
            ("/100%25", "/100%25", "a percent sign stays encoded"),
            ("/%2525", "/%2525", "and is decoded once only"),
            ("/a|b\u{e9}", "/a%7Cb%C3%A9", "what must be encoded is"),
            ("//a//b", "//a//b", "empty segments stay"),
            (
                "/.well-known/x",
                "/.well-known/x",
                "a name may begin with a dot",
            ),
            ("/a/...", "/a/...", "three dots are a name"),
            ("/a..b/c.", "/a..b/c.", "dots inside a name"),
            (
                "/a;x/b%2Fc",
                "/a;x/b%2Fc",
                "parameters end with their segment",
            ),
            ("/%C0.html", "/%C0.html", "Latin-1 is odd, not overlong"),
        ];
        for (path, normal, why) in table {
            assert_eq!(check(path).as_deref(), Ok(normal), "{why}");
        }
        assert!(matches!(check("/api/notes"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn tricks_are_refused() {
        use Refusal::{Ambiguous, BadEncoding, DotSegment, Forbidden, NotAbsolute, Overlong};
        let table = [
            ("", NotAbsolute),
            ("*", NotAbsolute),
            ("api", NotAbsolute),
            ("/static/../api", DotSegment),
            ("/static/..", DotSegment),
            ("/./a", DotSegment),
            ("/.", DotSegment),
            ("/%2e%2E/a", DotSegment),
            ("/.%2e/a", DotSegment),
            ("/static/..%2fapi", DotSegment),
            ("/static%2f..%2fapi", DotSegment),
            ("/static/..;/api", DotSegment),
            ("/static/..%3bx/api", DotSegment),
            ("/static/.;x/api", DotSegment),
            ("/static\\..\\api", Forbidden),
            ("/static%5capi", Forbidden),
            ("/a%00", Forbidden),
            ("/%", BadEncoding),
            ("/%2", BadEncoding),
            ("/%zz", BadEncoding),
            ("/%+1", BadEncoding),
            ("/%C0%AE%C0%AE/", Overlong),
            ("/%c1%9c", Overlong),
            ("/%E0%80%AF", Overlong),
            ("/%F0%80%80%AF", Overlong),
            ("/a;x%2Fb", Ambiguous),
            ("/a%3b%2fb", Ambiguous),
        ];
        for (path, refusal) in table {
            assert_eq!(check(path), Err(refusal), "{path}");
        }
    }

    #[test]
    fn the_loosest_reading_is_what_a_forgiving_upstream_sees() {
        let table = [
            ("/api/notes", None),
            ("//api", Some("/api")),
            ("/a//b/", Some("/a/b/")),
            ("/api%2Fnotes", Some("/api/notes")),
            ("/api;v=1/notes", Some("/api/notes")),
            ("/;x/api", Some("/api")),
            ("//", Some("/")),
        ];
        for (path, reading) in table {
            assert_eq!(loosest_reading(path).as_deref(), reading, "{path}");
        }
    }

    #[test]
    fn a_prefix_is_stripped_from_the_path_as_written() {
        let table = [
            ("/app/x%2Fy", "/app", Some("/x%2Fy")),
            ("/%61pp/%7Ex", "/app", Some("/%7Ex")),
            ("/caf%c3%a9/x", "/caf%C3%A9", Some("/x")),
            ("/app", "/app", Some("")),
            ("/ap", "/app", None),
            ("/a%2Fb", "/a/b", None),
            ("/x", "", Some("/x")),
        ];
        for (path, prefix, rest) in table {
            assert_eq!(rest_as_written(path, prefix), rest, "{path}");
        }
    }

    proptest! {
        /// The normal form is a fixed point and means the same bytes.
        #[test]
        fn normalising_changes_the_spelling_only(path in r"/([a-z./;%~|é]|%[0-9a-fA-F]{2}){0,20}") {
            let decode = |text: &str| tokens(text).map(|(byte, _)| byte).collect::<Vec<_>>();
            if let Ok(normal) = check(&path) {
                prop_assert_eq!(decode(&normal), decode(&path));
                let again = check(&normal).unwrap();
                prop_assert_eq!(again, normal.clone());
            }
        }

        /// However an upstream decodes and cleans an accepted path, it climbs nowhere.
        #[test]
        fn accepted_paths_never_climb(path in r"/([a.;/\\]|%2[eEfF]|%5[cC]|%3[bB]|%[cC]0|%[aA][eEfF]){0,14}") {
            if check(&path).is_ok() {
                let decoded: Vec<u8> = tokens(&path).map(|(byte, _)| byte).collect();
                let segments = decoded
                    .split(|byte| b"/\\".contains(byte))
                    .map(|segment| segment.split(|byte| *byte == b';').next().unwrap());
                for segment in segments {
                    prop_assert!(segment != b"." && segment != b".." && !segment.starts_with(b"\xC0\xAE"));
                }
            }
        }
    }
}
