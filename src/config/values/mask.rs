//! Names of headers and query parameters whose values must not be seen.

use std::sync::Arc;

use memchr::memchr;
use percent_encoding::percent_decode;

/// What stands in the place of a value.
const COVER: &[u8] = b"***";

/// `log.mask`. Cheap to clone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mask(Arc<[String]>);

impl Mask {
    /// Hides the values of `names`.
    #[must_use]
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        Self(names.into_iter().map(|name| name.to_lowercase()).collect())
    }

    /// The names, lower case.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Whether the value of `name` is hidden.
    ///
    /// SECURITY: a name is meant in every form in which an app may take it for the same: percent-encoded,
    /// with `_` for `-`, and as a part of `user[password]`.
    #[must_use]
    pub fn hides(&self, name: &[u8]) -> bool {
        let name: std::borrow::Cow<'_, [u8]> = percent_decode(name).into();
        name.split(|byte| matches!(byte, b'[' | b']'))
            .any(|part| self.0.iter().any(|hidden| is_same(hidden.as_bytes(), part)))
    }

    /// Gives `target`, a path with its query, to `write` in pieces, without the values of hidden
    /// parameters.
    pub fn cover<'t>(&self, target: &'t [u8], mut write: impl FnMut(&'t [u8])) {
        let Some(query) = memchr(b'?', target) else {
            return write(target);
        };
        let (path, query) = target.split_at(query + 1);
        write(path);
        for (number, parameter) in query.split(|&byte| byte == b'&').enumerate() {
            if number > 0 {
                write(b"&");
            }
            match self.value_in(parameter) {
                Some(value) => {
                    write(&parameter[..value]);
                    write(COVER);
                }
                None => write(parameter),
            }
        }
    }

    /// `target` as text, without the values of hidden parameters.
    #[must_use]
    pub fn covered(&self, target: &str) -> String {
        let mut covered = Vec::with_capacity(target.len());
        self.cover(target.as_bytes(), |piece| covered.extend_from_slice(piece));
        // Pieces end at ASCII characters, so nothing is ever replaced.
        String::from_utf8_lossy(&covered).into_owned()
    }

    /// Where in `parameter` a hidden value begins. Some apps take `;` for `&`, others for a part of
    /// the value: what follows the name is hidden to the end.
    fn value_in(&self, parameter: &[u8]) -> Option<usize> {
        let mut start = 0;
        for piece in parameter.split(|&byte| byte == b';') {
            if let Some(end) = memchr(b'=', piece)
                && self.hides(&piece[..end])
            {
                return Some(start + end + 1);
            }
            start += piece.len() + 1;
        }
        None
    }
}

fn is_same(one: &[u8], other: &[u8]) -> bool {
    let plain = |byte: &u8| match byte {
        b'_' => b'-',
        byte => byte.to_ascii_lowercase(),
    };
    one.len() == other.len() && one.iter().map(plain).eq(other.iter().map(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_values_are_covered_however_the_name_is_written() {
        let mask = Mask::new(["Token", "X-Api-Key", "password"].map(str::to_owned));
        for (target, covered, why) in [
            ("/x?a=1&token=s", "/x?a=1&token=***", "the usual"),
            ("/x?TOKEN=s&b=2", "/x?TOKEN=***&b=2", "any case"),
            ("/x?%74oken=s", "/x?%74oken=***", "percent-encoded"),
            ("/x?x_api_key=s", "/x?x_api_key=***", "_ for -"),
            ("/x?user[password]=s", "/x?user[password]=***", "nested"),
            (
                "/x?user%5Bpassword%5D=s",
                "/x?user%5Bpassword%5D=***",
                "and encoded",
            ),
            ("/x?token[]=s", "/x?token[]=***", "a list"),
            ("/x?a=1;token=s", "/x?a=1;token=***", "; for &"),
            ("/x?token=s;t&a=1", "/x?token=***&a=1", "; in the value"),
            ("/x?token=s=t", "/x?token=***", "= in the value"),
            ("/x?token=", "/x?token=***", "nothing looks like something"),
            ("/x?token", "/x?token", "no value"),
            ("/x?tokens=1&a=token", "/x?tokens=1&a=token", "another name"),
            ("/token=1", "/token=1", "a path"),
            ("/x?", "/x?", "no query"),
        ] {
            assert_eq!(mask.covered(target), covered, "{why}");
        }
    }
}
