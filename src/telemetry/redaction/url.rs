//! The passwords of URLs.

use std::ops::Range;

use super::Text;

impl Text<'_> {
    /// The password of the URL whose `://` is at `at`. That of a database ends at the last `@`: one with
    /// an unescaped `@`, `/` or `?` breaks the URL's own grammar, and must not show for that.
    pub(super) fn password_of_url(&self, at: usize) -> Option<Range<usize>> {
        let start = at + b"://".len();
        let end = self.end_of_url(start);
        let is_database =
            self.bytes[..at].ends_with(b"postgres") || self.bytes[..at].ends_with(b"postgresql");
        let url = &self.bytes[start..end];
        let authority = match url.iter().position(|byte| b"/?#".contains(byte)) {
            Some(end) if !is_database => &url[..end],
            _ => url,
        };
        let credentials = memchr::memrchr(b'@', authority)?;
        let colon = memchr::memchr(b':', &authority[..credentials]);
        match colon {
            Some(colon) => Some(start + colon + 1..start + credentials),
            // Such a name alone is as good as a password for many services.
            None if !is_database => Some(start..start + credentials),
            None => None,
        }
    }

    fn end_of_url(&self, start: usize) -> usize {
        let is_end = |byte: &u8| byte.is_ascii_whitespace() || b"\"\\<>".contains(byte);
        let rest = &self.bytes[start..];
        start + rest.iter().position(is_end).unwrap_or(rest.len())
    }
}
