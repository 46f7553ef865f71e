//! What must not be seen, found in lines that others have put together: a library's debug output, the
//! message of an error or a panic.
//!
//! Nothing is known of such text but how people and programs write a name and its value:
//! `token=x&…`, `Cookie: x`, `"cookie": "x"`, `{'cookie': 'x'}`, `name: "cookie", value: "x"`,
//! `password = 'x'`, `PASSWORD 'x'`, `scheme://user:x@host`. In doubt more is left out than must be: such
//! lines are for whoever looks for a mistake, and the access log, which is exact, does not come by here.
//!
//! SECURITY: hidden are the values of `log.mask`, of everything that is called a password, and the
//! passwords of URLs.

mod ends;
mod quote;
mod url;

use std::borrow::Cow;
use std::ops::Range;

use self::quote::Quote;
use crate::config::{LogFormat, Mask};

const COVER: &str = "***";
const QUOTED_COVER: &str = "\"***\"";

/// `line` without what must not be seen; a line of JSON stays one.
pub(super) fn redact<'l>(line: &'l str, mask: &Mask, format: LogFormat) -> Cow<'l, str> {
    let text = Text {
        bytes: line.as_bytes(),
        mask,
        format,
        has_fields: true,
    };
    text.redacted(line)
}

/// `mistakes` of a configuration without what must not be seen: they have their secrets covered by their
/// keys already, but for URLs. What a colon follows in them is a key, and after it stands what is wrong.
pub(super) fn redact_mistakes<'l>(mistakes: &'l str, mask: &Mask) -> Cow<'l, str> {
    let text = Text {
        bytes: mistakes.as_bytes(),
        mask,
        format: LogFormat::Text,
        has_fields: false,
    };
    text.redacted(mistakes)
}

struct Text<'l> {
    bytes: &'l [u8],
    mask: &'l Mask,
    format: LogFormat,
    /// Whether names and values may stand in it as `name: value` and `"name", "value"`.
    has_fields: bool,
}

/// A name whose value is hidden, as it stands before its separator.
struct Name {
    /// What it ends with.
    quote: Option<Quote>,
}

impl Text<'_> {
    /// All of it, which is `line`.
    fn redacted<'l>(&self, line: &'l str) -> Cow<'l, str> {
        let mut redacted = String::new();
        let mut done = 0;
        while let Some(secret) = self.next_secret(done) {
            redacted.push_str(&line[done..secret.start]);
            redacted.push_str(self.cover(secret.start));
            done = secret.end;
        }
        if redacted.is_empty() {
            return Cow::Borrowed(line);
        }
        redacted.push_str(&line[done..]);
        Cow::Owned(redacted)
    }

    /// What takes the place of the value at `start`: a number of JSON's becomes a string.
    fn cover(&self, start: usize) -> &'static str {
        let name = self.bytes[..start].strip_suffix(b":");
        let name = name.and_then(Quote::at_end_of);
        if self.format == LogFormat::Json && name == Some(Quote::PLAIN) {
            QUOTED_COVER
        } else {
            COVER
        }
    }

    /// The first value to be hidden that begins at `from` or later. It is never empty, and begins and
    /// ends at ASCII characters.
    fn next_secret(&self, from: usize) -> Option<Range<usize>> {
        let mut at = from;
        loop {
            at += self.bytes[at..]
                .iter()
                .position(|byte| matches!(byte, b'=' | b':' | b',' | b'\''))?;
            let found = match self.bytes[at] {
                b':' if self.bytes[at..].starts_with(b"://") => self.password_of_url(at),
                b'\'' => self.password_of_statement(at),
                b':' | b',' if !self.has_fields => None,
                separator => self
                    .hidden_name_before(at)
                    .and_then(|name| self.value_of(&name, separator, at + 1)),
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

    /// The hidden name, quoted or not, that ends before the separator at `at`, or before spaces there.
    fn hidden_name_before(&self, at: usize) -> Option<Name> {
        let before = without_spaces(&self.bytes[..at]);
        let quote = Quote::at_end_of(before);
        let end = before.len() - quote.map_or(0, Quote::len);
        let (before, name) = name_at_end_of(&before[..end]);
        let is_hidden = |name: &[u8]| self.mask.hides(name) || is_password(name);
        // In an escaped text, the letter after a backslash belongs to that: `\r\nCookie`.
        let is_hidden =
            is_hidden(name) || before.ends_with(b"\\") && name.get(1..).is_some_and(is_hidden);
        is_hidden.then_some(Name { quote })
    }

    /// What follows `name` and its separator, from `start` on.
    fn value_of(&self, name: &Name, separator: u8, start: usize) -> Option<Range<usize>> {
        match separator {
            b'=' => Some(self.assigned_value(name, start)),
            // `module::item` is no name and value.
            b':' if self.bytes.get(start) == Some(&b':') => None,
            b':' => Some(self.value_of_field(name, start)),
            _ => self.paired_value(name, start),
        }
    }

    /// The value in `name=value`, `name = "value"`, `name == "value"` and `name => 'value'`.
    fn assigned_value(&self, name: &Name, start: usize) -> Range<usize> {
        let arrow = self.bytes[start..].iter();
        let arrow = arrow.take_while(|byte| matches!(byte, b'=' | b'>'));
        let start = self.skip_spaces(start + arrow.count());
        let start = self.skip_wrapping(name, start);
        let word = self.end_of_word(start);
        let Some(quote) = self.opening_quote(name, start) else {
            return start..word;
        };
        let value = self.quoted_value(quote, start);
        // In a query, an apostrophe is a character like any other.
        let closing = Quote::at_start_of(&self.bytes[value.end..]).map_or(0, Quote::len);
        if quote.is_single() && word > value.end + closing {
            return value.start..word;
        }
        value
    }

    /// The value in `Name: value` and `"name": "value"`.
    fn value_of_field(&self, name: &Name, start: usize) -> Range<usize> {
        let start = self.skip_spaces(start);
        // A header as it was sent: where its value begins with a quotation mark, the next one need
        // not be its end.
        if name.quote.is_none() {
            return start..self.end_of_text(start);
        }
        let wrapped = self.skip_wrapping(name, start);
        match self.opening_quote(name, wrapped) {
            Some(quote) => self.quoted_value(quote, wrapped),
            None if self.is_member(name) => start..self.end_of_number(start),
            None => start..self.end_of_text(start),
        }
    }

    /// The value in `"name", "value"` and in `name: "name", value: "value"`.
    fn paired_value(&self, name: &Name, start: usize) -> Option<Range<usize>> {
        const FIELD: &[u8] = b"value:";
        name.quote?;
        if self.is_member(name) {
            // It is the end of a string, and what follows is the next member.
            return None;
        }
        let start = self.skip_spaces(start);
        let is_field = self.bytes[start..].starts_with(FIELD);
        let start = if is_field {
            self.skip_spaces(start + FIELD.len())
        } else {
            start
        };
        let wrapped = self.skip_wrapping(name, start);
        match self.opening_quote(name, wrapped) {
            Some(quote) => Some(self.quoted_value(quote, wrapped)),
            None => is_field.then(|| start..self.end_of_text(start)),
        }
    }

    /// The value in SQL's `PASSWORD 'value'`, whose quotation mark is at `at`.
    fn password_of_statement(&self, at: usize) -> Option<Range<usize>> {
        let quote = Quote::at_end_of(&self.bytes[..=at])?;
        let start = at + 1 - quote.len();
        // `E'…'` is another way to write it.
        let before = &self.bytes[..start];
        let before = before.strip_suffix(b"E").unwrap_or(before);
        let before = before.strip_suffix(b"e").unwrap_or(before);
        let statement = before.trim_ascii_end();
        let (_, name) = name_at_end_of(statement);
        let is_apart = statement.len() < before.len();
        (is_apart && is_password(name)).then(|| self.quoted_value(quote, start))
    }

    /// The inside of the quoted value whose `quote` begins at `start`. A quotation mark within it is
    /// doubled, or has more backslashes before it than the one that opens it; but the text's own end is the
    /// value's, too, however many backslashes the value ends with.
    fn quoted_value(&self, quote: Quote, start: usize) -> Range<usize> {
        let start = start + quote.len();
        let end = self.end_of_text(start);
        let mut at = start;
        while let Some(found) = memchr::memchr(quote.mark, &self.bytes[at..end]) {
            let mark = at + found;
            let escapes = quote::backslashes_at_end_of(&self.bytes[start..mark]);
            let is_doubled = quote.is_single() && self.bytes[mark + 1..end].starts_with(b"'");
            if escapes <= quote.depth && !is_doubled {
                return start..mark - escapes;
            }
            at = mark + 1 + usize::from(is_doubled);
        }
        start..end
    }

    /// Whether `name` is that of a member of the line, which is JSON, and not within a string of it.
    fn is_member(&self, name: &Name) -> bool {
        self.format == LogFormat::Json && name.quote == Some(Quote::PLAIN)
    }

    /// The quotation mark that the value of `name` begins with at `start`.
    fn opening_quote(&self, name: &Name, start: usize) -> Option<Quote> {
        let quote = Quote::at_start_of(&self.bytes[start..])?;
        // Within a string of JSON, a quotation mark that no backslash belongs to is the string's end.
        let is_end = self.format == LogFormat::Json
            && !self.is_member(name)
            && !quote.is_single()
            && quote.depth.is_multiple_of(2);
        (!is_end).then_some(quote)
    }

    /// Where the quotation mark of a value begins that a program shows as `Some("…")`, `b"…"` or `b'…'`.
    fn skip_wrapping(&self, name: &Name, mut start: usize) -> usize {
        for wrapping in [&b"Some("[..], b"b"] {
            let inner = start + wrapping.len();
            if self.bytes[start..].starts_with(wrapping)
                && self.opening_quote(name, inner).is_some()
            {
                start = inner;
            }
        }
        start
    }

    fn skip_spaces(&self, start: usize) -> usize {
        let spaces = self.bytes[start..].iter().take_while(|byte| **byte == b' ');
        start + spaces.count()
    }
}

fn without_spaces(text: &[u8]) -> &[u8] {
    let spaces = text.iter().rev().take_while(|byte| **byte == b' ').count();
    &text[..text.len() - spaces]
}

/// What is before the name that `text` ends with, and the name.
fn name_at_end_of(text: &[u8]) -> (&[u8], &[u8]) {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_%[]".contains(byte);
    let length = text.iter().rev().take_while(|byte| is_name(byte)).count();
    text.split_at(text.len() - length)
}

/// Whatever the mask says: `sslpassword`, `PGPASSWORD`.
fn is_password(name: &[u8]) -> bool {
    name.windows(8)
        .any(|part| part.eq_ignore_ascii_case(b"password"))
}

#[cfg(test)]
mod tests;
