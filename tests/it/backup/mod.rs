//! `unibody backup`, `restore` and `backup rehearse`, and the backups that the server makes by itself.

mod broken;
mod cleaning;
mod committing;
mod elsewhere;
mod encrypted;
mod recorded;
mod roundtrip;
mod scheduled;
mod serving;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::support::command::{Ran, run};
use crate::support::database::{TestDatabase, make_traversable};

/// A directory with a configuration, a database, and where commands put temporary files.
struct Site {
    directory: TempDir,
    database: TestDatabase,
}

impl Site {
    /// With a migrated database.
    fn new() -> Self {
        Self::on(TestDatabase::new())
    }

    fn on(database: TestDatabase) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("unibody-it-")
            .tempdir()
            .unwrap();
        make_traversable(directory.path());
        std::fs::create_dir(directory.path().join("tmp")).unwrap();
        make_traversable(&directory.path().join("tmp"));
        let site = Self {
            directory,
            database,
        };
        site.configure("");
        site
    }

    /// Writes `config.toml`; no server is asked.
    fn configure(&self, more: &str) {
        let text = format!("[server]\nadmin = \"\"\n{more}");
        std::fs::write(self.path("config.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_on(&self.database.url, arguments)
    }

    fn command_on(&self, url: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unibody"));
        command
            .current_dir(self.directory.path())
            .args(arguments)
            .env("DATABASE_URL", url)
            .env("TMPDIR", self.path("tmp"));
        command
    }

    fn unibody(&self, arguments: &[&str]) -> Ran {
        run(self.command(arguments))
    }

    /// The same with another database.
    fn unibody_on(&self, database: &TestDatabase, arguments: &[&str]) -> Ran {
        run(self.command_on(&database.url, arguments))
    }

    /// The command, running.
    fn spawn(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Names of the files beside the configuration, but for that and `tmp`.
    fn files(&self) -> Vec<String> {
        let mut names = names(self.directory.path());
        names.retain(|name| !["config.toml", "tmp"].contains(&name.as_str()));
        names
    }
}

impl Ran {
    /// Asserts that the last line on stderr contains each of `parts`.
    #[track_caller]
    fn assert_last_line(&self, parts: &[&str]) {
        let last = self.stderr.lines().last().unwrap_or_default();
        for part in parts {
            assert!(last.contains(part), "{part:?}: {self:#?}");
        }
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Texts that look like what a dump is made of.
fn insert_notes(database: &TestDatabase) {
    let texts = [
        r"\.",
        r"\\.",
        "COPY public.notes (id) FROM stdin;",
        "tab\there, quote ' and \" and $$ and $1",
        r"back\slash \n \x41 \N",
        "line one\nline two\r\n\\.\n",
        "umlauts äöü, 漢字, 🦀, \u{301}, \u{feff}, \u{7f}",
        "'); DROP TABLE notes; --",
        "-- no comment\n\\restrict x",
    ];
    for text in texts {
        let body = text.replace('\'', "''");
        database.execute(&format!(
            "INSERT INTO notes (id, title, body) VALUES (gen_random_uuid(), 'a title', '{body}')"
        ));
    }
    database.execute(
        "INSERT INTO notes (id, title, body) \
         SELECT gen_random_uuid(), 'note ' || i, repeat('milk ', i) FROM generate_series(1, 500) i",
    );
}

/// A number that stands for all contents of the notes.
fn contents(database: &TestDatabase) -> i64 {
    database.count("SELECT sum(hashtextextended(notes::text, 0) / 1000)::bigint FROM notes")
}
