//! Which hosts are meant.

use std::fmt;

use url::Host;

use super::Invalid;

/// `notes.example.com` or `*.example.com`, lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name only.
    Exact(String),
    /// One label in front of this suffix; the suffix is kept without its leading dot.
    Wildcard(String),
}

impl HostPattern {
    /// `notes.example.com`, `*.example.com`, or an address. Names outside ASCII become punycode; an
    /// IPv6 address is kept in brackets, as it stands in a `Host` header.
    ///
    /// # Errors
    /// Says what a host may not contain.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if let Ok(address) = text.parse::<std::net::Ipv6Addr>() {
            return Ok(Self::Exact(format!("[{address}]")));
        }
        if let Some(suffix) = text.strip_prefix("*.") {
            let name = parse_name(suffix)?;
            if name.starts_with('[') || name.parse::<std::net::Ipv4Addr>().is_ok() {
                return Err(Invalid::new("an address has no wildcard"));
            }
            return Ok(Self::Wildcard(name));
        }
        parse_name(text).map(Self::Exact)
    }

    /// Whether some host is meant by both.
    pub(in crate::config) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), pattern) | (pattern, Self::Exact(name)) => pattern.matches(name),
            (Self::Wildcard(one), Self::Wildcard(two)) => one == two,
        }
    }

    /// Whether `host` (lower case, no port) is meant. A wildcard stands for exactly one label.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(suffix) => host
                .split_once('.')
                .is_some_and(|(label, rest)| !label.is_empty() && rest == suffix),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

fn parse_name(text: &str) -> Result<String, Invalid> {
    // As other servers spell it.
    if ["*", "_"].contains(&text) {
        return Err(Invalid::new(
            "any host is hosts = [] of [server], and a route without host",
        ));
    }
    if text.contains('*') {
        return Err(Invalid::new(
            r#"a wildcard is the whole first label, as in "*.example.com""#,
        ));
    }
    if text.ends_with('.') {
        return Err(Invalid::new("write the name without the dot at its end"));
    }
    if text.contains(['/', '@', '%']) || (text.contains(':') && !text.starts_with('[')) {
        return Err(Invalid::new(
            "a host is a name alone, without scheme, port or path",
        ));
    }
    let name = match Host::parse(text) {
        Ok(Host::Domain(name)) => name,
        Ok(address) => return Ok(address.to_string()),
        Err(_) => return Err(Invalid::new("not a host name")),
    };
    let is_label = |label: &str| {
        let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(inside)
    };
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(Invalid::new("not a host name"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        for (text, expected, why) in [
            ("_", None, "nginx's any"),
            ("*", None, "any"),
            ("_a.test", Some("_a.test"), "an underscore in a name"),
            ("localhost", Some("localhost"), "one label"),
            (
                "Notes.Example.COM",
                Some("notes.example.com"),
                "lower-cased",
            ),
            ("*.example.com", Some("*.example.com"), "a wildcard"),
            (
                "my_service",
                Some("my_service"),
                "Compose allows underscores",
            ),
            ("bücher.de", Some("xn--bcher-kva.de"), "punycode"),
            (
                "*.bücher.de",
                Some("*.xn--bcher-kva.de"),
                "punycode below a wildcard",
            ),
            ("127.0.0.1", Some("127.0.0.1"), "an address"),
            ("::1", Some("[::1]"), "as in a Host header"),
            ("[::1]", Some("[::1]"), "the same"),
            ("a.*.com", None, "a wildcard inside"),
            ("*", None, "no suffix"),
            ("n*.example.com", None, "part of a label"),
            ("*.10.0.0.1", None, "below an address"),
            ("example.com:443", None, "a port"),
            ("https://example.com", None, "a scheme"),
            ("example.com.", None, "a trailing dot"),
            ("a..b", None, "an empty label"),
            ("exa mple.com", None, "a space"),
            ("", None, "empty"),
        ] {
            let parsed = HostPattern::parse(text).ok().map(|host| host.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}: {why}");
        }
    }

    #[test]
    fn overlapping_hosts() {
        for (one, two, expected) in [
            ("a.example.com", "a.example.com", true),
            ("a.example.com", "*.example.com", true),
            ("*.example.com", "a.example.com", true),
            ("*.example.com", "*.example.com", true),
            ("example.com", "*.example.com", false),
            ("*.example.com", "*.a.example.com", false),
            ("a", "b", false),
        ] {
            let (one, two) = (
                HostPattern::parse(one).unwrap(),
                HostPattern::parse(two).unwrap(),
            );
            assert_eq!(one.overlaps(&two), expected, "{one} {two}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_to_the_same(text in "(\\*\\.)?[/a-zA-Z0-9.:*%é-]{0,12}") {
            if let Ok(parsed) = HostPattern::parse(&text) {
                prop_assert_eq!(HostPattern::parse(&parsed.to_string()), Ok(parsed));
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}") {
            let _ = HostPattern::parse(&text);
        }
    }
}
