//! The history of the schema: what this binary knows, what the database has, how the two compare.

use std::sync::LazyLock;

use refinery::Migration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow, Transaction};

use super::{Error, failed};

mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic)] // generated
    refinery::embed_migrations!("migrations");
}

/// refinery's own layout.
pub(super) const CREATE: &str = "CREATE TABLE IF NOT EXISTS refinery_schema_history (
    version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255))";

/// One migration, as the binary and the database know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// Its number.
    pub version: i32,
    /// Its name, without number.
    pub name: String,
    /// When it was applied, if it was.
    pub applied_on: Option<OffsetDateTime>,
    /// How binary and database compare.
    pub state: State,
}

/// How binary and database compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Applied as this binary knows it.
    Applied,
    /// Not applied yet.
    Pending,
    /// Applied, but its text was another.
    Changed,
    /// Applied, but unknown to this binary.
    Unknown,
}

/// The migrations in this binary, in order.
pub(super) fn known() -> &'static [Migration] {
    static KNOWN: LazyLock<Vec<Migration>> = LazyLock::new(|| {
        let mut migrations = embedded::migrations::runner().get_migrations().clone();
        migrations.sort();
        migrations
    });
    &KNOWN
}

/// What was applied, oldest first. Text protocol only: it prepares nothing, so any PgBouncer will do.
pub(super) async fn applied(transaction: &Transaction<'_>) -> Result<Vec<Migration>, Error> {
    let what = "the history of migrations can't be read";
    let wrap = |error| failed(what, &error);
    let exists = "SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    let answer = transaction.simple_query(exists).await.map_err(wrap)?;
    if !rows(&answer).any(|row| row.get(0) == Some("t")) {
        return Ok(Vec::new());
    }
    let query = "SELECT version, name, applied_on, checksum FROM refinery_schema_history \
                 ORDER BY version";
    let answer = transaction.simple_query(query).await.map_err(wrap)?;
    rows(&answer)
        .map(|row| {
            parse_row(row).ok_or_else(|| Error::Failed {
                what: what.into(),
                reason: format!("unexpected row for version {}", row.get(0).unwrap_or("?")),
            })
        })
        .collect()
}

fn parse_row(row: &SimpleQueryRow) -> Option<Migration> {
    Some(Migration::applied(
        row.get(0)?.parse().ok()?,
        row.get(1)?.to_owned(),
        OffsetDateTime::parse(row.get(2)?, &Rfc3339).ok()?,
        row.get(3)?.parse().ok()?,
    ))
}

/// The rows of an answer in the text protocol.
pub(super) fn rows(answer: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// What is still to be applied, if the past agrees.
pub(super) fn pending(known: &[Migration], applied: &[Migration]) -> Result<Vec<Migration>, Error> {
    let (database, binary) = (last_version(applied), last_version(known));
    if database > binary {
        return Err(Error::Newer { database, binary });
    }
    let past = compare(known, applied);
    for status in &past {
        let name = || format!("V{}__{}", status.version, status.name);
        match status.state {
            State::Changed => return Err(Error::Changed(name())),
            State::Unknown => return Err(Error::OutOfOrder(name())),
            State::Pending if status.version < database => return Err(Error::OutOfOrder(name())),
            State::Pending | State::Applied => {}
        }
    }
    Ok(known
        .iter()
        .filter(|migration| migration.version() > database)
        .cloned()
        .collect())
}

pub(super) fn compare(known: &[Migration], applied: &[Migration]) -> Vec<MigrationStatus> {
    let find = |list: &[Migration], version| {
        list.iter()
            .find(|migration| migration.version() == version)
            .cloned()
    };
    let mut versions: Vec<_> = known
        .iter()
        .chain(applied)
        .map(Migration::version)
        .collect();
    versions.sort_unstable();
    versions.dedup();
    versions
        .into_iter()
        .filter_map(|version| {
            let (ours, theirs) = (find(known, version), find(applied, version));
            let state = match (&ours, &theirs) {
                (Some(ours), Some(theirs)) if ours == theirs => State::Applied,
                (Some(_), Some(_)) => State::Changed,
                (Some(_), None) => State::Pending,
                (None, _) => State::Unknown,
            };
            let applied_on = theirs.as_ref().and_then(Migration::applied_on).copied();
            Some(MigrationStatus {
                version,
                name: ours.or(theirs)?.name().to_owned(),
                applied_on,
                state,
            })
        })
        .collect()
}

pub(super) fn last_version(migrations: &[Migration]) -> i32 {
    migrations.iter().map(Migration::version).max().unwrap_or(0)
}

/// The row that remembers `migration`. Its name is a file's name: letters, digits, underscores.
pub(super) fn record(migration: &Migration) -> String {
    let now = OffsetDateTime::now_utc().format(&Rfc3339);
    format!(
        "INSERT INTO refinery_schema_history (version, name, applied_on, checksum) \
         VALUES ({}, '{}', '{}', '{}')",
        migration.version(),
        migration.name(),
        // Years beyond 9999 are what it can't write.
        now.unwrap_or_default(),
        migration.checksum(),
    )
}
