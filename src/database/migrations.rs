//! Migrations: the SQL files of `migrations/`, built into the binary, applied in order, forward only.
//!
//! refinery names and fingerprints them (its table is `refinery_schema_history`, so its command-line
//! tool can read it); applying them is done here, in **one transaction** under a transaction-level
//! advisory lock. So two instances that start at once take turns and both come up, a migration that
//! fails leaves nothing behind, and PgBouncer's transaction mode, where session-level locks break,
//! is no obstacle.

use std::time::Duration;

use refinery::Migration;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio_postgres::error::SqlState;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow, Transaction};
use tracing::info;

use super::{Database, Unavailable, connect};

mod embedded {
    #![allow(missing_docs, unreachable_pub, clippy::pedantic)] // generated
    refinery::embed_migrations!("migrations");
}

/// How long an instance waits while another one migrates.
const LOCK_WAIT: Duration = Duration::from_secs(10 * 60);

/// Key of the advisory lock: "unibody" in ASCII, so that other programs hardly choose it too.
const LOCK_KEY: i64 = 0x75_6e69_626f_6479;

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Version of the schema now.
    pub version: i32,
    /// Migrations applied by this call, as `V1__notes`; empty if the schema was current.
    pub applied: Vec<String>,
}

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

/// Why the schema can't be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL can't be reached: worth another attempt.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// A newer release has migrated this database.
    #[error(
        "the database is at version {database}, this binary knows up to {binary}: run the newer unibody"
    )]
    Newer {
        /// Version of the schema in the database.
        database: i32,
        /// Latest version this binary knows.
        binary: i32,
    },
    /// A migration's text changed after it was applied.
    #[error(
        "migration {0} was applied with another text than this binary has: restore its file and put the change into a new migration"
    )]
    Changed(String),
    /// A migration appeared with a number below those already applied, or vanished.
    #[error(
        "migration {0} is out of order: the database is past it; migrations are only ever added, with the next number"
    )]
    OutOfOrder(String),
    /// Another instance has been migrating for too long.
    #[error(
        "another instance has been migrating this database for ten minutes: see what it waits for"
    )]
    Locked,
    /// PostgreSQL refused.
    #[error("{what}: {reason}")]
    Failed {
        /// What was being done.
        what: String,
        /// PostgreSQL's words.
        reason: String,
    },
}

/// Applies what is missing. Waits while another instance does so.
///
/// # Errors
/// [`Error::Unavailable`] is worth another attempt; after any other the schema is as it was before.
pub async fn migrate(database: &Database) -> Result<Report, Error> {
    apply(database, &known()).await
}

/// Every migration that the binary or the database knows, by version. Changes nothing.
///
/// # Errors
/// When PostgreSQL can't be reached or refuses to show its history.
pub async fn status(database: &Database) -> Result<Vec<MigrationStatus>, Error> {
    let mut connection = database.alone().await?;
    let transaction = begin(&mut connection.client).await?;
    let applied = history(&transaction).await?;
    Ok(compare(&known(), &applied))
}

/// Latest version this binary knows; 0 without migrations.
#[must_use]
pub fn latest() -> i32 {
    last_version(&known())
}

/// Latest version that is applied; 0 on an empty database.
pub(super) async fn schema_version(
    client: &tokio_postgres::Client,
) -> Result<i32, tokio_postgres::Error> {
    let query = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    match client.simple_query(query).await {
        Ok(answer) => Ok(rows(&answer)
            .find_map(|row| row.get(0)?.parse().ok())
            .unwrap_or(0)),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(error) => Err(error),
    }
}

fn known() -> Vec<Migration> {
    let mut migrations = embedded::migrations::runner().get_migrations().clone();
    migrations.sort();
    migrations
}

async fn apply(database: &Database, known: &[Migration]) -> Result<Report, Error> {
    let mut connection = database.alone().await?;
    let transaction = begin(&mut connection.client).await?;
    lock(&transaction).await?;
    let applied = history(&transaction).await?;
    let pending = pending(known, &applied)?;
    let names: Vec<_> = pending.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return Ok(Report {
            version: last_version(&applied),
            applied: names,
        });
    }
    run(
        &transaction,
        "the table of migrations can't be made",
        CREATE_HISTORY,
    )
    .await?;
    for migration in &pending {
        info!("applying migration {migration}");
        let what = format!("migration {migration} failed, nothing was changed");
        let sql = migration.sql().unwrap_or_default();
        run(&transaction, &what, sql).await?;
        run(&transaction, &what, &record(migration)).await?;
    }
    let what = "the migrations can't be committed";
    transaction
        .commit()
        .await
        .map_err(|error| failed(what, &error))?;
    Ok(Report {
        version: last_version(known),
        applied: names,
    })
}

/// refinery's own layout.
const CREATE_HISTORY: &str = "CREATE TABLE IF NOT EXISTS refinery_schema_history (
    version int4 PRIMARY KEY, name varchar(255), applied_on varchar(255), checksum varchar(255))";

async fn begin(client: &mut tokio_postgres::Client) -> Result<Transaction<'_>, Error> {
    let transaction = client
        .transaction()
        .await
        .map_err(|error| failed("no transaction could be started", &error))?;
    // A role or a database may have a limit of its own, and migrations take as long as they take.
    let what = "the time limit can't be lifted";
    run(&transaction, what, "SET LOCAL statement_timeout = 0").await?;
    Ok(transaction)
}

async fn lock(transaction: &Transaction<'_>) -> Result<(), Error> {
    let statement = format!(
        "SET LOCAL lock_timeout = {}; SELECT pg_advisory_xact_lock({LOCK_KEY}); \
         SET LOCAL lock_timeout = 0",
        LOCK_WAIT.as_millis()
    );
    match transaction.batch_execute(&statement).await {
        Ok(()) => Ok(()),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Err(Error::Locked),
        Err(error) => Err(failed("the lock for migrations can't be had", &error)),
    }
}

/// What was applied, oldest first. Text protocol only: it prepares nothing, so any PgBouncer will do.
async fn history(transaction: &Transaction<'_>) -> Result<Vec<Migration>, Error> {
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

fn rows(answer: &[SimpleQueryMessage]) -> impl Iterator<Item = &SimpleQueryRow> {
    answer.iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    })
}

/// What is still to be applied, if the past agrees.
fn pending(known: &[Migration], applied: &[Migration]) -> Result<Vec<Migration>, Error> {
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

fn compare(known: &[Migration], applied: &[Migration]) -> Vec<MigrationStatus> {
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

fn last_version(migrations: &[Migration]) -> i32 {
    migrations.iter().map(Migration::version).max().unwrap_or(0)
}

/// The row that remembers `migration`. Its name is a file's name: letters, digits, underscores.
fn record(migration: &Migration) -> String {
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

async fn run(transaction: &Transaction<'_>, what: &str, sql: &str) -> Result<(), Error> {
    transaction
        .batch_execute(sql)
        .await
        .map_err(|error| failed(what, &error))
}

fn failed(what: &str, error: &tokio_postgres::Error) -> Error {
    Error::Failed {
        what: what.into(),
        reason: connect::explain(error),
    }
}
