//! From the path of a URL to a path below the root, or a refusal.
//!
//! 1. Segments are split at `/` while still encoded, so an encoded slash can never become a separator.
//! 2. Each is percent-decoded exactly once; what a second decoding would turn into something else
//!    stays as it is and names a file with a percent sign.
//! 3. Each must then be a plain, visible name. `.`, `..` and dotfiles are refused alike.
//!
//! This is the first of two walls. The second is [`super::root`], where the kernel refuses to leave
//! the root whatever the path says.

use std::path::Path;

use http::StatusCode;

/// A path below a root: decoded, relative, every segment a plain visible name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelativePath {
    /// Segments joined by `/`; empty for the root itself.
    path: String,
    /// Whether the URL names a directory: nothing at all, or a trailing slash.
    is_directory: bool,
}

/// Why a path is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// A percent sign without two hexadecimal digits (RFC 3986, section 2.1).
    #[error("malformed percent-encoding")]
    Malformed,
    /// `%2F`: some would read it as a separator, some as part of a name.
    #[error("encoded slash")]
    EncodedSlash,
    /// `%2E`: nobody needs to encode a dot, except to hide one from whoever looks at the path first.
    #[error("encoded dot")]
    EncodedDot,
    /// A backslash, encoded or not: a separator to browsers and to Windows.
    #[error("backslash")]
    Backslash,
    /// NUL or another control character.
    #[error("control character")]
    Control,
    /// Not UTF-8: overlong forms and surrogates included.
    #[error("not UTF-8")]
    NotUtf8,
    /// Two slashes in a row. Folding them would give one file many addresses.
    #[error("empty segment")]
    Empty,
    /// `.`, `..`, or a dotfile outside of `/.well-known/` (RFC 8615).
    #[error("name begins with a dot")]
    Hidden,
}

/// The one directory beginning with a dot that is there to be seen (RFC 8615).
const WELL_KNOWN: &str = ".well-known";

impl RelativePath {
    /// Reads the path of a URL, still percent-encoded, with the route's prefix and one slash removed
    /// (`js/app.js` for `/static/js/app.js`).
    ///
    /// # Errors
    /// [`PathError`] for everything that is not plainly the name of something below the root.
    pub(crate) fn parse(encoded: &str) -> Result<Self, PathError> {
        if encoded.is_empty() {
            return Ok(Self {
                path: String::new(),
                is_directory: true,
            });
        }
        let (names, is_directory) = match encoded.strip_suffix('/') {
            Some(names) => (names, true),
            None => (encoded, false),
        };
        let mut path = String::with_capacity(names.len());
        for (index, segment) in names.split('/').enumerate() {
            let name = decode(segment)?;
            if name.starts_with('.') && !(index == 0 && name == WELL_KNOWN) {
                return Err(PathError::Hidden);
            }
            if index > 0 {
                path.push('/');
            }
            path.push_str(&name);
        }
        Ok(Self { path, is_directory })
    }

    /// The path to open, relative to the root.
    #[must_use]
    pub(crate) fn as_path(&self) -> &Path {
        Path::new(if self.path.is_empty() {
            "."
        } else {
            &self.path
        })
    }

    /// Whether the URL names a directory: nothing at all, or a trailing slash.
    #[must_use]
    pub(crate) fn is_directory(&self) -> bool {
        self.is_directory
    }

    /// The file `name` in this directory.
    #[must_use]
    pub(crate) fn child(&self, name: &str) -> Self {
        let path = if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.path)
        };
        Self {
            path,
            is_directory: false,
        }
    }

    /// The file with the same name and `ending` after it.
    #[must_use]
    pub(crate) fn with_ending(&self, ending: &str) -> Self {
        Self {
            path: format!("{}{ending}", self.path),
            is_directory: false,
        }
    }

    /// What the answers to this path are kept under: a directory's differs from a file's.
    #[must_use]
    pub(crate) fn key(&self) -> String {
        let slash = if self.is_directory && !self.path.is_empty() {
            "/"
        } else {
            ""
        };
        format!("{}{slash}", self.path)
    }
}

impl PathError {
    /// What the client is told: 400 for what is no URL, 404 for what is one of nothing here.
    #[must_use]
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            _ => StatusCode::NOT_FOUND,
        }
    }
}

/// One segment, decoded once, with everything refused that a later reader might see differently.
fn decode(segment: &str) -> Result<String, PathError> {
    if segment.is_empty() {
        return Err(PathError::Empty);
    }
    let mut name = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            name.push(byte);
            continue;
        }
        let digits = bytes.next().and_then(hex).zip(bytes.next().and_then(hex));
        let (high, low) = digits.ok_or(PathError::Malformed)?;
        match high << 4 | low {
            b'/' => return Err(PathError::EncodedSlash),
            b'.' => return Err(PathError::EncodedDot),
            decoded => name.push(decoded),
        }
    }
    let name = String::from_utf8(name).map_err(|_| PathError::NotUtf8)?;
    if name.contains('\\') {
        return Err(PathError::Backslash);
    }
    if name.contains(char::is_control) {
        return Err(PathError::Control);
    }
    Ok(name)
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use std::path::Component;

    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_below_the_root_are_read() {
        for (encoded, path, is_directory) in [
            ("", ".", true),
            ("index.html", "index.html", false),
            ("js/app.js", "js/app.js", false),
            ("js/", "js", true),
            ("a%20b.txt", "a b.txt", false),
            ("na%C3%AFve.txt", "naïve.txt", false),
            ("naïve.txt", "naïve.txt", false),
            ("100%25.txt", "100%.txt", false),
            ("%252e%252e/x", "%2e%2e/x", false),
            ("a+b", "a+b", false),
            ("a..b", "a..b", false),
            ("a.", "a.", false),
            (
                ".well-known/security.txt",
                ".well-known/security.txt",
                false,
            ),
            (".well-known/", ".well-known", true),
        ] {
            let read = RelativePath::parse(encoded).unwrap();
            assert_eq!(read.as_path(), Path::new(path), "{encoded}");
            assert_eq!(read.is_directory(), is_directory, "{encoded}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for (encoded, error) in [
            ("..", PathError::Hidden),
            ("../etc/passwd", PathError::Hidden),
            ("a/../../b", PathError::Hidden),
            ("a/..", PathError::Hidden),
            ("a/./b", PathError::Hidden),
            (".", PathError::Hidden),
            (".git/config", PathError::Hidden),
            ("a/.env", PathError::Hidden),
            ("a/.well-known/x", PathError::Hidden),
            (".well-known/.hidden", PathError::Hidden),
            (".well-knownx", PathError::Hidden),
            ("%2e%2e/x", PathError::EncodedDot),
            (".%2E/x", PathError::EncodedDot),
            ("app%2ejs", PathError::EncodedDot),
            ("a%2fb", PathError::EncodedSlash),
            ("a%2Fb", PathError::EncodedSlash),
            ("..%2f", PathError::EncodedSlash),
            ("a\\b", PathError::Backslash),
            ("..%5cx", PathError::Backslash),
            ("a%00.html", PathError::Control),
            ("a%0a", PathError::Control),
            ("a%7f", PathError::Control),
            ("a%C2%85", PathError::Control),
            ("%c0%ae%c0%ae/x", PathError::NotUtf8),
            ("%c0%af", PathError::NotUtf8),
            ("%e0%80%af", PathError::NotUtf8),
            ("%ed%a0%80", PathError::NotUtf8),
            ("%ff", PathError::NotUtf8),
            ("/", PathError::Empty),
            ("/etc/passwd", PathError::Empty),
            ("a//b", PathError::Empty),
            ("a//", PathError::Empty),
            ("%", PathError::Malformed),
            ("a%2", PathError::Malformed),
            ("%zz", PathError::Malformed),
            ("%+1", PathError::Malformed),
            ("%u002e", PathError::Malformed),
        ] {
            assert_eq!(RelativePath::parse(encoded), Err(error), "{encoded}");
        }
    }

    #[test]
    fn a_child_stands_in_its_directory() {
        let child = |path: &str| RelativePath::parse(path).unwrap().child("index.html");
        assert_eq!(child("").as_path(), Path::new("index.html"));
        assert_eq!(child("docs/").as_path(), Path::new("docs/index.html"));
    }

    /// Everything but what is unreserved; the dot stays, as every client leaves it.
    const ENCODE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'.');

    proptest! {
        #[test]
        fn what_is_read_never_leaves_the_root(
            encoded in prop_oneof![
                any::<String>(),
                "(%2[eEfF5]|%5[cC]|%00|%c0%a[ef]|%25|\\.|/|\\\\|a|é){0,12}",
            ]
        ) {
            if let Ok(read) = RelativePath::parse(&encoded) {
                let text = read.as_path().to_str().unwrap();
                prop_assert!(!text.contains(['\0', '\\']));
                if text != "." {
                    for component in read.as_path().components() {
                        let Component::Normal(name) = component else {
                            return Err(TestCaseError::fail(format!("{encoded:?} became {text:?}")));
                        };
                        prop_assert!(!name.as_encoded_bytes().starts_with(b".") || name == WELL_KNOWN);
                    }
                }
            }
        }

        #[test]
        fn a_name_is_decoded_exactly_once(
            names in prop::collection::vec("[^/\\\\.\\p{C}][^/\\\\\\p{C}]{0,8}", 1..4)
        ) {
            let encoded: Vec<String> =
                names.iter().map(|name| utf8_percent_encode(name, ENCODE).to_string()).collect();
            let read = RelativePath::parse(&encoded.join("/")).unwrap();
            prop_assert_eq!(read.as_path().to_str().unwrap(), names.join("/"));
        }
    }
}
