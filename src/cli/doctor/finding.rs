//! One line of the report.

use serde::Serialize;

use crate::config::Mask;
use crate::telemetry::redacted;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Grade {
    /// As it should be.
    Ok,
    /// Works, or may work: worth a look.
    Warn,
    /// Something will surely not work.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// How bad it is.
    pub(super) grade: Grade,
    /// What is so.
    pub(super) what: String,
    /// What to do about it; `None` where nothing is to be done.
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(what: impl Into<String>) -> Self {
        Self {
            grade: Grade::Ok,
            what: what.into(),
            remedy: None,
        }
    }

    pub(super) fn warn(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::graded(Grade::Warn, what, remedy)
    }

    pub(super) fn fail(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::graded(Grade::Fail, what, remedy)
    }

    pub(super) fn graded(grade: Grade, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            grade,
            what: what.into(),
            remedy: Some(remedy.into()),
        }
    }

    /// Of a message as this program writes them: what is wrong, a semicolon, what to do.
    pub(super) fn of_message(grade: Grade, message: &str, otherwise: &str) -> Self {
        let (what, remedy) = message.rsplit_once("; ").unwrap_or((message, otherwise));
        Self::graded(grade, what, remedy)
    }

    /// The same, as far as it may be seen.
    pub(super) fn without_secrets(self, mask: &Mask) -> Self {
        Self {
            grade: self.grade,
            what: redacted(&self.what, mask),
            remedy: self.remedy.map(|remedy| redacted(&remedy, mask)),
        }
    }

    /// The line, with the word for its grade in colour if `colour`.
    pub(super) fn line(&self, colour: bool) -> String {
        let (word, code) = match self.grade {
            Grade::Ok => ("ok  ", 32),
            Grade::Warn => ("warn", 33),
            Grade::Fail => ("FAIL", 31),
        };
        let word = if colour {
            format!("\x1b[{code}m{word}\x1b[0m")
        } else {
            word.to_owned()
        };
        // Messages of libraries may have several lines; a finding has one.
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        match &self.remedy {
            Some(remedy) => format!("{word}  {}  — {}", one_line(&self.what), one_line(remedy)),
            None => format!("{word}  {}", one_line(&self.what)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_whatever_it_says() {
        let table = [
            (Finding::ok("fine"), false, "ok    fine"),
            (
                Finding::fail("two\nlines", "do it"),
                false,
                "FAIL  two lines  — do it",
            ),
            (
                Finding::warn("odd", "look"),
                true,
                "\x1b[33mwarn\x1b[0m  odd  — look",
            ),
            (
                Finding::of_message(Grade::Fail, "a is bad; and b; fix it", "unused"),
                false,
                "FAIL  a is bad; and b  — fix it",
            ),
            (
                Finding::of_message(Grade::Fail, "a is bad", "fix it"),
                false,
                "FAIL  a is bad  — fix it",
            ),
        ];
        for (finding, colour, line) in table {
            assert_eq!(finding.line(colour), line);
        }
    }
}
