//! From a file to a [`Config`].

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::environment::Environment;
use super::mistakes::Mistakes;
use super::node::one_line;
use super::reader::{Reader, Section};
use super::{Config, Mask, Reach, file, log, reach};

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "config.toml";

/// Reads the configuration file at `path`. Relative paths in it begin at its directory.
///
/// # Errors
/// Every mistake in it, or that it cannot be read.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Mistakes> {
    Source::read(path)?.config(environment)
}

/// Reads the file that the user named, or [`DEFAULT_FILE`] in the working directory, which need not
/// be there: then everything has its default, and relative paths begin at the working directory.
///
/// # Errors
/// As [`load`]. A file that was named must be there.
pub fn load_or_default(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<Config, Mistakes> {
    Source::named_or_default(named)?.config(environment)
}

/// Reads `server.admin` of the file that [`load_or_default`] would read, and passes over what is wrong
/// with other keys.
///
/// # Errors
/// As [`load_or_default`], where the key itself is wrong or may stand in a piece that is not TOML.
pub fn load_admin(
    named: Option<&Path>,
    environment: &Environment,
) -> Result<Option<SocketAddr>, Mistakes> {
    Source::named_or_default(named)?.part(environment, reach::ADMIN, reach::admin)
}

/// Reads where visitors reach the server, as [`load_admin`] reads its key.
///
/// # Errors
/// As [`load_admin`].
pub fn load_reach(named: Option<&Path>, environment: &Environment) -> Result<Reach, Mistakes> {
    Source::named_or_default(named)?.part(environment, reach::REACH, reach::reach)
}

/// Reads `log.mask`, as [`load_admin`] reads its key. Where that can't be, what is said of it must not show
/// secrets either: then it is the default.
#[must_use]
#[expect(clippy::missing_panics_doc, reason = "an empty file has no mistake")]
pub fn load_mask(named: Option<&Path>, environment: &Environment) -> Mask {
    let read =
        |source: Source| source.part(environment, log::MASK, |root| log::mask(&root.table("log")));
    let nothing = || Source::empty(Path::new("."));
    Source::named_or_default(named)
        .and_then(read)
        .or_else(|_| read(nothing()))
        .expect("an empty file has no mistake")
}

/// Reads `text` as the configuration file of the directory `dir`.
///
/// # Errors
/// Every mistake in it.
pub fn parse(text: &str, dir: &Path, environment: &Environment) -> Result<Config, Mistakes> {
    let source = Source {
        text: text.to_owned(),
        name: DEFAULT_FILE.to_owned(),
        dir: dir.to_owned(),
    };
    source.config(environment)
}

impl Config {
    /// What an empty file in `dir` means, with no variable set: a start for tests.
    ///
    /// # Panics
    /// Where `dir` has a file in the place of a directory: `data` or `certs`.
    #[must_use]
    pub fn default_for(dir: &Path) -> Self {
        parse("", dir, &Environment::empty()).unwrap_or_else(|mistakes| {
            panic!("the defaults do not fit {}: {mistakes}", dir.display())
        })
    }
}

/// A file that was read.
struct Source {
    text: String,
    /// As messages call it.
    name: String,
    /// What relative paths are relative to.
    dir: PathBuf,
}

impl Source {
    fn read(path: &Path) -> Result<Self, Mistakes> {
        let name = path.display().to_string();
        let text = std::fs::read(path).map_err(|error| {
            let what = match error.kind() {
                ErrorKind::NotFound => "no such file; name another with --config".to_owned(),
                _ => format!("cannot be read: {error}"),
            };
            Mistakes::whole(&name, what)
        })?;
        let text = String::from_utf8(text)
            .map_err(|_| Mistakes::whole(&name, "is not UTF-8 text; save it as UTF-8"))?;
        let dir = directory_of(path);
        Ok(Self { text, name, dir })
    }

    /// An empty file in `dir`.
    fn empty(dir: &Path) -> Self {
        Self {
            text: String::new(),
            name: DEFAULT_FILE.to_owned(),
            dir: dir.to_owned(),
        }
    }

    fn named_or_default(named: Option<&Path>) -> Result<Self, Mistakes> {
        let default = Path::new(DEFAULT_FILE);
        match named {
            Some(path) => Self::read(path),
            // Not `exists()`, for which a file that may not be read is one that is not there.
            None if default
                .symlink_metadata()
                .is_err_and(|error| error.kind() == ErrorKind::NotFound) =>
            {
                Ok(Self::empty(&directory_of(default)))
            }
            None => Self::read(default),
        }
    }

    fn config(&self, environment: &Environment) -> Result<Config, Mistakes> {
        let (document, errors) = DeTable::parse_recoverable(&self.text);
        let mut reader = Reader::new(&self.name, &self.text, &self.dir, environment);
        note_syntax(&mut reader, document.get_ref(), &errors);
        let config = file::config(&reader.root(document.get_ref()));
        match reader.mistakes() {
            None => Ok(config),
            Some(mistakes) => Err(mistakes),
        }
    }

    /// What `read` makes of the keys `only`, whatever is wrong with others; else every mistake.
    fn part<T>(
        &self,
        environment: &Environment,
        only: &'static [&'static str],
        read: impl Fn(&Section<'_>) -> T,
    ) -> Result<T, Mistakes> {
        let (document, errors) = DeTable::parse_recoverable(&self.text);
        let mut reader = Reader::new(&self.name, &self.text, &self.dir, environment);
        note_syntax(&mut reader, document.get_ref(), &errors);
        reader.noted.take();
        reader.only = Some(only);
        let part = read(&reader.root(document.get_ref()));
        match reader.mistakes() {
            None => Ok(part),
            Some(mistakes) => Err(self.config(environment).err().unwrap_or(mistakes)),
        }
    }
}

/// Notes where the text is not TOML: once a line, and once in a value, because one missing bracket
/// makes everything after it look wrong.
fn note_syntax(reader: &mut Reader<'_>, document: &DeTable<'_>, errors: &[toml::de::Error]) {
    let mut seen: Vec<Range<usize>> = Vec::new();
    let unclosed = |error: &&toml::de::Error| error.message().starts_with("unclosed");
    let (closing, others): (Vec<_>, Vec<_>) = errors.iter().partition(unclosed);
    for error in closing.into_iter().chain(others) {
        let span = error.span().unwrap_or(0..0);
        let value = value_around(document, span.start);
        let at_the_end = span.start >= reader.text.trim_end().len();
        let at = match &value {
            Some(value) if at_the_end || unclosed(&error) => value.start,
            _ => span.start,
        };
        let known = seen.iter().any(|seen| seen.contains(&span.start))
            || seen
                .iter()
                .any(|seen| reader.line(seen.start) == reader.line(at));
        if !known {
            reader.note(Some(at), format!("not TOML: {}", one_line(error.message())));
        }
        seen.push(value.map_or(at..at + 1, |value| value.start..value.end + 1));
        reader.broken.push(span);
    }
}

/// The outermost value in which `at` lies; the tables under `[headings]` are not values.
fn value_around(table: &DeTable<'_>, at: usize) -> Option<Range<usize>> {
    table.iter().find_map(|(_, value)| {
        let span = value.span();
        if span.start <= at && at <= span.end {
            return Some(span);
        }
        match value.get_ref() {
            DeValue::Table(table) => value_around(table, at),
            DeValue::Array(items) => {
                let tables = items.iter().filter_map(|item| item.get_ref().as_table());
                tables.into_iter().find_map(|table| value_around(table, at))
            }
            _ => None,
        }
    })
}

/// Where relative paths of the file at `path` begin, absolute: a configuration means the same
/// wherever its paths are opened.
fn directory_of(path: &Path) -> PathBuf {
    let parent = path.parent().unwrap_or(Path::new(""));
    std::env::current_dir().map_or_else(|_| parent.to_owned(), |current| current.join(parent))
}
