//! One value of the file on its way to a type, and what is said about it when it has none.

use toml::Spanned;
use toml::de::DeValue;

use super::keys::Kind;
use super::reader::Reader;
use super::values::mask_url_passwords;

/// One value and its name.
#[derive(Debug)]
pub(super) struct Node<'n> {
    pub(super) reader: &'n Reader<'n>,
    pub(super) path: String,
    pub(super) kind: &'static Kind,
    pub(super) value: &'n Spanned<DeValue<'n>>,
    /// False for a default.
    pub(super) written: bool,
}

impl Node<'_> {
    /// Notes what is wrong with the value, showing it unless it is a secret.
    pub(super) fn wrong(&self, what: &str) {
        let shown = match (self.kind, self.value.get_ref()) {
            (Kind::Secret, _) => " = ***".to_owned(),
            (_, DeValue::Array(_) | DeValue::Table(_)) => String::new(),
            _ => format!(" = {}", one_line(&mask_url_passwords(self.source()))),
        };
        self.reader
            .note(self.at(), format!("{}{shown}: {what}", self.path));
    }

    /// Notes that the value has the wrong type.
    pub(super) fn wrong_type(&self, expected: &str) {
        self.wrong(&format!(
            "must be {expected}, not {}",
            type_name(self.value.get_ref())
        ));
    }

    /// Notes what is wrong with the key, whatever its value.
    pub(super) fn note(&self, what: &str) {
        self.reader
            .note(self.at(), format!("{}: {what}", self.path));
    }

    /// One item of a list.
    pub(super) fn item<'m>(&'m self, value: &'m Spanned<DeValue<'m>>) -> Node<'m> {
        Node {
            reader: self.reader,
            path: self.path.clone(),
            kind: self.kind,
            value,
            written: self.written,
        }
    }

    /// Byte where the value begins; `None` for a default.
    pub(super) fn at(&self) -> Option<usize> {
        self.written.then(|| self.value.span().start)
    }

    /// The value as the file has it.
    pub(super) fn source(&self) -> &str {
        self.reader.text.get(self.value.span()).unwrap_or_default()
    }
}

/// How one names a TOML type to somebody who does not know TOML's words.
fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a decimal point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Longest piece of the file that a message shows, in characters.
const SHOWN: usize = 80;

/// `text` without line breaks and other control characters, and not longer than a message bears.
pub(super) fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .take(SHOWN)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if text.chars().nth(SHOWN).is_some() {
        line.push('…');
    }
    line
}
