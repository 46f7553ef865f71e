//! Values that must not show, from the file, from a file of their own, or from the environment.

use std::path::PathBuf;

use super::node::Node;
use super::read::{path, string, unless_empty};
use super::reader::Section;
use super::values::Secret;

/// `DATABASE_URL`, else `database.url`, else the contents of `database.url_file`.
pub(super) fn database_url(section: &Section<'_>) -> Option<Secret> {
    let written = secret(section, "url", "url_file", check_database_url);
    let reader = section.reader;
    // Compose and CI files set variables to nothing when they mean "not set".
    match reader
        .environment
        .variable("DATABASE_URL")
        .filter(|url| !url.is_empty())
    {
        None => written,
        Some(url) => {
            if let Err(what) = check_database_url(&url) {
                reader.note_of("DATABASE_URL", what);
            }
            Some(Secret::new(url))
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
fn secret(
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
        match std::fs::read_to_string(&file) {
            Ok(contents) => {
                let line = contents.strip_suffix('\n').unwrap_or(&contents);
                let line = line.strip_suffix('\r').unwrap_or(line);
                Some(checked(node, line.to_owned()))
            }
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
