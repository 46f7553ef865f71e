//! Who may import whom: the table of `ARCHITECTURE.md`, kept by reading the source.
//!
//! A room may use the rooms below it, and of a room on its own floor only what the table says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, the rooms of ours it may use, and the libraries it must not know.
struct Rule {
    room: &'static str,
    may_use: &'static [&'static str],
    must_not_know: &'static [&'static str],
}

const PROXY: &[&str] = &["pingora_core", "pingora_proxy", "pingora_http"];
const PROXY_AND_APP: &[&str] = &["pingora_core", "pingora_proxy", "pingora_http", "axum"];
const DATABASE: &[&str] = &["tokio_postgres", "deadpool_postgres", "refinery"];

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule { room: "config", may_use: &[], must_not_know: PROXY_AND_APP },
    Rule { room: "measure", may_use: &[], must_not_know: PROXY_AND_APP },
    Rule { room: "telemetry", may_use: &["config"], must_not_know: PROXY_AND_APP },
    Rule { room: "database", may_use: &["config", "measure"], must_not_know: PROXY_AND_APP },
    Rule { room: "supervised", may_use: &[], must_not_know: PROXY_AND_APP },
    Rule { room: "backup", may_use: &["config", "database", "supervised"], must_not_know: PROXY_AND_APP },
    Rule { room: "certificates", may_use: &["config", "database", "supervised"], must_not_know: PROXY_AND_APP },
    Rule { room: "app", may_use: &["database", "telemetry"], must_not_know: PROXY },
    Rule { room: "handover", may_use: &[], must_not_know: PROXY_AND_APP },
    Rule { room: "edge", may_use: &["config", "certificates", "measure", "telemetry"], must_not_know: DATABASE },
    Rule { room: "admin", may_use: &["config", "measure", "telemetry", "database", "certificates", "backup", "app", "edge", "handover"], must_not_know: PROXY },
    Rule { room: "cli", may_use: &["config", "measure", "telemetry", "database", "certificates", "backup", "app", "edge", "handover", "admin"], must_not_know: PROXY },
    Rule { room: "main", may_use: &["cli"], must_not_know: PROXY },
];

#[test]
fn rooms_use_only_the_floors_below() {
    let broken: Vec<String> = RULES
        .iter()
        .flat_map(|rule| {
            let files = files_of(rule.room);
            assert!(!files.is_empty(), "the room {} has no file", rule.room);
            files
                .into_iter()
                .flat_map(move |file| violations(rule, &file))
        })
        .collect();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn every_room_has_its_rule() {
    let known: BTreeSet<_> = RULES.iter().map(|rule| rule.room).chain(["lib"]).collect();
    for entry in fs::read_dir(source()).unwrap() {
        let path = entry.unwrap().path();
        let room = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(known.contains(room.as_str()), "src/{room} has no rule here");
    }
}

#[test]
fn only_the_bridge_and_the_edge_itself_know_the_apps_router() {
    for file in files_of("edge") {
        let name = file.strip_prefix(source()).unwrap().display().to_string();
        let knows = uses(&code(&file), "axum::").next().is_some();
        let may = ["edge/bridge.rs", "edge/mod.rs"].contains(&name.as_str());
        assert!(!knows || may, "{name} uses axum: only the bridge may");
    }
}

#[test]
fn the_reader_finds_what_it_looks_for() {
    let code =
        "use crate::edge::Edge;\nlet x = crate::app::y();\nuse crate::{config, telemetry::Output};";
    let rooms: BTreeSet<_> = rooms_used(code).into_iter().collect();
    let expected = ["edge", "app", "config", "telemetry"].map(str::to_owned);
    assert_eq!(rooms, BTreeSet::from(expected));
}

fn violations(rule: &Rule, file: &Path) -> Vec<String> {
    let code = code(file);
    let name = file.strip_prefix(source()).unwrap().display().to_string();
    let rooms = rooms_used(&code)
        .into_iter()
        .filter(|room| room != rule.room && !rule.may_use.contains(&room.as_str()))
        .filter(|room| RULES.iter().any(|rule| rule.room == room))
        .map(|room| format!("src/{name} uses crate::{room}"));
    let libraries = rule
        .must_not_know
        .iter()
        .filter(|library| uses(&code, &format!("{library}::")).next().is_some())
        .map(|library| format!("src/{name} uses {library}"));
    rooms.chain(libraries).collect()
}

/// The rooms that `crate::…` and `unibody::…` paths of `code` lead to.
fn rooms_used(code: &str) -> Vec<String> {
    ["crate::", "unibody::"]
        .into_iter()
        .flat_map(|root| uses(code, root))
        .flat_map(|rest| match rest.strip_prefix('{') {
            Some(list) => top_level_names(list),
            None => vec![first_name(rest)],
        })
        .collect()
}

/// The names of `a, b::c, d::{e, f}}`, each as far as its first `::`.
fn top_level_names(list: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![String::new()];
    for character in list.chars() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(String::new()),
            _ if depth == 0 => names.last_mut().unwrap().push(character),
            _ => {}
        }
    }
    names
        .iter()
        .map(|name| first_name(name.trim()))
        .filter(|name| !name.is_empty())
        .collect()
}

fn first_name(path: &str) -> String {
    path.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// What follows each mention of `path` that is not the end of a longer name.
fn uses<'a>(code: &'a str, path: &str) -> impl Iterator<Item = &'a str> {
    code.match_indices(path)
        .filter(|(at, _)| {
            let before = code[..*at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
        .map(|(at, mention)| &code[at + mention.len()..])
        .collect::<Vec<_>>()
        .into_iter()
}

/// A file without its comments and its unit tests, which may reach further.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    text.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn files_of(room: &str) -> Vec<PathBuf> {
    let single = source().join(format!("{room}.rs"));
    if single.exists() {
        return vec![single];
    }
    let mut files = Vec::new();
    let mut folders = vec![source().join(room)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            let is_test = path
                .file_stem()
                .is_some_and(|stem| stem == "tests" || stem == "testing");
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
                files.push(path);
            }
        }
    }
    files
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}
