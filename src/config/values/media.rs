//! Which media types are meant.

use std::fmt;

use super::Invalid;

/// `text/*` or `application/json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MediaPattern {
    /// Every subtype of this type.
    Any(String),
    /// Exactly this `type/subtype`.
    Exact(String),
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
        fn what_parses_prints_to_the_same(text in "[a-zA-Z0-9.*%é-]{0,6}/?[a-zA-Z0-9.*%é-]{0,6}") {
            if let Ok(parsed) = MediaPattern::parse(&text) {
                prop_assert_eq!(MediaPattern::parse(&parsed.to_string()), Ok(parsed));
            }
        }

        #[test]
        fn parsing_never_panics(text in "\\PC{0,20}") {
            let _ = MediaPattern::parse(&text);
        }
    }
}
