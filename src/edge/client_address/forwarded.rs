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
#[derive(Debug, Clone, Copy)]
struct Element<'a>(&'a str);

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
    line.to_str()
        .unwrap_or(r"\")
        .rsplit(outside_quotes(','))
        .map(|element| {
            let readable = !element.contains('\\') && element.matches('"').count() % 2 == 0;
            readable.then_some(Element(element.trim()))
        })
}

/// A pattern for a character that stands outside quoted strings.
fn outside_quotes(separator: char) -> impl FnMut(char) -> bool {
    let mut quoted = false;
    move |character| {
        quoted ^= character == '"';
        character == separator && !quoted
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
        for pair in self.0.split(outside_quotes(';')) {
            let (key, value) = pair.trim().split_once('=')?;
            if !key.eq_ignore_ascii_case(name) {
                continue;
            }
            let value = match value.strip_prefix('"') {
                Some(quoted) => quoted.strip_suffix('"')?,
                None => value,
            };
            if value.contains('"') || found.replace(value).is_some() {
                return None;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
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
}
