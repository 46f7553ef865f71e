//! Values that must not show, from the file, from a file of their own, or from the environment.

use std::path::{Path, PathBuf};

use super::node::Node;
use super::read::{path, string, unless_empty};
use super::reader::Section;
use super::values::Secret;

/// `DATABASE_URL`, else the contents of the file in `DATABASE_URL_FILE`, else `database.url`, else
/// the contents of `database.url_file`.
pub(super) fn database_url(section: &Section<'_>) -> Option<Secret> {
    let written = secret(section, "url", "url_file", check_database_url);
    variable(section, "DATABASE_URL", Ok)
        .or_else(|| {
            variable(section, "DATABASE_URL_FILE", |file| {
                read(Path::new(&file)).map_err(|error| format!("cannot read {file}: {error}"))
            })
        })
        .or(written)
}

/// The database's URL as `url_of` makes it from the environment variable `name`.
fn variable(
    section: &Section<'_>,
    name: &str,
    url_of: impl Fn(String) -> Result<String, String>,
) -> Option<Secret> {
    let reader = section.reader;
    // Compose and CI files set variables to nothing when they mean "not set".
    let value = reader
        .environment
        .variable(name)
        .filter(|value| !value.is_empty())?;
    let url = url_of(value).and_then(|url| check_database_url(&url).map(|()| url));
    match url {
        Ok(url) => Some(Secret::new(url)),
        Err(what) => {
            reader.note_of(name, what);
            None
        }
    }
}

fn check_database_url(url: &str) -> Result<(), String> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        return Ok(());
    }
    Err("not a PostgreSQL URL; write for example postgres://user:password@host/database".to_owned())
}

/// The secret `key`, or the contents of the file that its twin names, without one line break at
/// the end. Empty is none.
pub(super) fn secret(
    section: &Section<'_>,
    key: &str,
    twin: &str,
    check: impl Fn(&str) -> Result<(), String>,
) -> Option<Secret> {
    let checked = |node: &Node<'_>, secret: String| {
        if let Err(what) = check(&secret) {
            node.wrong(&what);
        }
        Secret::new(secret)
    };
    let direct = section.value(key, unless_empty(|node| Some(checked(node, string(node)?))));
    let from_file = section.optional(twin, |node| {
        let file: PathBuf = path(node)?;
        match read(&file) {
            Ok(secret) => Some(checked(node, secret)),
            Err(error) => {
                node.wrong(&format!("cannot read {}: {error}", file.display()));
                None
            }
        }
    });
    if direct.is_some() && section.has(twin) {
        section.note_combination_at(twin, &format!("{key} is set as well; keep one of them"));
    }
    direct.or(from_file)
}

/// A secret's file without one line break at its end.
fn read(file: &Path) -> std::io::Result<String> {
    let contents = std::fs::read_to_string(file)?;
    let line = contents.strip_suffix('\n').unwrap_or(&contents);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
