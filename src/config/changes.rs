//! What differs between two configurations, and which of it a reload can put into force.
//!
//! [`KEYS`] is the one table that says so. The command and the log tell by it what waits for a
//! restart, [`Config::keeping`] leaves that as it is, and the documentation is held against it.

use std::collections::{BTreeMap, BTreeSet};

use super::Config;
use super::printer::{Secrets, Section};

/// When a new value of a key is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// After a reload.
    Reloaded,
    /// After a restart, or an upgrade.
    Restarted,
}

use When::{Reloaded, Restarted};

/// Every key of the configuration, by itself or by the table it stands in; the longest path that fits counts.
const KEYS: &[(&str, When)] = &[
    ("server", Reloaded),
    // The command that asks for a reload has to find the server by the new file.
    ("server.admin", Restarted),
    ("server.data_dir", Restarted),
    ("server.workers", Restarted),
    ("tls", Reloaded),
    ("acme", Reloaded),
    ("database", Restarted),
    ("backup", Reloaded),
    ("headers", Reloaded),
    ("error_pages", Reloaded),
    ("compression", Reloaded),
    ("upstream", Reloaded),
    ("rate_limit", Reloaded),
    ("route", Reloaded),
    ("app", Restarted),
    ("log", Reloaded),
    ("log.format", Restarted),
    ("telemetry", Restarted),
];

/// What differs between two configurations, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes(Vec<(String, When)>);

impl Config {
    /// This configuration as a reload can put it into force in a process that was `started` with
    /// another: what can't be reloaded stays as it was then.
    #[must_use]
    pub fn keeping(mut self, started: &Self) -> Self {
        let server = &mut self.server;
        server.admin = started.server.admin;
        server.data_dir.clone_from(&started.server.data_dir);
        server.workers = started.server.workers;
        self.database.clone_from(&started.database);
        self.log.format = started.log.format;
        self.telemetry.clone_from(&started.telemetry);
        self
    }

    /// What `other` has that this hasn't, or otherwise.
    #[must_use]
    pub fn changes_to(&self, other: &Self) -> Changes {
        let (before, after) = (tables(self), tables(other));
        let mut changes = Vec::new();
        let paths: BTreeSet<_> = before.keys().chain(after.keys()).collect();
        for path in paths {
            changes.extend(match (before.get(path), after.get(path)) {
                (Some(before), Some(after)) => before.changes_to(after),
                (None, Some(after)) => vec![(format!("{path}: new"), after.when("name"))],
                (Some(before), None) => vec![(format!("{path}: gone"), before.when("name"))],
                (None, None) => Vec::new(),
            });
        }
        // No key, and yet it comes and goes with others.
        let database = match (self.needs_database(), other.needs_database()) {
            (None, Some(_)) => Some("database: needed"),
            (Some(_), None) => Some("database: not needed any more"),
            _ => None,
        };
        changes.extend(database.map(|what| (what.to_owned(), Restarted)));
        Changes(changes)
    }
}

impl Changes {
    /// What is in force after a reload.
    pub fn reloaded(&self) -> impl Iterator<Item = &str> {
        self.which(Reloaded)
    }

    /// What waits for a restart.
    pub fn waiting(&self) -> impl Iterator<Item = &str> {
        self.which(Restarted)
    }

    fn which(&self, wanted: When) -> impl Iterator<Item = &str> {
        let fits = move |(_, when): &&(String, When)| *when == wanted;
        self.0.iter().filter(fits).map(|(what, _)| what.as_str())
    }
}

/// When a new value of the key at `path` is in force, such as `server.workers`; `None` for a path that
/// no key has.
#[must_use]
pub fn when(path: &str) -> Option<When> {
    let fits = |table: &str| match path.strip_prefix(table) {
        Some(rest) => rest.is_empty() || rest.starts_with('.'),
        None => false,
    };
    let fitting = KEYS.iter().filter(|(table, _)| fits(table));
    fitting
        .max_by_key(|(table, _)| table.len())
        .map(|(_, when)| *when)
}

/// One table of the configuration.
struct Table {
    /// Such as `server.timeouts`, and `upstream` for all upstreams.
    path: String,
    /// Such as `upstream backend`; nothing for a table that is there once.
    title: Option<String>,
    entries: BTreeMap<String, String>,
}

/// Every table that somebody wrote, by what people call it.
fn tables(config: &Config) -> BTreeMap<String, Table> {
    let mut tables = BTreeMap::new();
    let mut outer: Option<String> = None;
    let sections = config.sections(Secrets::Told).into_iter();
    // The health endpoints, for one, come and go with the routes of their host.
    for section in sections.filter(|section| !section.is_default) {
        let path = section.heading.trim_matches(['[', ']']).to_owned();
        let title = if section.heading.starts_with("[[") {
            outer = Some(title(&path, &section));
            outer.clone()
        } else {
            // `[upstream.health]` belongs to the upstream above it.
            let is_inside = path.starts_with("upstream.");
            outer
                .clone()
                .filter(|_| is_inside)
                .map(|outer| format!("{outer}: health"))
        };
        let mut name = title.clone().unwrap_or_else(|| path.clone());
        // Routes of one host and path can't be, and pairs of one file may.
        while tables.contains_key(&name) {
            name.push_str(" (again)");
        }
        let entries = section.entries.into_iter().collect();
        let table = Table {
            path,
            title,
            entries,
        };
        tables.insert(name, table);
    }
    tables
}

/// What tells one table of an array from the others.
fn title(path: &str, section: &Section) -> String {
    let value = |wanted: &str| {
        let entry = section.entries.iter().find(|(key, _)| key == wanted);
        entry.map(|(_, value)| value.trim_matches('"'))
    };
    let name = match path {
        "route" => format!(
            "{}{}",
            value("host").unwrap_or_default(),
            value("path").unwrap_or_default()
        ),
        "tls.files" => value("cert").unwrap_or_default().to_owned(),
        _ => value("name").unwrap_or_default().to_owned(),
    };
    format!("{path} {name}")
}

impl Table {
    fn when(&self, key: &str) -> When {
        // A test sees to it that each has its time; a restart is always right.
        when(&format!("{}.{key}", self.path)).unwrap_or(Restarted)
    }

    fn changes_to(&self, other: &Self) -> Vec<(String, When)> {
        let keys: BTreeSet<_> = self.entries.keys().chain(other.entries.keys()).collect();
        let changed = keys
            .into_iter()
            .filter(|key| self.entries.get(*key) != other.entries.get(*key));
        changed
            .map(|key| {
                let what = match &self.title {
                    Some(title) => format!("{title}: {key}"),
                    None => format!("{}.{key}", self.path),
                };
                (what, self.when(key))
            })
            .collect()
    }
}
