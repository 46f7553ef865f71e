//! What must not be seen, found in lines that others have put together: a library's debug output, the
//! message of an error or a panic.
//!
//! Nothing is known of such text but how people and programs write a name and its value:
//! `token=x&…`, `Cookie: x`, `"cookie": "x"`, `name: "cookie", value: "x"`, `scheme://user:x@host`. In
//! doubt more is left out than must be: such lines are for whoever looks for a mistake, and the access
//! log, which is exact, does not come by here.
//!
//! SECURITY: hidden are the values of `log.mask`, of everything that is called a password, and the
//! passwords of URLs.

use std::borrow::Cow;
use std::ops::Range;

use crate::config::{LogFormat, Mask};

const COVER: &str = "***";

/// `line` without what must not be seen; a line of JSON stays one.
pub(super) fn redact<'l>(line: &'l str, mask: &Mask, format: LogFormat) -> Cow<'l, str> {
    let text = Text {
        bytes: line.as_bytes(),
        mask,
        format,
    };
    let mut redacted = String::new();
    let mut done = 0;
    while let Some(secret) = text.next_secret(done) {
        redacted.push_str(&line[done..secret.start]);
        redacted.push_str(COVER);
        done = secret.end;
    }
    if redacted.is_empty() {
        return Cow::Borrowed(line);
    }
    redacted.push_str(&line[done..]);
    Cow::Owned(redacted)
}

struct Text<'l> {
    bytes: &'l [u8],
    mask: &'l Mask,
    format: LogFormat,
}

impl Text<'_> {
    /// The first value to be hidden that begins at `from` or later. It is never empty, and begins and
    /// ends at ASCII characters.
    fn next_secret(&self, from: usize) -> Option<Range<usize>> {
        let mut at = from;
        loop {
            at += self.bytes[at..]
                .iter()
                .position(|byte| matches!(byte, b'=' | b':' | b','))?;
            let found = match self.bytes[at] {
                b':' if self.bytes[at..].starts_with(b"://") => self.password_of_url(at),
                b',' if self.quote_before(at).is_none() => None,
                _ if !self.is_hidden_name_before(at) => None,
                b',' => self.paired_value(at + 1),
                separator => self.value_after(at, separator),
            };
            if let Some(range) = found
                && range.start >= from
                && !range.is_empty()
            {
                return Some(range);
            }
            at += 1;
        }
    }

    /// Whether a hidden name, quoted or not, ends before `at`.
    fn is_hidden_name_before(&self, at: usize) -> bool {
        let end = match self.quote_before(at) {
            Some(quote) => quote,
            None => at,
        };
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_%[]".contains(byte);
        let length = self.bytes[..end]
            .iter()
            .rev()
            .take_while(|byte| is_name(byte))
            .count();
        let (before, name) = self.bytes[..end].split_at(end - length);
        let is_hidden = |name: &[u8]| self.mask.hides(name) || is_password(name);
        // In an escaped text, the letter after a backslash belongs to that: `\r\nCookie`.
        is_hidden(name) || before.ends_with(b"\\") && name.get(1..).is_some_and(is_hidden)
    }

    /// Where the quotation mark before `at`, with its backslashes, begins.
    fn quote_before(&self, at: usize) -> Option<usize> {
        let before = self.bytes[..at].strip_suffix(b"\"")?;
        Some(before.len() - backslashes_before(before))
    }

    /// What follows a name and its separator, which is at `at`.
    fn value_after(&self, at: usize, separator: u8) -> Option<Range<usize>> {
        let mut start = at + 1;
        if separator == b':' {
            // `module::item` is no name and value.
            if self.bytes.get(start) == Some(&b':') {
                return None;
            }
            start = self.skip_spaces(start);
            // A header as it was sent: where its value begins with a quotation mark, the next one need
            // not be its end.
            if self.quote_before(at).is_none() {
                return Some(start..self.end_of_text(start));
            }
        }
        if let Some(range) = self.quoted_value(self.skip_wrapping(start)) {
            return Some(range);
        }
        let end = match separator {
            b'=' => self.end_of_word(start),
            _ => self.end_of_text(start),
        };
        Some(start..end)
    }

    /// The value in `"name", "value"` and in `name: "name", value: "value"`.
    fn paired_value(&self, start: usize) -> Option<Range<usize>> {
        const FIELD: &[u8] = b"value:";
        let start = self.skip_spaces(start);
        let is_field = self.bytes[start..].starts_with(FIELD);
        let start = if is_field {
            self.skip_spaces(start + FIELD.len())
        } else {
            start
        };
        self.quoted_value(self.skip_wrapping(start))
            .or_else(|| is_field.then(|| start..self.end_of_text(start)))
    }

    /// The inside of a quoted value that begins at `start`. A quotation mark within it has more
    /// backslashes before it than the one that opens it; but the text's own end is the value's, too,
    /// however many backslashes the value ends with.
    fn quoted_value(&self, start: usize) -> Option<Range<usize>> {
        let depth = opening_quote(&self.bytes[start..])?;
        let start = start + depth + 1;
        let end = self.end_of_text(start);
        let mut at = start;
        while let Some(found) = memchr::memchr(b'"', &self.bytes[at..end]) {
            let quote = at + found;
            let escapes = backslashes_before(&self.bytes[start..quote]);
            if escapes <= depth {
                return Some(start..quote - escapes);
            }
            at = quote + 1;
        }
        Some(start..end)
    }

    /// Where the parameter of a query ends that goes on at `start`.
    fn end_of_word(&self, start: usize) -> usize {
        let is_end =
            |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'&' | b'"' | b'<' | b'>');
        let rest = &self.bytes[start..];
        let length = rest.iter().position(is_end).unwrap_or(rest.len());
        let is_quote = rest.get(length) == Some(&b'"');
        // Those belong to the quotation mark.
        let escapes = if is_quote {
            backslashes_before(&rest[..length])
        } else {
            0
        };
        start + length - escapes
    }

    /// Where the text ends that a name's value may go on in: the line, or the JSON string.
    fn end_of_text(&self, start: usize) -> usize {
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

    /// The password of the URL whose `://` is at `at`. That of a database ends at the last `@`: one with
    /// an unescaped `@`, `/` or `?` breaks the URL's own grammar, and must not show for that.
    fn password_of_url(&self, at: usize) -> Option<Range<usize>> {
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

    /// Where the quotation mark of a value begins that a program shows as `Some("…")` or `b"…"`.
    fn skip_wrapping(&self, mut start: usize) -> usize {
        for wrapping in [&b"Some("[..], b"b"] {
            let rest = &self.bytes[start..];
            if rest.starts_with(wrapping) && opening_quote(&rest[wrapping.len()..]).is_some() {
                start += wrapping.len();
            }
        }
        start
    }

    fn skip_spaces(&self, start: usize) -> usize {
        let spaces = self.bytes[start..].iter().take_while(|byte| **byte == b' ');
        start + spaces.count()
    }
}

/// How many backslashes stand before the quotation mark that `text` begins with.
fn opening_quote(text: &[u8]) -> Option<usize> {
    let depth = text.iter().take_while(|byte| **byte == b'\\').count();
    (text.get(depth) == Some(&b'"')).then_some(depth)
}

fn backslashes_before(text: &[u8]) -> usize {
    text.iter().rev().take_while(|byte| **byte == b'\\').count()
}

/// Whatever the mask says: `sslpassword`, `PGPASSWORD`.
fn is_password(name: &[u8]) -> bool {
    name.windows(8)
        .any(|part| part.eq_ignore_ascii_case(b"password"))
}

#[cfg(test)]
mod tests;
