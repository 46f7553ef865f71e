//! Environment variables, and the `${NAME}` that brings them into the configuration.
//!
//! | written | becomes |
//! |---|---|
//! | `${NAME}` | the variable; a mistake when it is not set |
//! | `${NAME:-default}` | the variable, or `default` when it is not set or empty |
//! | `$$` | one dollar |
//!
//! A dollar in front of anything else stays as it is, except `$NAME` without braces: whoever writes
//! that expects a variable, so it is a mistake rather than a silent `$NAME` in a password.

use std::collections::BTreeMap;

/// Where variables come from: the process in production, a fixed list in tests, which then need
/// not change the environment they share.
#[derive(Debug, Clone, Default)]
pub struct Environment(Source);

#[derive(Debug, Clone)]
enum Source {
    Process,
    Fixed(BTreeMap<String, String>),
}

impl Environment {
    /// The environment of this process.
    #[must_use]
    pub fn process() -> Self {
        Self(Source::Process)
    }

    /// No variable at all.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The value of `name`. A value that is not UTF-8 counts as not set.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<String> {
        match &self.0 {
            Source::Process => std::env::var(name).ok(),
            Source::Fixed(variables) => variables.get(name).cloned(),
        }
    }

    /// `text` with its `${NAME}` filled in.
    ///
    /// # Errors
    /// Every variable that is not set and every piece that does not read as one, a line each.
    pub(super) fn fill_in(&self, text: &str) -> Result<String, Vec<String>> {
        let mut filled = String::with_capacity(text.len());
        let mut wrong = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            filled.push_str(before);
            rest = after;
            if let Some(after) = rest.strip_prefix('$') {
                filled.push('$');
                rest = after;
            } else if let Some(after) = rest.strip_prefix('{') {
                let Some((inside, after)) = after.split_once('}') else {
                    wrong.push("`${` without `}`; write `$$` for a dollar".to_owned());
                    break;
                };
                match self.piece(inside) {
                    Ok(value) => filled.push_str(&value),
                    Err(what) => wrong.push(what),
                }
                rest = after;
            } else if rest.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
                let name = leading_name(rest);
                let of_nginx = match name {
                    "host" | "http_host" => "; what nginx means by it is {host}, in a redirect",
                    "uri" | "request_uri" => "; what nginx means by it is {path}, in a redirect",
                    _ => "",
                };
                wrong.push(format!(
                    "write ${{{name}}} for the variable, or $${name} for a dollar{of_nginx}"
                ));
            } else {
                filled.push('$');
            }
        }
        filled.push_str(rest);
        if wrong.is_empty() {
            Ok(filled)
        } else {
            Err(wrong)
        }
    }

    /// What stands for `NAME` or `NAME:-default`.
    fn piece(&self, inside: &str) -> Result<String, String> {
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        let starts_like_a_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts_like_a_name || leading_name(name) != name {
            return Err(
                "a variable is written ${NAME} or ${NAME:-default}; write `$$` for a dollar"
                    .to_owned(),
            );
        }
        match (self.variable(name), default) {
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (Some(value), None) => Ok(value),
            (_, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(format!(
                "the environment variable {name} is not set; set it or write ${{{name}:-default}}"
            )),
        }
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(variables: [(&str, &str); N]) -> Self {
        Self(Source::Fixed(
            variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        ))
    }
}

impl Default for Source {
    fn default() -> Self {
        Self::Fixed(BTreeMap::new())
    }
}

/// `text` written so that [`Environment::fill_in`] gives it back.
pub(super) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    &text[..end.unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn variables_are_filled_in() {
        let environment =
            Environment::from([("HOST", "db"), ("EMPTY", ""), ("MONEY", "${HOST}$$")]);
        for (text, expected, why) in [
            ("plain", "plain", "nothing to do"),
            ("${HOST}:5432", "db:5432", "a variable"),
            ("${HOST}${HOST}", "dbdb", "twice"),
            ("${PORT:-5432}", "5432", "not set: the default"),
            ("${EMPTY:-x}", "x", "empty: the default, as in a shell"),
            ("${EMPTY}", "", "empty is set"),
            ("${PORT:-}", "", "an empty default"),
            ("${HOST:-x}", "db", "set: not the default"),
            ("${A:-b:-c}", "b:-c", "the first :- counts"),
            ("a$$b", "a$b", "an escaped dollar"),
            ("$${HOST}", "${HOST}", "an escaped variable"),
            ("5$ and $5", "5$ and $5", "a dollar before no name"),
            ("${MONEY}", "${HOST}$$", "what came in is not read again"),
        ] {
            assert_eq!(
                environment.fill_in(text).as_deref(),
                Ok(expected),
                "{text}: {why}"
            );
        }
    }

    #[test]
    fn what_cannot_be_filled_in_is_named() {
        for (text, expected, count) in [
            ("${DB}", "DB is not set", 1),
            ("${A} and ${B}", "A is not set", 2),
            ("${A", "without", 1),
            ("${}", "${NAME}", 1),
            ("${1A}", "${NAME}", 1),
            ("${A-b}", "${NAME}", 1),
            ("pass$word", "write ${word}", 1),
            ("https://$host$request_uri", "by it is {host}", 2),
        ] {
            let wrong = Environment::empty().fill_in(text).expect_err(text);
            assert_eq!(wrong.len(), count, "{text}");
            assert!(wrong[0].contains(expected), "{text}: {wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn escaping_is_undone(text in "[a-z${}:$-]*") {
            prop_assert_eq!(Environment::empty().fill_in(&escape(&text)), Ok(text));
        }

        #[test]
        fn filling_in_never_panics(text in "\\PC*") {
            let _ = Environment::empty().fill_in(&text);
        }
    }
}
