//! Which part of the list of notes a request asks for, and how the next part is named.
//!
//! Parts are cut by key, not by offset: a cursor names the last note seen, so notes that come and
//! go meanwhile make nothing appear twice or get lost, and the last page costs what the first does.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::str::FromStr;

use time::OffsetDateTime;
use time::macros::datetime;
use url::form_urlencoded;
use uuid::Uuid;

use super::note::Note;
use super::problem::FieldError;

/// How many notes a page has unless the request says.
const DEFAULT_LIMIT: u8 = 50;

/// How many notes a page can have.
const MAX_LIMIT: u8 = 200;

/// The query of a request for notes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageRequest {
    /// How many notes at most, 1 to 200.
    pub(super) limit: u8,
    /// Where the page before ended; `None` for the first.
    pub(super) after: Option<Cursor>,
}

impl PageRequest {
    /// Reads the query, and refuses what it doesn't know: a misspelt `limit`, or a filter of a
    /// newer version, silently ignored, would give a right-looking wrong list.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub(super) fn parse(query: &str) -> Result<Self, Vec<FieldError>> {
        let mut limit = None;
        let mut after = None;
        let mut errors = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let outcome = match &*name {
                "limit" => set_once(&mut limit, parse_limit(&value)),
                "cursor" => set_once(&mut after, value.parse().map_err(|NotACursor| NOT_A_CURSOR)),
                _ => Err("is unknown; there are limit and cursor"),
            };
            if let Err(detail) = outcome {
                errors.push(FieldError::new(&name, detail));
            }
        }
        if errors.is_empty() {
            Ok(Self {
                limit: limit.unwrap_or(DEFAULT_LIMIT),
                after,
            })
        } else {
            Err(errors)
        }
    }
}

fn parse_limit(text: &str) -> Result<u8, &'static str> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|limit| is_digits && (1..=MAX_LIMIT).contains(limit))
        .ok_or("must be a whole number from 1 to 200")
}

fn set_once<T>(slot: &mut Option<T>, value: Result<T, &'static str>) -> Result<(), &'static str> {
    match slot.replace(value?) {
        None => Ok(()),
        Some(_) => Err("is there more than once"),
    }
}

/// A place between two notes. Its text is for the client opaque; for us it is the creation time in
/// microseconds and the id, both in hexadecimal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    pub(super) created_at: OffsetDateTime,
    pub(super) id: Uuid,
}

/// A text that no page ever gave.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotACursor;

const NOT_A_CURSOR: &str = "must be taken from the Link header of a page as it is";

impl Cursor {
    /// The place before the newest note there can be.
    pub(super) const BEFORE_ALL: Self = Self {
        created_at: datetime!(9999-12-31 23:59:59.999_999 UTC),
        id: Uuid::max(),
    };

    /// The place right after this note.
    pub(super) fn after(note: &Note) -> Self {
        Self {
            created_at: note.created_at,
            id: note.id.0,
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.created_at.unix_timestamp_nanos() / 1_000;
        write!(formatter, "{micros:016x}{}", self.id.simple())
    }
}

impl FromStr for Cursor {
    type Err = NotACursor;

    fn from_str(text: &str) -> Result<Self, NotACursor> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if text.len() != 48 || !is_hex {
            return Err(NotACursor);
        }
        let (micros, id) = text.split_at(16);
        let micros = i128::from_str_radix(micros, 16).map_err(|_| NotACursor)?;
        Ok(Self {
            created_at: OffsetDateTime::from_unix_timestamp_nanos(micros * 1_000)
                .map_err(|_| NotACursor)?,
            id: Uuid::try_parse(id).map_err(|_| NotACursor)?,
        })
    }
}

/// Some notes of the list, newest first.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) notes: Vec<Note>,
    /// Where the next page begins; `None` on the last.
    pub(super) next: Option<Cursor>,
}

impl Page {
    /// Changes whenever a note of the page does, or one comes or goes.
    ///
    /// A hash of what identifies each note's state, not of its bytes: some kilobytes of text per
    /// note needn't be read for it. Two instances of one build agree on it, and of different builds
    /// at worst an answer is sent once more than needed.
    pub(super) fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        for note in &self.notes {
            let changed_at = note.updated_at.unix_timestamp_nanos();
            (note.id.0.as_u128(), note.version, changed_at).hash(&mut hasher);
        }
        self.next.is_some().hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor {
        created_at: datetime!(2026-01-02 03:04:05.678_901 UTC),
        id: Uuid::from_u128(0x0192_f4a1_0000_7000_8000_0000_0000_0001),
    };

    #[test]
    fn queries_are_read_strictly() {
        let page = |limit, after| Ok(PageRequest { limit, after });
        let cursor = CURSOR.to_string();
        for (query, expected) in [
            ("", page(50, None)),
            ("limit=1", page(1, None)),
            ("limit=200", page(200, None)),
            (&format!("cursor={cursor}"), page(50, Some(CURSOR))),
            (&format!("limit=7&cursor={cursor}"), page(7, Some(CURSOR))),
            ("limit=0", Err(vec!["limit"])),
            ("limit=201", Err(vec!["limit"])),
            ("limit=", Err(vec!["limit"])),
            ("limit=-1", Err(vec!["limit"])),
            ("limit=%2B5", Err(vec!["limit"])),
            ("limit=5.0", Err(vec!["limit"])),
            ("limit=99999999999999999999", Err(vec!["limit"])),
            ("limit=1&limit=1", Err(vec!["limit"])),
            ("limt=5", Err(vec!["limt"])),
            ("limit=x&cursor=y&z", Err(vec!["limit", "cursor", "z"])),
        ] {
            let outcome = PageRequest::parse(query).map_err(|errors| {
                let fields = errors.into_iter().map(|error| error.field);
                fields.collect::<Vec<_>>()
            });
            let expected =
                expected.map_err(|fields| fields.into_iter().map(str::to_owned).collect());
            assert_eq!(outcome, expected, "{query}");
        }
    }

    #[test]
    fn a_cursor_survives_its_text() {
        assert_eq!(CURSOR.to_string().parse(), Ok(CURSOR));
    }

    #[test]
    fn what_no_page_gave_is_no_cursor() {
        let valid = CURSOR.to_string();
        for text in [
            "",
            "0",
            &valid[1..],
            &format!("{valid}0"),
            &valid.replacen('0', "+", 1),
            &valid.replacen('0', "g", 1),
            &format!("{}{}", "f".repeat(16), &valid[16..]),
            &format!("{}é", &valid[..46]),
        ] {
            assert_eq!(text.parse::<Cursor>(), Err(NotACursor), "{text}");
        }
    }
}
