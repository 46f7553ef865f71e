//! Writes a configuration as TOML, table by table and key by key; each module prints its own table.

use std::fmt::{Display, Write as _};

use http::{HeaderName, HeaderValue};

use super::environment::escape;
use super::values::{Mask, Secret};

/// One table of the file.
pub(super) struct Section {
    /// As the file has it: `[server]`, `[[route]]`.
    pub(super) heading: String,
    /// Nobody wrote it.
    pub(super) is_default: bool,
    /// Keys and their values, as TOML.
    pub(super) entries: Vec<(String, String)>,
}

/// Whether secrets are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrets {
    Masked,
    /// SECURITY: for comparing, never for anybody to read.
    Told,
}

/// What has been printed so far.
pub(super) struct Printer {
    pub(super) secrets: Secrets,
    pub(super) mask: Mask,
    pub(super) sections: Vec<Section>,
    /// Whether the next section is for reading only.
    pub(super) is_default: bool,
}

impl Printer {
    pub(super) fn heading(&mut self, heading: &str) {
        self.sections.push(Section {
            heading: heading.to_owned(),
            is_default: self.is_default,
            entries: Vec::new(),
        });
    }

    pub(super) fn plain(&mut self, key: &str, value: impl Display) {
        // Every key has its heading before it.
        if let Some(section) = self.sections.last_mut() {
            section.entries.push((key.to_owned(), value.to_string()));
        }
    }

    /// A secret, if there is one, as `mask` shows it.
    pub(super) fn secret(
        &mut self,
        key: &str,
        secret: Option<&Secret>,
        mask: impl Fn(&str) -> String,
    ) {
        let secret = secret.map(Secret::reveal);
        let shown = secret.map(|secret| match self.secrets {
            Secrets::Masked => mask(secret),
            Secrets::Told => secret.to_owned(),
        });
        self.text(key, shown.unwrap_or_default());
    }

    pub(super) fn text(&mut self, key: &str, value: impl Display) {
        self.plain(key, quoted(&escape(&value.to_string())));
    }

    pub(super) fn header(&mut self, table: &str, name: &HeaderName, value: &HeaderValue) {
        let is_hidden = self.mask.hides(name.as_str().as_bytes());
        let value = if is_hidden { "***" } else { shown(value) };
        self.text(&format!("{table}{}", quoted(name.as_str())), value);
    }

    pub(super) fn texts<T: Display>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        let quoted = values
            .into_iter()
            .map(|value| quoted(&escape(&value.to_string())));
        self.plain(
            key,
            format_args!("[{}]", quoted.collect::<Vec<_>>().join(", ")),
        );
    }
}

/// A TOML basic string on one line.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            // Writing to a `String` cannot fail.
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

pub(super) fn shown(value: &HeaderValue) -> &str {
    // Headers are read from text (`read::header_value`).
    value.to_str().unwrap_or_default()
}
