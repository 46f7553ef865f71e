//! Which paths are meant.

use std::fmt;

use super::Invalid;

/// `/api/` (a prefix at a segment boundary) or `=/exact`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// `/api/` matches `/api`, `/api/` and all below; kept without the trailing slash (`""` is everything).
    Prefix(String),
    /// This path only.
    Exact(String),
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

    /// Whether `path` (no query) is meant.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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

    proptest! {
        #[test]
        fn what_parses_prints_to_the_same(text in "=?/?[/a-zA-Z0-9.:*%é-]{0,12}") {
            if let Ok(parsed) = PathPattern::parse(&text) {
                prop_assert_eq!(PathPattern::parse(&parsed.to_string()), Ok(parsed));
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}") {
            let _ = PathPattern::parse(&text);
        }
    }
}
