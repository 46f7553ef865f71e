//! What a note is, as types that can't hold anything else.

use std::fmt;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use serde::{Serialize, Serializer};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

use super::problem::Problem;

/// The longest title, in characters (Unicode scalar values). The table's constraint says the same.
const MAX_TITLE: usize = 160;

/// The title of a note that was given none.
const UNTITLED: &str = "Untitled";

/// A note as it is stored and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Made by the server; never changes.
    pub id: NoteId,
    /// One line, 1 to 160 characters.
    pub title: String,
    /// Any text without NUL; may be empty.
    pub body: String,
    /// When it was written, to the microsecond.
    #[serde(serialize_with = "rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last changed; never before `created_at`.
    #[serde(serialize_with = "rfc3339")]
    pub updated_at: OffsetDateTime,
    /// 1 for a new note, one more with every change.
    pub version: i64,
}

/// The name of a note: a UUID in its usual form of 36 characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct NoteId(pub Uuid);

/// A text that is no [`NoteId`] as we write it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not the id of a note")]
pub struct NotAnId;

impl NoteId {
    /// A fresh one. Version 7 grows with time, so new rows land side by side in the index.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::now_v7())
    }
}

impl FromStr for NoteId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // `Uuid` would also read braces, URNs, bare digits and capitals: many URLs for one note.
        let id = Self(Uuid::try_parse(text).map_err(|_| NotAnId)?);
        if id.to_string() == text {
            Ok(id)
        } else {
            Err(NotAnId)
        }
    }
}

impl fmt::Display for NoteId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// From the path. What isn't an id names no note: 404.
impl<S: Send + Sync> FromRequestParts<S> for NoteId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        Path::<String>::from_request_parts(parts, state)
            .await
            .ok()
            .and_then(|Path(text)| text.parse().ok())
            .ok_or_else(Problem::no_such_note)
    }
}

/// A title: 1 to 160 characters on one line, no white space at its ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title(String);

/// Why a text is no title. The message continues a sentence that names the field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TitleError {
    /// Nothing, or white space only.
    #[error("must not be empty")]
    Empty,
    /// More than 160 characters; holds how many.
    #[error("must have at most {MAX_TITLE} characters, but has {0}")]
    TooLong(usize),
    /// NUL, a line break, a tab, an escape …
    #[error("must be one line without control characters, but has U+{:04X}", u32::from(*.0))]
    Control(char),
}

impl Title {
    /// Takes the white space off both ends and accepts what then is 1 to 160 characters.
    ///
    /// Control characters (Unicode's Cc, so line breaks and tabs too) are refused: a title is shown
    /// in lists, terminals and logs, where they would break or forge lines.
    ///
    /// # Errors
    /// [`TitleError`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, TitleError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TitleError::Empty);
        }
        if let Some(control) = text.chars().find(|character| character.is_control()) {
            return Err(TitleError::Control(control));
        }
        match text.chars().count() {
            1..=MAX_TITLE => Ok(Self(text.to_owned())),
            length => Err(TitleError::TooLong(length)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// "Untitled".
impl Default for Title {
    fn default() -> Self {
        Self(UNTITLED.to_owned())
    }
}

impl From<Title> for String {
    fn from(title: Title) -> Self {
        title.0
    }
}

/// The text of a note, kept as it came: line ends, leading blanks and all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Body(String);

/// The one thing a body can't hold, because PostgreSQL's `text` can't.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must not contain NUL (U+0000)")]
pub struct NulInBody;

impl Body {
    /// Accepts any text without NUL. The edge has limited its length.
    ///
    /// # Errors
    /// [`NulInBody`].
    pub fn parse(text: String) -> Result<Self, NulInBody> {
        if text.contains('\0') {
            return Err(NulInBody);
        }
        Ok(Self(text))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<Body> for String {
    fn from(body: Body) -> Self {
        body.0
    }
}

/// RFC 3339 in UTC with all six digits, so that texts of two moments compare as the moments do.
fn rfc3339<S: Serializer>(moment: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let text = moment
        .to_offset(time::UtcOffset::UTC)
        .format(FORMAT)
        .map_err(serde::ser::Error::custom)?;
    serializer.serialize_str(&text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn titles_are_one_line_of_1_to_160_characters() {
        let long = |character: &str, count| character.repeat(count);
        for (text, expected, why) in [
            ("milk", Ok("milk"), "plain"),
            (
                "  two  words\u{3000}\n",
                Ok("two  words"),
                "white space at the ends goes",
            ),
            (
                &long("ä", 160),
                Ok(&*long("ä", 160)),
                "160 characters in 320 bytes",
            ),
            (
                &long("🦀", 160),
                Ok(&*long("🦀", 160)),
                "160 characters in 320 UTF-16 units",
            ),
            (
                &long("🦀", 161),
                Err(TitleError::TooLong(161)),
                "161 characters",
            ),
            (
                &format!(" {} ", long("x", 160)),
                Ok(&*long("x", 160)),
                "160 after trimming",
            ),
            ("", Err(TitleError::Empty), "nothing"),
            (
                " \t\r\n\u{a0}\u{2003}",
                Err(TitleError::Empty),
                "white space only",
            ),
            ("a\0b", Err(TitleError::Control('\0')), "NUL"),
            (
                "a\0",
                Err(TitleError::Control('\0')),
                "NUL isn't trimmed away",
            ),
            ("two\nlines", Err(TitleError::Control('\n')), "a line break"),
            ("a\tb", Err(TitleError::Control('\t')), "a tab"),
            (
                "\u{1b}[31mred",
                Err(TitleError::Control('\u{1b}')),
                "a terminal's escape",
            ),
            (
                "a\u{9b}b",
                Err(TitleError::Control('\u{9b}')),
                "a C1 control",
            ),
        ] {
            let parsed = Title::parse(text).map(String::from);
            assert_eq!(parsed, expected.map(str::to_owned), "{why}");
        }
    }

    #[test]
    fn messages_continue_a_sentence() {
        for (error, expected) in [
            (
                TitleError::Control('\n'),
                "must be one line without control characters, but has U+000A",
            ),
            (
                TitleError::TooLong(161),
                "must have at most 160 characters, but has 161",
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn a_title_is_what_is_left_of_1_to_160_characters(
            text in "[ \\PC]{0,40}|[ \\PC]{155,170}|[ a🦀é]{158,163}|(?s).{0,20}"
        ) {
            let trimmed = text.trim();
            let is_title = (1..=160).contains(&trimmed.chars().count())
                && !trimmed.chars().any(char::is_control);
            let parsed = Title::parse(&text);
            prop_assert_eq!(parsed.is_ok(), is_title);
            if let Ok(title) = parsed {
                prop_assert_eq!(title.as_str(), trimmed);
                prop_assert_eq!(Title::parse(title.as_str()), Ok(title.clone()));
            }
        }
    }

    #[test]
    fn an_id_has_one_spelling() {
        let id = "0192f4a1-0000-7000-8000-00000000abcd";
        assert_eq!(id.parse::<NoteId>().expect("an id").to_string(), id);
        for text in [
            "",
            "1",
            "events",
            "0192f4a1000070008000000000000001",
            "{0192f4a1-0000-7000-8000-000000000001}",
            "urn:uuid:0192f4a1-0000-7000-8000-000000000001",
            "0192f4a1-0000-7000-8000-00000000000g",
            "0192f4a1-0000-7000-8000-0000000000011",
            "0192f4a1-0000-7000-8000-00000000ABCD",
        ] {
            assert!(text.parse::<NoteId>().is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_utc_with_six_digits() {
        let note = Note {
            id: NoteId(Uuid::nil()),
            title: "t".into(),
            body: "b".into(),
            created_at: datetime!(2026-01-02 03:04:05 +2),
            updated_at: datetime!(2026-01-02 03:04:05.678_901 UTC),
            version: 3,
        };
        let expected = json!({
            "id": "00000000-0000-0000-0000-000000000000",
            "title": "t",
            "body": "b",
            "created_at": "2026-01-02T01:04:05.000000Z",
            "updated_at": "2026-01-02T03:04:05.678901Z",
            "version": 3,
        });
        assert_eq!(serde_json::to_value(note).expect("JSON"), expected);
    }
}
