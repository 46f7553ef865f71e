//! The `Forwarded` header (RFC 7239), read from its right end.
//!
//! SECURITY: from the right, because the left may be the client's own. Read from the left, a quote
//! that it leaves open would swallow the element that the proxy appended. For the same reason an
//! element with a backslash, which no address or scheme needs, is not read.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

use super::{Proto, parse_node};

/// The addresses of all lines, rightmost first; `None` for an element that has none or cannot be
/// read.
pub(super) fn addresses(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    elements(headers).map(|element| element.and_then(Element::address))
}

/// The scheme in the rightmost element.
pub(super) fn nearest_scheme(headers: &HeaderMap) -> Option<Proto> {
    Proto::parse(elements(headers).next()??.parameter("proto")?)
}

/// One `forwarded-element` (RFC 7239, section 4), not yet taken apart.
///
/// Bytes: what a client has put into one parameter, or further left, must not make the rest unreadable.
#[derive(Debug, Clone, Copy)]
struct Element<'a>(&'a [u8]);

/// The elements of all lines, rightmost first; `None` for one that cannot be read.
fn elements(headers: &HeaderMap) -> impl Iterator<Item = Option<Element<'_>>> {
    headers
        .get_all(FORWARDED)
        .iter()
        .rev()
        .flat_map(split_from_right)
        .filter(|element| element.is_none_or(|element| !element.0.is_empty()))
}

/// Takes a line apart at its commas, from the right.
fn split_from_right(line: &HeaderValue) -> impl Iterator<Item = Option<Element<'_>>> {
    let elements = line.as_bytes().rsplit(outside_quotes(b','));
    elements.map(|element| {
        let quotes = memchr::memchr_iter(b'"', element).count();
        let readable = !element.contains(&b'\\') && quotes.is_multiple_of(2);
        readable.then_some(Element(element.trim_ascii()))
    })
}

/// Whether a byte is a `separator` that stands outside quoted strings; it is to be asked of one after the
/// other.
fn outside_quotes(separator: u8) -> impl FnMut(&u8) -> bool {
    let mut quoted = false;
    move |byte| {
        quoted ^= *byte == b'"';
        *byte == separator && !quoted
    }
}

impl<'a> Element<'a> {
    /// The address of `for=`; `None` for obfuscated and `unknown` nodes too.
    fn address(self) -> Option<IpAddr> {
        parse_node(self.parameter("for")?)
    }

    /// The value of a parameter that occurs exactly once.
    fn parameter(self, name: &str) -> Option<&'a str> {
        let mut found = None;
        for pair in self.0.split(outside_quotes(b';')) {
            let pair = pair.trim_ascii();
            let (key, value) = pair.split_at(memchr::memchr(b'=', pair)?);
            if !key.eq_ignore_ascii_case(name.as_bytes()) {
                continue;
            }
            let value = match &value[1..] {
                [b'"', quoted @ .., b'"'] => quoted,
                bare => bare,
            };
            if value.contains(&b'"') || found.replace(value).is_some() {
                return None;
            }
        }
        str::from_utf8(found?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Proto;
    use super::super::tests::{PROXY, resolve};

    #[test]
    fn forwarded_is_read_where_x_forwarded_for_is_absent() {
        let table: &[(&[&str], &str, &str)] = &[
            (&["for=203.0.113.9"], "203.0.113.9", "token"),
            (
                &["For=\"[2001:db8::7]:4711\";proto=https"],
                "2001:db8::7",
                "quoted, any case",
            ),
            (
                &["for=6.6.6.6, for=203.0.113.9, for=10.0.0.2"],
                "203.0.113.9",
                "from the right",
            ),
            (
                &["for=6.6.6.6", "for=203.0.113.9"],
                "203.0.113.9",
                "several lines",
            ),
            (
                &["for=6.6.6.6, for=_hidden"],
                PROXY,
                "obfuscated ends the walk",
            ),
            (
                &["for=6.6.6.6, for=unknown"],
                PROXY,
                "unknown ends the walk",
            ),
            (
                &["for=6.6.6.6, by=10.0.0.9"],
                PROXY,
                "an element without for ends the walk",
            ),
            (&["for=6.6.6.6;for=203.0.113.9"], PROXY, "ambiguous"),
            (
                &["for=6.6.6.6;x=\", for=203.0.113.9"],
                "203.0.113.9",
                "a quote left open",
            ),
            (
                &["for=6.6.6.6;x=\", for=\"203.0.113.9\""],
                "203.0.113.9",
                "and closed by the proxy's",
            ),
            (
                &["for=6.6.6.6;x=\"\\, for=203.0.113.9"],
                "203.0.113.9",
                "a backslash further left",
            ),
            (
                &["for=6.6.6.6, host=\"a;for=6.6.6.6;b\""],
                PROXY,
                "for inside a string is none",
            ),
            (
                &["for=203.0.113.9;host=\"a,b\""],
                "203.0.113.9",
                "comma inside a string",
            ),
            (
                &["for=203.0.113.9;host=\"a\\\"b\""],
                PROXY,
                "escapes are not read",
            ),
        ];
        for (lines, expected, why) in table {
            let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
            assert_eq!(
                resolve(PROXY, &lines).address.to_string(),
                *expected,
                "{why}"
            );
        }
        let both = [
            ("forwarded", "for=6.6.6.6"),
            ("x-forwarded-for", "203.0.113.9"),
        ];
        assert_eq!(resolve(PROXY, &both).address.to_string(), "203.0.113.9");
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing() {
        let table: &[(&[u8], &str, &str)] = &[
            (b"\xe9, for=203.0.113.9", "203.0.113.9", "further left"),
            (
                b"for=6.6.6.6;x=\"\xe9, for=\"203.0.113.9\"",
                "203.0.113.9",
                "in a string left open",
            ),
            (
                b"for=203.0.113.9;host=\"\xe9\"",
                "203.0.113.9",
                "in another parameter",
            ),
            (
                b"for=6.6.6.6, for=\xe9, for=10.0.0.2",
                "10.0.0.2",
                "in place of an address: the walk ends",
            ),
            (
                b"for=6.6.6.6, for=\"203.0.113.9\xe9\"",
                PROXY,
                "beside an address",
            ),
        ];
        for (line, expected, why) in table {
            let client = resolve(PROXY, &[("forwarded", line)]);
            assert_eq!(client.address.to_string(), *expected, "{why}");
        }
        let line = b"for=\xe9;proto=http, for=203.0.113.9;proto=https";
        let client = resolve(PROXY, &[("forwarded", line)]);
        assert_eq!(client.scheme_override, Some(Proto::Https));
    }
}
