//! Conditional requests (RFC 9110, section 13): whether the client's copy is good enough.
//!
//! The conditions are read from the request once and judged against the validators of whatever
//! representation is selected. The order is that of section 13.2.2: the tag goes before the date,
//! what guards against lost updates before what saves bytes.

use std::time::SystemTime;

use http::HeaderMap;
use http::header::{self, HeaderName};

use super::validators::Validators;

/// The conditions of one request, each under its field's name without the `If-`.
#[derive(Debug, Default)]
pub(super) struct Conditions {
    matches: Option<Tags>,
    unmodified_since: Option<SystemTime>,
    none_match: Option<Tags>,
    modified_since: Option<SystemTime>,
    range: Option<IfRange>,
}

/// How a GET or HEAD goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As if there were no conditions.
    Proceed,
    /// 304: the client has it already.
    NotModified,
    /// 412: it is not what the client takes it for.
    PreconditionFailed,
}

/// The value of `If-Match` and `If-None-Match`.
#[derive(Debug, PartialEq, Eq)]
enum Tags {
    /// `*`: any representation at all.
    Any,
    /// Those that are well-formed, up to the first that is not.
    These(Vec<Tag>),
}

/// An entity tag (RFC 9110, section 8.8.3).
#[derive(Debug, PartialEq, Eq)]
struct Tag {
    weak: bool,
    opaque: String,
}

#[derive(Debug)]
enum IfRange {
    Tag(Tag),
    Date(SystemTime),
    /// Neither: a condition that nothing meets.
    Nonsense,
}

impl Conditions {
    /// Reads the conditions of a request. A date that is none is as good as absent; a list of tags
    /// that is none matches nothing.
    #[must_use]
    pub(super) fn read(headers: &HeaderMap) -> Self {
        Self {
            matches: tags(headers, &header::IF_MATCH),
            unmodified_since: date(headers, &header::IF_UNMODIFIED_SINCE),
            none_match: tags(headers, &header::IF_NONE_MATCH),
            modified_since: date(headers, &header::IF_MODIFIED_SINCE),
            range: headers
                .get(header::IF_RANGE)
                .map(|value| IfRange::parse(value.to_str().unwrap_or_default())),
        }
    }

    /// Judges a GET or HEAD for an existing representation (RFC 9110, section 13.2.2, steps 1 to 4).
    #[must_use]
    pub(super) fn decide(&self, current: &Validators) -> Verdict {
        let holds = match (&self.matches, self.unmodified_since) {
            (Some(tags), _) => tags.contain_strongly(current.tag()),
            (None, Some(date)) => !current.modified_after(date).unwrap_or(false),
            (None, None) => true,
        };
        if !holds {
            return Verdict::PreconditionFailed;
        }
        let is_new = match (&self.none_match, self.modified_since) {
            (Some(tags), _) => !tags.contain_weakly(current.tag()),
            (None, Some(date)) => current.modified_after(date).unwrap_or(true),
            (None, None) => true,
        };
        if is_new {
            Verdict::Proceed
        } else {
            Verdict::NotModified
        }
    }

    /// Whether the client names versions that it has.
    #[must_use]
    pub(super) fn names_copies(&self) -> bool {
        self.none_match.is_some()
    }

    /// Whether the client insists on a version.
    #[must_use]
    pub(super) fn insists(&self) -> bool {
        self.matches.is_some()
    }

    /// Whether the part that the client has is of this representation by name.
    #[must_use]
    pub(super) fn continues(&self, current: &Validators) -> bool {
        matches!(&self.range, Some(IfRange::Tag(tag)) if tag.is_strongly(current.tag()))
    }

    /// Whether `Range` may be honoured (step 5): the part that the client has is of this very
    /// representation, so only a strong tag or the exact date will do.
    #[must_use]
    pub(super) fn allow_range(&self, current: &Validators) -> bool {
        match &self.range {
            None => true,
            Some(IfRange::Tag(tag)) => tag.is_strongly(current.tag()),
            Some(IfRange::Date(date)) => current.modified_at(*date),
            Some(IfRange::Nonsense) => false,
        }
    }
}

impl Tags {
    fn parse(list: &str) -> Self {
        if list.trim() == "*" {
            return Self::Any;
        }
        let mut tags = Vec::new();
        let mut rest = list;
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let Some((tag, after)) = Tag::split_from(rest) else {
                return Self::These(tags);
            };
            tags.push(tag);
            rest = after;
        }
    }

    /// For guarding updates: byte for byte the same (RFC 9110, section 8.8.3.2).
    fn contain_strongly(&self, current: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag.is_strongly(current)),
        }
    }

    /// For saving bytes: equivalent. Compression on the way out makes our tags weak, and they come
    /// back so.
    fn contain_weakly(&self, current: &str) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| tag.opaque == current),
        }
    }
}

impl Tag {
    /// Takes a tag off the front of a list.
    fn split_from(list: &str) -> Option<(Self, &str)> {
        let (weak, quoted) = match list.strip_prefix("W/") {
            Some(quoted) => (true, quoted),
            None => (false, list),
        };
        let (opaque, rest) = quoted.strip_prefix('"')?.split_once('"')?;
        Some((
            Self {
                weak,
                opaque: opaque.to_owned(),
            },
            rest,
        ))
    }

    fn is_strongly(&self, current: &str) -> bool {
        !self.weak && self.opaque == current
    }
}

impl IfRange {
    fn parse(value: &str) -> Self {
        match Tag::split_from(value.trim()) {
            Some((tag, "")) => Self::Tag(tag),
            Some(_) => Self::Nonsense,
            None => httpdate::parse_http_date(value.trim()).map_or(Self::Nonsense, Self::Date),
        }
    }
}

/// A list may be spread over several fields, which then mean their concatenation (section 5.3).
fn tags(headers: &HeaderMap, name: &HeaderName) -> Option<Tags> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap_or_default());
    let first = values.next()?;
    let list = values.fold(first.to_owned(), |list, value| list + "," + value);
    Some(Tags::parse(&list))
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let only = values.next().filter(|_| values.next().is_none())?;
    httpdate::parse_http_date(only.to_str().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::{Duration, UNIX_EPOCH};

    use http::HeaderValue;

    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const EXACT: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    /// Validators of a file written half a second after [`EXACT`].
    fn current() -> Validators {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), "content").unwrap();
        file.as_file()
            .set_modified(UNIX_EPOCH + Duration::from_millis(784_111_777_500))
            .unwrap();
        let later = SystemTime::now() + Duration::from_mins(1);
        Validators::of(&file.as_file().metadata().unwrap(), later)
    }

    /// `{}` in a value stands for the current tag.
    fn conditions(fields: &[(HeaderName, &str)], current: &Validators) -> Conditions {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let value = HeaderValue::try_from(value.replace("{}", current.tag())).unwrap();
            headers.append(name.clone(), value);
        }
        Conditions::read(&headers)
    }

    fn check<'a>(table: impl IntoIterator<Item = (&'a [(HeaderName, &'a str)], Verdict, &'a str)>) {
        let current = current();
        for (fields, expected, why) in table {
            let verdict = conditions(fields, &current).decide(&current);
            assert_eq!(verdict, expected, "{fields:?}: {why}");
        }
    }

    #[test]
    fn a_copy_that_is_current_is_not_sent_again() {
        use Verdict::{NotModified, Proceed};
        use header::{IF_MODIFIED_SINCE as MS, IF_NONE_MATCH as NM};
        check([
            (&[][..], Proceed, "nothing asked"),
            (&[(NM, "\"{}\"")], NotModified, "the same tag"),
            (&[(NM, "W/\"{}\"")], NotModified, "made weak by compression"),
            (&[(NM, "*")], NotModified, "anything"),
            (
                &[(NM, "\"x\", \"a,b\" ,W/\"{}\"")],
                NotModified,
                "a list, a comma inside a tag",
            ),
            (
                &[(NM, "\"x\""), (NM, "\"{}\"")],
                NotModified,
                "in a second field",
            ),
            (&[(NM, "\"x\"")], Proceed, "another tag"),
            (&[(NM, "{}")], Proceed, "no quotes, no tag"),
            (&[(NM, "w/\"{}\"")], Proceed, "W is upper case"),
            (&[(NM, "\"{}")], Proceed, "not closed"),
            (
                &[(NM, "\"x\""), (MS, AFTER)],
                Proceed,
                "the tag goes before the date",
            ),
            (
                &[(NM, "garbage"), (MS, AFTER)],
                Proceed,
                "even if it is none",
            ),
            (&[(NM, "\"{}\""), (MS, BEFORE)], NotModified, "both ways"),
            (&[(MS, BEFORE)], Proceed, "changed since"),
            (
                &[(MS, EXACT)],
                NotModified,
                "the fraction of a second does not count",
            ),
            (&[(MS, AFTER)], NotModified, "unchanged since"),
            (
                &[(MS, "Sunday, 06-Nov-94 08:49:37 GMT")],
                NotModified,
                "form of RFC 850",
            ),
            (
                &[(MS, "Sun Nov  6 08:49:37 1994")],
                NotModified,
                "form of C's asctime",
            ),
            (&[(MS, "yesterday")], Proceed, "no date"),
            (
                &[(MS, AFTER), (MS, AFTER)],
                Proceed,
                "two dates are no date",
            ),
        ]);
    }

    #[test]
    fn guards_fail_first() {
        use Verdict::{NotModified, PreconditionFailed, Proceed};
        use header::{
            IF_MATCH as M, IF_MODIFIED_SINCE as MS, IF_NONE_MATCH as NM, IF_UNMODIFIED_SINCE as US,
        };
        check([
            (&[(M, "\"{}\"")][..], Proceed, "the same tag"),
            (&[(M, "*")], Proceed, "there is one"),
            (&[(M, "\"x\"")], PreconditionFailed, "another tag"),
            (
                &[(M, "W/\"{}\"")],
                PreconditionFailed,
                "weak is not the same",
            ),
            (&[(M, "")], PreconditionFailed, "none of nothing"),
            (
                &[(M, "\"{}\""), (US, BEFORE)],
                Proceed,
                "the tag goes before the date",
            ),
            (
                &[(M, "\"x\""), (US, AFTER)],
                PreconditionFailed,
                "both ways",
            ),
            (&[(US, BEFORE)], PreconditionFailed, "changed since"),
            (&[(US, EXACT)], Proceed, "unchanged since"),
            (&[(US, "never")], Proceed, "no date"),
            (
                &[(M, "\"x\""), (NM, "\"{}\"")],
                PreconditionFailed,
                "a guard, then the copy",
            ),
            (
                &[(M, "\"{}\""), (NM, "\"{}\"")],
                NotModified,
                "the guard holds",
            ),
            (
                &[(US, BEFORE), (MS, AFTER)],
                PreconditionFailed,
                "the same with dates",
            ),
        ]);
    }

    #[test]
    fn a_range_needs_the_very_same_representation() {
        let current = current();
        for (value, expected, why) in [
            ("\"{}\"", true, "the same tag"),
            ("W/\"{}\"", false, "weak"),
            ("\"x\"", false, "another"),
            ("\"{}\", \"{}\"", false, "a list is not allowed"),
            ("*", false, "neither is a star"),
            (EXACT, true, "the exact date"),
            (AFTER, false, "later is not exact"),
            (BEFORE, false, "earlier neither"),
            ("", false, "nothing"),
        ] {
            let conditions = conditions(&[(header::IF_RANGE, value)], &current);
            assert_eq!(conditions.allow_range(&current), expected, "{value}: {why}");
        }
        assert!(Conditions::default().allow_range(&current), "no condition");
    }
}
