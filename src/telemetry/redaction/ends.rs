//! Where values end that have no quotation marks.

use super::Text;
use super::quote::backslashes_at_end_of;
use crate::config::LogFormat;

impl Text<'_> {
    /// Where the parameter of a query ends that goes on at `start`.
    pub(super) fn end_of_word(&self, start: usize) -> usize {
        let is_end =
            |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'&' | b'"' | b'<' | b'>');
        let rest = &self.bytes[start..];
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        let is_quote = rest.get(length) == Some(&b'"');
        // Those belong to the quotation mark.
        let escapes = if is_quote {
            backslashes_at_end_of(&rest[..length])
        } else {
            0
        };
        start + length - escapes
    }

    /// Where a member of JSON ends that is no string.
    pub(super) fn end_of_number(&self, start: usize) -> usize {
        let rest = &self.bytes[start..];
        let is_end = |byte: &u8| matches!(byte, b',' | b'}');
        start + rest.iter().position(is_end).unwrap_or(rest.len())
    }

    /// Where the text ends that a name's value may go on in: the line, or the JSON string.
    pub(super) fn end_of_text(&self, start: usize) -> usize {
        let rest = &self.bytes[start..];
        let line = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        if self.format == LogFormat::Text {
            return start + line;
        }
        let mut at = 0;
        while at < line {
            match rest[at] {
                b'\\' => at += 2,
                b'"' => return start + at,
                _ => at += 1,
            }
        }
        start + line
    }
}
