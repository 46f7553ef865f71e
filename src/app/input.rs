//! What a client may say of a note: the whole of a new one, or a change.
//!
//! Documents are judged to their end, so that a form can mark all that is wrong with it at once.

use super::json::{Object, Value};
use super::note::{Body, Title};
use super::problem::FieldError;

/// All that a client decides about a note.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NewNote {
    /// Its title.
    pub title: Title,
    /// Its text.
    pub body: Body,
}

impl NewNote {
    /// A note to create: "Untitled" without a title, empty without a body.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub(super) fn parse(object: Object) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::sort(object);
        let title = fields.title();
        let body = fields.body();
        fields.finish(Self {
            title: title.unwrap_or_default(),
            body: body.unwrap_or_default(),
        })
    }

    /// What replaces a whole note (PUT): the title is required, because an editor that forgot it
    /// must not rename the note; a body left out is an empty one, as replacing means.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub(super) fn parse_replacement(object: Object) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::sort(object);
        if fields.title.is_none() {
            fields.refuse("title", "is required");
        }
        let title = fields.title();
        let body = fields.body();
        fields.finish(Self {
            title: title.unwrap_or_default(),
            body: body.unwrap_or_default(),
        })
    }
}

/// A change of some of a note's members: `None` leaves one as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NotePatch {
    /// The new title.
    pub title: Option<Title>,
    /// The new text.
    pub body: Option<Body>,
}

impl NotePatch {
    /// Reads a JSON Merge Patch (RFC 7396). There, null removes a member: a note without a body has
    /// the empty one; a note without a title there can't be, so a null title is refused.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once.
    pub(super) fn parse(object: Object) -> Result<Self, Vec<FieldError>> {
        let mut fields = Fields::sort(object);
        if matches!(fields.body, Some(Value::Null)) {
            fields.body = Some(Value::Text(String::new()));
        }
        let title = fields.title();
        let body = fields.body();
        fields.finish(Self { title, body })
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.title.is_none() && self.body.is_none()
    }
}

/// The members of a document, told apart, and what was wrong with them so far.
#[derive(Default)]
struct Fields {
    title: Option<Value>,
    body: Option<Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    fn sort(object: Object) -> Self {
        let mut fields = Self::default();
        for (name, value) in object.members {
            let field = match name.as_str() {
                "title" => &mut fields.title,
                "body" => &mut fields.body,
                "id" | "created_at" | "updated_at" | "version" => {
                    fields.refuse(&name, "is set by the server; leave it out");
                    continue;
                }
                _ => {
                    fields.refuse(&name, "is unknown; a note has a title and a body");
                    continue;
                }
            };
            // RFC 8259, section 4: with a name twice, readers disagree on which counts.
            if field.replace(value).is_some() {
                fields.refuse(&name, "is there more than once");
            }
        }
        if object.has_more {
            fields.refuse("", "has too many members");
        }
        fields
    }

    fn title(&mut self) -> Option<Title> {
        let text = self.text("title", |fields| fields.title.take())?;
        Title::parse(&text)
            .map_err(|error| self.refuse("title", &error.to_string()))
            .ok()
    }

    fn body(&mut self) -> Option<Body> {
        let text = self.text("body", |fields| fields.body.take())?;
        Body::parse(text)
            .map_err(|error| self.refuse("body", &error.to_string()))
            .ok()
    }

    fn text(&mut self, name: &str, take: fn(&mut Self) -> Option<Value>) -> Option<String> {
        match take(self)? {
            Value::Text(text) => Some(text),
            other => {
                self.refuse(name, &format!("must be a string, not {}", other.kind()));
                None
            }
        }
    }

    fn refuse(&mut self, field: &str, detail: &str) {
        self.errors.push(FieldError::new(field, detail));
    }

    fn finish<T>(self, parsed: T) -> Result<T, Vec<FieldError>> {
        if self.errors.is_empty() {
            Ok(parsed)
        } else {
            Err(self.errors)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Members<'a> = &'a [(&'a str, Value)];
    type Refused<'a> = &'a [&'a str];

    fn object(members: &[(&str, Value)]) -> Object {
        let members = members.iter();
        Object {
            members: members
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
            has_more: false,
        }
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    fn fields(errors: Vec<FieldError>) -> Vec<String> {
        errors.into_iter().map(|error| error.field).collect()
    }

    fn note(title: &str, body: &str) -> NewNote {
        NewNote {
            title: Title::parse(title).expect("a title"),
            body: Body::parse(body.to_owned()).expect("a body"),
        }
    }

    #[test]
    fn creating_and_replacing_differ_in_the_title_left_out() {
        type Outcome<'a> = Result<NewNote, Refused<'a>>;
        let full = [("title", text(" a ")), ("body", text(" b\n"))];
        let cases: &[(Members, Outcome, Outcome)] = &[
            (&full, Ok(note("a", " b\n")), Ok(note("a", " b\n"))),
            (&full[..1], Ok(note("a", "")), Ok(note("a", ""))),
            (&full[1..], Ok(note("Untitled", " b\n")), Err(&["title"])),
            (&[], Ok(note("Untitled", "")), Err(&["title"])),
            (&[("title", text("  "))], Err(&["title"]), Err(&["title"])),
            (&[("title", Value::Null)], Err(&["title"]), Err(&["title"])),
            (
                &[("title", Value::Number), ("body", Value::Null)],
                Err(&["title", "body"]),
                Err(&["title", "body"]),
            ),
        ];
        for (members, created, replaced) in cases {
            let outcome = NewNote::parse(object(members)).map_err(fields);
            let expected = created
                .clone()
                .map_err(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(outcome, expected, "creating with {members:?}");
            let outcome = NewNote::parse_replacement(object(members)).map_err(fields);
            let expected = replaced
                .clone()
                .map_err(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(outcome, expected, "replacing with {members:?}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let errors = NewNote::parse(object(&[
            ("Title", text("a")),
            ("title", text("a")),
            ("body", text("a\0")),
            ("title", text("b\0")),
            ("version", Value::Number),
        ]))
        .expect_err("several mistakes");
        let told: Vec<_> = errors
            .iter()
            .map(|error| (error.field.as_str(), error.detail.as_str()))
            .collect();
        let expected = [
            ("Title", "is unknown; a note has a title and a body"),
            ("title", "is there more than once"),
            ("version", "is set by the server; leave it out"),
            (
                "title",
                "must be one line without control characters, but has U+0000",
            ),
            ("body", "must not contain NUL (U+0000)"),
        ];
        assert_eq!(told, expected);
    }

    #[test]
    fn a_patch_tells_absent_from_null() {
        let patch = |title: Option<&str>, body: Option<&str>| NotePatch {
            title: title.map(|text| Title::parse(text).expect("a title")),
            body: body.map(|text| Body::parse(text.to_owned()).expect("a body")),
        };
        let cases: &[(Members, Result<NotePatch, Refused>)] = &[
            (&[], Ok(patch(None, None))),
            (&[("title", text("a"))], Ok(patch(Some("a"), None))),
            (&[("body", text(""))], Ok(patch(None, Some("")))),
            (&[("body", Value::Null)], Ok(patch(None, Some("")))),
            (&[("title", Value::Null)], Err(&["title"])),
            (&[("title", text(" "))], Err(&["title"])),
            (
                &[("body", Value::Array), ("x", Value::Null)],
                Err(&["x", "body"]),
            ),
        ];
        for (members, expected) in cases {
            let outcome = NotePatch::parse(object(members)).map_err(fields);
            let expected = expected
                .clone()
                .map_err(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(outcome, expected, "{members:?}");
        }
        assert!(patch(None, None).is_empty());
        assert!(!patch(None, Some("")).is_empty());
    }
}
