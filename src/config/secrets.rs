//! Values that must not show, from the file or from a file of their own.

use std::path::{Path, PathBuf};

use super::node::Node;
use super::read::{path, string, unless_empty};
use super::reader::Section;
use super::values::Secret;

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
        match contents(&file) {
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
pub(super) fn contents(file: &Path) -> std::io::Result<String> {
    let contents = std::fs::read_to_string(file)?;
    let line = contents.strip_suffix('\n').unwrap_or(&contents);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}
