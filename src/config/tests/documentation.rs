//! What the documentation says of keys is true of this version.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::config::keys::ROOT;

/// What only the reader's own files, names and secrets make right, and the rest of an excerpt.
const OF_THE_READER: [&str; 8] = [
    "cannot ",
    "no directory ",
    "environment variable",
    "is no age recipient",
    "is no public name",
    "not a hash of a password",
    "no upstream has this name",
    "route: must be tables",
];

#[test]
fn every_example_is_a_configuration() {
    let mut examples = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for (example, _) in text
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split_once("```"))
        {
            examples += 1;
            let Err(mistakes) = read(example) else {
                continue;
            };
            for mistake in mistakes.to_string().lines() {
                let of_the_reader = OF_THE_READER.iter().any(|what| mistake.contains(what));
                assert!(of_the_reader, "{}: {mistake}\n{example}", page.display());
            }
        }
    }
    assert!(examples > 20, "{examples} examples were found");
}

#[test]
fn every_key_that_is_named_exists() {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for table in ROOT.walk() {
        known.extend(table.keys.iter().map(|key| table.path_of(key.name)));
    }
    let mut named = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for path in text.split('`').skip(1).step_by(2).filter_map(key) {
            named += 1;
            let exists = match path.strip_suffix('*') {
                Some(start) => known.iter().any(|key| key.starts_with(start)),
                None => known.contains(path),
            };
            assert!(exists, "{}: there is no {path}", page.display());
        }
    }
    assert!(named > 100, "{named} keys were found");
}

/// The key that `code` begins with, such as `server.hosts` of `server.hosts = []`.
fn key(code: &str) -> Option<&str> {
    let path = code.split([' ', '"']).next()?;
    let (table, _) = path.split_once('.')?;
    // `[app]` has no key of this version, and `app.js` is a file.
    let is_key = ROOT.key(table).is_some()
        && table != "app"
        && path
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"._*".contains(&byte))
        && ![".md", ".rs"].iter().any(|end| path.ends_with(end));
    is_key.then_some(path)
}

fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(repository().join("docs")).unwrap();
    let mut pages: Vec<_> = docs
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    pages.push(repository().join("README.md"));
    pages
}
