//! What is wrong with a configuration: everything at once, in the order of the file.

use std::fmt;

/// Every mistake of one configuration, sorted by line. Never empty.
///
/// It displays as one line per mistake:
/// `config.toml:12: server.max_body = "20MB?": not a size; write for example "20MiB"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<Mistake>);

/// One mistake: where it is, what is wrong, what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The file as the user named it, or the environment variable.
    pub source: String,
    /// 1-based line; `None` where the whole file or a variable is meant.
    pub line: Option<usize>,
    /// One line of text, secrets masked.
    pub text: String,
}

impl Mistakes {
    /// `None` when there is nothing to complain about.
    pub(super) fn of(mut list: Vec<Mistake>) -> Option<Self> {
        list.sort_by_key(|mistake| mistake.line.unwrap_or(usize::MAX));
        list.dedup();
        (!list.is_empty()).then_some(Self(list))
    }

    /// A single mistake that belongs to no line.
    pub(super) fn whole(source: impl Into<String>, text: impl Into<String>) -> Self {
        Self(vec![Mistake {
            source: source.into(),
            line: None,
            text: text.into(),
        }])
    }

    /// The mistakes by line; those without a line come last.
    pub fn iter(&self) -> std::slice::Iter<'_, Mistake> {
        self.0.iter()
    }
}

impl<'a> IntoIterator for &'a Mistakes {
    type Item = &'a Mistake;
    type IntoIter = std::slice::Iter<'a, Mistake>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.source, self.text),
            None => write!(f, "{}: {}", self.source, self.text),
        }
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, mistake) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            mistake.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}
