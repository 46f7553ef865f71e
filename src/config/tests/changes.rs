//! What a reload changes.

use std::time::Duration;

use super::effective::FULL;
use super::*;
use crate::config::changes::{When, when};
use crate::config::keys::{Kind, ROOT};
use crate::config::printer::Secrets;
use crate::config::{Changes, Secret};

#[test]
fn every_key_is_reloaded_or_waits_for_a_restart() {
    let mut waiting = Vec::new();
    for table in ROOT.walk() {
        for key in table.keys {
            if matches!(key.kind, Kind::Table(_) | Kind::Tables(_)) {
                continue;
            }
            let path = table.path_of(key.name);
            match when(&path) {
                Some(When::Restarted) => waiting.push(path),
                Some(When::Reloaded) => {}
                None => panic!("say in config/changes.rs when {path} is in force"),
            }
        }
    }
    // What is documented.
    let documentation = std::fs::read_to_string(repository().join("docs/reload.md")).unwrap();
    let (_, list) = documentation
        .split_once("## What needs a restart")
        .expect("the list of keys");
    let list = list.split("\n## ").next().unwrap();
    let documented: Vec<_> = list
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(path, _)| path.trim_end_matches(".*"))
        .collect();
    for path in &waiting {
        let is_told = documented
            .iter()
            .any(|told| path == told || path.starts_with(&format!("{told}.")));
        assert!(is_told, "docs/reload.md says nothing of {path}");
    }
    for told in documented {
        assert_eq!(when(told), Some(When::Restarted), "docs/reload.md: {told}");
    }
}

#[test]
fn what_waits_for_a_restart_stays_as_it_was() {
    let started = good("");
    let mut other = good(FULL);
    let telemetry = r#"
[telemetry]
otlp = "http://127.0.0.1:4318"
headers = "X-Tenant: a"
sample = 0.5
service = "another"
"#;
    other.telemetry = good(telemetry).telemetry;
    other.server.admin = None;
    other.server.data_dir = "/elsewhere".into();
    other.server.workers += 1;
    other.database = crate::config::Database {
        url: Some(Secret::new("postgres://elsewhere".to_owned())),
        bin_dir: Some("/bin".into()),
        pool_size: 1,
        wait: Duration::ZERO,
        acquire_timeout: Duration::ZERO,
        statement_timeout: Duration::ZERO,
        max_lifetime: Duration::ZERO,
        migrate: false,
    };
    let wanted = started.changes_to(&other);
    let kept = other.keeping(&started);
    let in_force = started.changes_to(&kept);
    assert_eq!(in_force.waiting().collect::<Vec<_>>(), [""; 0]);
    assert_eq!(
        in_force.reloaded().collect::<Vec<_>>(),
        wanted.reloaded().collect::<Vec<_>>(),
        "and nothing else does"
    );
    // So that the test means every key.
    let names: Vec<_> = wanted.waiting().collect();
    for section in started.sections(Secrets::Masked) {
        let table = section.heading.trim_matches(['[', ']']);
        for (key, _) in section.entries {
            let path = format!("{table}.{key}");
            if when(&path) == Some(When::Restarted) {
                assert!(names.contains(&path.as_str()), "{path}: {names:?}");
            }
        }
    }
}

/// What differs between two files of one directory.
fn changes(before: &str, after: &str) -> Changes {
    let site = site();
    let read = |text: &str| {
        let config = parse(text, site.path(), &Environment::empty());
        config.unwrap_or_else(|mistakes| panic!("{text}\n{mistakes}"))
    };
    read(before).changes_to(&read(after))
}

#[test]
fn changes_have_names() {
    let before = r#"
[server]
hosts = ["a.test"]
max_body = "1MiB"
[[upstream]]
name = "a"
servers = ["127.0.0.1:1"]
[upstream.health]
path = "/"
[[upstream]]
name = "b"
servers = ["127.0.0.1:1"]
[[route]]
path = "/api/"
app = true
basic_auth = { a = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy" }
[[route]]
host = "a.test"
path = "/"
upstream = "a"
"#;
    for (from, to, expected, why) in [
        ("", "", &[][..], "nothing"),
        ("1MiB", "2MiB", &["server.max_body"], "a key"),
        (
            "path = \"/\"\n[[upstream]]\nname = \"b\"",
            "path = \"/x\"\n[[upstream]]\nname = \"c\"",
            &[
                "upstream a: health: path",
                "upstream b: gone",
                "upstream c: new",
            ],
            "tables in others, and others",
        ),
        (
            "LJZdL",
            "LJZdM",
            &["route /api/: basic_auth.\"a\""],
            "a secret",
        ),
        (
            "host = \"a.test\"\n",
            "",
            &["route /: new", "route a.test/: gone"],
            "a route is where it leads from",
        ),
        (
            "[server]\n",
            "[database]\nurl = \"postgres://u:a@h/d\"\n[server]\n",
            &["database.url"],
            "what waits",
        ),
        (
            "app = true",
            "respond = {}",
            &[
                "route /api/: app",
                "route /api/: respond.body",
                "route /api/: respond.content_type",
                "route /api/: respond.status",
                "database: not needed any more",
            ],
            "the last route to the app",
        ),
    ] {
        let changes = changes(before, &before.replacen(from, to, 1));
        let told: Vec<_> = changes.reloaded().chain(changes.waiting()).collect();
        assert_eq!(told, expected, "{why}");
    }
}

#[test]
fn no_change_tells_a_secret() {
    let with = |secret: &str| {
        format!(
            "[database]\nurl = \"postgres://u:{secret}@h/d\"\n[acme]\nwebhook = \"https://h/{secret}\""
        )
    };
    let changes = changes(&with("hunter2"), &with("hunter3"));
    let told: Vec<_> = changes.reloaded().chain(changes.waiting()).collect();
    assert_eq!(told, ["acme.webhook", "database.url"]);
}
