//! How each type of value is read: functions from a [`Node`] to a value, which combine
//! (`list(text(HostPattern::parse))`). They note what is wrong and answer `None` for it.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use toml::de::DeValue;

use super::node::Node;
use super::values::{parse_duration, parse_size, print_duration};

/// Longest timeout, a day: beyond it a deadline protects nothing.
pub(super) const LONGEST_TIMEOUT: Duration = Duration::from_hours(24);
/// Longest of the ages that are written in days.
pub(super) const DECADE: Duration = Duration::from_hours(24 * 3650);

/// Text with its `${NAME}` filled in.
pub(super) fn string(node: &Node<'_>) -> Option<String> {
    let DeValue::String(text) = node.value.get_ref() else {
        node.wrong_type("text in quotes");
        return None;
    };
    match node.reader.environment.fill_in(text) {
        Ok(text) => Some(text),
        Err(wrong) => {
            for what in wrong {
                node.wrong(&what);
            }
            None
        }
    }
}

/// Text that `parse` understands.
pub(super) fn text<T, E: Display>(
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl Fn(&Node<'_>) -> Option<T> {
    move |node| parsed(node, &string(node)?, &parse)
}

/// Each item of a list.
pub(super) fn list<T>(
    read: impl Fn(&Node<'_>) -> Option<T>,
) -> impl Fn(&Node<'_>) -> Option<Vec<T>> {
    move |node| {
        let DeValue::Array(items) = node.value.get_ref() else {
            node.wrong_type("a list in square brackets");
            return None;
        };
        let read: Vec<_> = items.iter().map(|item| read(&node.item(item))).collect();
        read.into_iter().collect()
    }
}

/// A list with at least one item.
pub(super) fn some<T>(
    read: impl Fn(&Node<'_>) -> Option<T>,
) -> impl Fn(&Node<'_>) -> Option<Vec<T>> {
    let read = list(read);
    move |node| {
        let items = read(node)?;
        if items.is_empty() {
            node.wrong("must not be empty");
            return None;
        }
        Some(items)
    }
}

/// `true` or `false`, also as text with a `${NAME}` in it.
pub(super) fn boolean(node: &Node<'_>) -> Option<bool> {
    match node.value.get_ref() {
        DeValue::Boolean(value) => Some(*value),
        DeValue::String(text) if text.contains("${") => {
            let parse = |text: &str| text.parse().map_err(|_| "must become true or false");
            parsed(node, &string(node)?, parse)
        }
        _ => {
            node.wrong_type("true or false");
            None
        }
    }
}

/// A whole number in `range`, also as text with a `${NAME}` in it.
pub(super) fn integer<T>(range: RangeInclusive<T>) -> impl Fn(&Node<'_>) -> Option<T>
where
    T: TryFrom<u64> + PartialOrd + Display,
{
    integer_within(range, "")
}

/// A whole number in `range`; `why` follows the range in messages.
pub(super) fn integer_within<T>(
    range: RangeInclusive<T>,
    why: &str,
) -> impl Fn(&Node<'_>) -> Option<T>
where
    T: TryFrom<u64> + PartialOrd + Display,
{
    move |node| {
        let (least, most) = (range.start(), range.end());
        let expected = format!("a whole number from {least} to {most}{why}");
        let number = match node.value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            DeValue::String(text) if text.contains("${") => string(node)?.parse().ok(),
            _ => {
                node.wrong_type(&expected);
                return None;
            }
        };
        let number = number.and_then(|number| T::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            node.wrong(&format!("must be {expected}"));
        }
        number
    }
}

/// A size in bytes, as text with a unit or as a plain number.
pub(super) fn size(node: &Node<'_>) -> Option<u64> {
    match node.value.get_ref() {
        DeValue::Integer(_) => integer(0..=i64::MAX.unsigned_abs())(node),
        DeValue::String(_) => text(parse_size)(node),
        _ => {
            node.wrong_type(r#"a size such as "20MiB""#);
            None
        }
    }
}

/// A size of at least one byte.
pub(super) fn body_size(node: &Node<'_>) -> Option<u64> {
    let bytes = size(node)?;
    if bytes == 0 {
        // In nginx 0 means "no limit"; here it would refuse every body. Neither is guessed.
        node.wrong(
            "must be more than 0; there is no \"unlimited\", write the largest body to accept",
        );
        return None;
    }
    Some(bytes)
}

/// A duration, none included.
pub(super) fn duration(node: &Node<'_>) -> Option<Duration> {
    if !node.value.get_ref().is_str() {
        node.wrong_type(r#"a duration such as "75s""#);
        return None;
    }
    text(parse_duration)(node)
}

/// A duration from one millisecond to `longest`.
pub(super) fn duration_up_to(longest: Duration) -> impl Fn(&Node<'_>) -> Option<Duration> {
    move |node| {
        let duration = duration(node)?;
        if duration.is_zero() {
            node.wrong("must be longer than 0");
            return None;
        }
        if duration > longest {
            node.wrong(&format!("must be at most {}", print_duration(longest)));
            return None;
        }
        Some(duration)
    }
}

/// One word of a few, each with its meaning.
pub(super) fn choice<T: Copy>(words: &[(&str, T)]) -> impl Fn(&Node<'_>) -> Option<T> {
    move |node| {
        let word = string(node)?;
        let known = words.iter().find(|(known, _)| *known == word);
        if known.is_none() {
            let words: Vec<_> = words
                .iter()
                .map(|(word, _)| format!("\"{word}\""))
                .collect();
            node.wrong(&format!("must be {}", words.join(" or ")));
        }
        known.map(|(_, meaning)| *meaning)
    }
}

/// A path; one that is relative begins where the configuration file lies.
pub(super) fn path(node: &Node<'_>) -> Option<PathBuf> {
    let path = string(node)?;
    if path.is_empty() || path.contains('\0') {
        node.wrong("must name a path");
        return None;
    }
    Some(node.reader.dir.join(path))
}

/// A file that can be opened.
pub(super) fn existing_file(node: &Node<'_>) -> Option<PathBuf> {
    let path = path(node)?;
    let opened = std::fs::File::open(&path).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_dir() => {
            node.wrong(&format!("{} is a directory, not a file", path.display()));
        }
        Ok(_) => {}
        Err(error) => node.wrong(&format!("cannot open {}: {error}", path.display())),
    }
    Some(path)
}

/// A directory that is there.
pub(super) fn existing_directory(node: &Node<'_>) -> Option<PathBuf> {
    let path = path(node)?;
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => node.wrong(&format!("{} is not a directory", path.display())),
        Err(error) => node.wrong(&format!("no directory {}: {error}", path.display())),
    }
    Some(path)
}

/// A directory that is there, or that can be made when it is needed.
pub(super) fn future_directory(node: &Node<'_>) -> Option<PathBuf> {
    let path = path(node)?;
    if path.metadata().is_ok_and(|metadata| !metadata.is_dir()) {
        node.wrong(&format!("{} is not a directory", path.display()));
    }
    Some(path)
}

/// Text that may stand in a header.
pub(super) fn header_value(node: &Node<'_>) -> Option<HeaderValue> {
    let parse = |text: &str| {
        let value = HeaderValue::from_str(text)
            .ok()
            .filter(|value| value.to_str().is_ok());
        value.ok_or("not a header value; it is printable ASCII on one line")
    };
    text(parse)(node)
}

/// `read` where the text is not empty, `None` where it is: `""` is how a file says "none".
pub(super) fn unless_empty<T>(
    read: impl Fn(&Node<'_>) -> Option<T>,
) -> impl Fn(&Node<'_>) -> Option<Option<T>> {
    move |node| match node.value.get_ref() {
        DeValue::String(text) if node.reader.environment.fill_in(text).as_deref() == Ok("") => {
            Some(None)
        }
        _ => read(node).map(Some),
    }
}

fn parsed<T, E: Display>(
    node: &Node<'_>,
    text: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<T> {
    let parsed = parse(text);
    if let Err(what) = &parsed {
        // The value as it came from the environment is not shown: it may be a secret.
        let filled = match node.value.get_ref() {
            DeValue::String(written) if written != text => " (with its variables filled in)",
            _ => "",
        };
        node.wrong(&format!("{what}{filled}"));
    }
    parsed.ok()
}
