//! What requests and answers are matched with: hosts, paths, media types.

use std::fmt;

use url::Host;

use super::Invalid;
use crate::config::{HostPattern, MediaPattern, PathPattern};

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
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl PathPattern {
    /// `/api/` (or `/api`, the same) for a path and all below it, `=/exact` for one path.
    ///
    /// # Errors
    /// Says what a path may not contain.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (exact, path) = match text.strip_prefix('=') {
            Some(path) => (true, path),
            None => (false, text),
        };
        if !path.starts_with('/') {
            return Err(Invalid::new(
                r#"a path begins with "/", or with "=/" to match only itself"#,
            ));
        }
        if path.contains('*') {
            return Err(Invalid::new(
                r#"a path has no wildcard; "/api/" means all below it"#,
            ));
        }
        if path.contains(['?', '#']) {
            return Err(Invalid::new("a path is matched without its query"));
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Invalid::new(
                "a path is printable ASCII; write other characters percent-encoded",
            ));
        }
        let prefix = path.strip_suffix('/').unwrap_or(path);
        if prefix
            .split('/')
            .skip(1)
            .any(|segment| matches!(segment, "" | "." | ".."))
        {
            return Err(Invalid::new(r#"a path has no empty, "." or ".." segment"#));
        }
        Ok(if exact {
            Self::Exact(path.to_owned())
        } else {
            Self::Prefix(prefix.to_owned())
        })
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "={path}"),
            Self::Prefix(prefix) => write!(f, "{prefix}/"),
        }
    }
}

impl MediaPattern {
    /// `text/*` or `application/json`, without parameters; lower-cased.
    ///
    /// # Errors
    /// Says how to write a media type.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(r#"not a media type; write for example "application/json" or "text/*""#)
        };
        let text = text.to_ascii_lowercase();
        let (kind, subtype) = text.split_once('/').ok_or_else(invalid)?;
        if !is_media_token(kind) {
            return Err(invalid());
        }
        match subtype {
            "*" => Ok(Self::Any(kind.to_owned())),
            subtype if is_media_token(subtype) => Ok(Self::Exact(text)),
            _ => Err(invalid()),
        }
    }
}

impl fmt::Display for MediaPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(kind) => write!(f, "{kind}/*"),
            Self::Exact(exact) => f.write_str(exact),
        }
    }
}

fn parse_name(text: &str) -> Result<String, Invalid> {
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

/// RFC 6838, section 4.2, the characters of a `restricted-name`.
fn is_media_token(text: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
    !text.is_empty() && text.bytes().all(inside)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        for (text, expected, why) in [
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

    #[test]
    fn paths() {
        for (text, expected, why) in [
            ("/", Some(PathPattern::Prefix(String::new())), "everything"),
            (
                "/api/",
                Some(PathPattern::Prefix("/api".into())),
                "a prefix",
            ),
            (
                "/api",
                Some(PathPattern::Prefix("/api".into())),
                "the same prefix",
            ),
            (
                "=/healthz",
                Some(PathPattern::Exact("/healthz".into())),
                "exact",
            ),
            (
                "=/a/",
                Some(PathPattern::Exact("/a/".into())),
                "exact with its slash",
            ),
            ("=/", Some(PathPattern::Exact("/".into())), "the root alone"),
            (
                "/caf%C3%A9",
                Some(PathPattern::Prefix("/caf%C3%A9".into())),
                "encoded",
            ),
            ("api", None, "relative"),
            ("=api", None, "relative"),
            ("/api/*", None, "a wildcard"),
            ("/a?b", None, "a query"),
            ("/a b", None, "a space"),
            ("/café", None, "not ASCII"),
            ("/a/../b", None, "a dot segment"),
            ("//a", None, "an empty segment"),
            ("/a//", None, "an empty segment"),
            ("", None, "empty"),
        ] {
            assert_eq!(PathPattern::parse(text).ok(), expected, "{text}: {why}");
        }
    }

    #[test]
    fn media_types() {
        for (text, expected, why) in [
            (
                "text/*",
                Some(MediaPattern::Any("text".into())),
                "every subtype",
            ),
            (
                "image/SVG+xml",
                Some(MediaPattern::Exact("image/svg+xml".into())),
                "lower-cased",
            ),
            ("text", None, "no subtype"),
            (
                "*/*",
                None,
                "everything is not wanted: images would be compressed again",
            ),
            ("text/html; charset=utf-8", None, "parameters"),
            ("text/", None, "empty subtype"),
        ] {
            assert_eq!(MediaPattern::parse(text).ok(), expected, "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_to_the_same(text in "(\\*\\.|=)?[/a-zA-Z0-9.:*%é-]{0,12}") {
            if let Ok(host) = HostPattern::parse(&text) {
                prop_assert_eq!(HostPattern::parse(&host.to_string()), Ok(host));
            }
            if let Ok(path) = PathPattern::parse(&text) {
                prop_assert_eq!(PathPattern::parse(&path.to_string()), Ok(path));
            }
            if let Ok(media) = MediaPattern::parse(&text) {
                prop_assert_eq!(MediaPattern::parse(&media.to_string()), Ok(media));
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}") {
            let _ = (HostPattern::parse(&text), PathPattern::parse(&text), MediaPattern::parse(&text));
        }
    }
}
