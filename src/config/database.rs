//! `[database]`: where PostgreSQL is, and how patient we are with it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::database_url::Target;
use super::printer::Printer;
use super::read::{
    DECADE, LONGEST_TIMEOUT, boolean, duration, duration_up_to, existing_directory, integer,
    unless_empty,
};
use super::reader::Section;
use super::secrets::{contents, secret};
use super::values::{Secret, mask_url_passwords, print_duration};

/// `[database]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Database {
    /// Where PostgreSQL is; `None` runs the embedded cluster in `server.data_dir`.
    pub url: Option<Secret>,
    /// Where the programs of the embedded PostgreSQL are; `None` searches for them.
    pub bin_dir: Option<PathBuf>,
    /// Connections of the pool. Default 10.
    pub pool_size: usize,
    /// How long start-up waits for the database before serving without it. Default 60 s.
    pub wait: Duration,
    /// How long a request waits for a connection. Default 10 s.
    pub acquire_timeout: Duration,
    /// PostgreSQL's `statement_timeout`. Default 10 s.
    pub statement_timeout: Duration,
    /// Age at which a connection is replaced. Default 30 min.
    pub max_lifetime: Duration,
    /// Whether migrations are applied at start. Default true.
    pub migrate: bool,
}

/// Longest `statement_timeout`: PostgreSQL counts milliseconds in 31 bits.
const LONGEST_STATEMENT: Duration = Duration::from_hours(24 * 24);

/// Reads `[database]`.
pub(super) fn database(section: &Section<'_>) -> Database {
    Database {
        url: database_url(section),
        bin_dir: section.value("bin_dir", unless_empty(existing_directory)),
        pool_size: section.value("pool_size", integer(1..=10_000)),
        wait: section.value("wait", duration),
        acquire_timeout: section.value("acquire_timeout", duration_up_to(LONGEST_TIMEOUT)),
        statement_timeout: section.value("statement_timeout", duration_up_to(LONGEST_STATEMENT)),
        max_lifetime: section.value("max_lifetime", duration_up_to(DECADE)),
        migrate: section.value("migrate", boolean),
    }
}

/// Prints it.
pub(super) fn print(out: &mut Printer, database: &Database) {
    let bin_dir = database
        .bin_dir
        .as_ref()
        .map(|dir| dir.display().to_string());
    out.heading("[database]");
    out.secret("url", database.url.as_ref(), mask_url_passwords);
    out.text("bin_dir", bin_dir.unwrap_or_default());
    out.plain("pool_size", database.pool_size);
    out.text("wait", print_duration(database.wait));
    out.text("acquire_timeout", print_duration(database.acquire_timeout));
    out.text(
        "statement_timeout",
        print_duration(database.statement_timeout),
    );
    out.text("max_lifetime", print_duration(database.max_lifetime));
    out.plain("migrate", database.migrate);
}

/// `DATABASE_URL`, else the contents of the file in `DATABASE_URL_FILE`, else `database.url`, else
/// the contents of `database.url_file`.
fn database_url(section: &Section<'_>) -> Option<Secret> {
    let written = secret(section, "url", "url_file", check_database_url);
    variable(section, "DATABASE_URL", Ok)
        .or_else(|| {
            variable(section, "DATABASE_URL_FILE", |file| {
                contents(Path::new(&file)).map_err(|error| format!("cannot read {file}: {error}"))
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
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        let example = "postgres://user:password@host/database";
        return Err(format!("not a PostgreSQL URL; write for example {example}"));
    }
    let parsed = Target::parse(&Secret::new(url.to_owned()));
    parsed.map(drop).map_err(|error| {
        let what = format!("{error:#}");
        // The key stands in front already.
        let what = what
            .strip_prefix("database.url")
            .map(str::to_owned)
            .unwrap_or(what);
        what.trim_start_matches([':', ' ']).to_owned()
    })
}
