//! Migrations: the SQL files of `migrations/`, built into the binary, applied in order, forward only.
//!
//! refinery names and fingerprints them (its table is `refinery_schema_history`, so its command-line
//! tool can read it); applying them is done here, in **one transaction** under a transaction-level
//! advisory lock. So two instances that start at once take turns and both come up, a migration that
//! fails leaves nothing behind, and PgBouncer's transaction mode, where session-level locks break,
//! is no obstacle.

mod history;
#[cfg(test)]
mod tests;

use std::time::Duration;

use refinery::Migration;
use tokio::time::sleep;
use tokio_postgres::Transaction;
use tokio_postgres::error::SqlState;
use tracing::{info, warn};

use super::{Database, NO_TIME_LIMIT, Unavailable, connect};
pub use history::{MigrationStatus, State};

/// How long an instance waits while another one migrates.
const LOCK_WAIT: Duration = Duration::from_mins(10);

/// Between two attempts of [`migrate_when_possible`] at a database that can't be reached.
const RETRY: Duration = Duration::from_secs(1);

/// The longest pause after an attempt that PostgreSQL has refused.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Key of the advisory lock: "unibody" in ASCII, so that other programs hardly choose it too.
pub(crate) const LOCK_KEY: i64 = 0x75_6e69_626f_6479;

/// What [`migrate`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Version of the schema now.
    pub version: i32,
    /// Migrations applied by this call, as `V1__notes`; empty if the schema was current.
    pub applied: Vec<String>,
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
    /// PostgreSQL can't write for now: it is read-only, or lacks disk or memory.
    #[error("{what}: {reason}")]
    Hindered {
        /// What was being done.
        what: String,
        /// PostgreSQL's words.
        reason: String,
    },
    /// PostgreSQL refused.
    #[error("{what}: {reason}")]
    Failed {
        /// What was being done.
        what: String,
        /// PostgreSQL's words.
        reason: String,
    },
}

impl Error {
    /// Whether another attempt may succeed with this binary on this database.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Locked | Self::Hindered { .. } | Self::Failed { .. } => {
                true
            }
            Self::Newer { .. } | Self::Changed(_) | Self::OutOfOrder(_) => false,
        }
    }
}

/// Applies what is missing. Waits while another instance does so.
///
/// # Errors
/// [`Error::Unavailable`] is worth another attempt; after any other the schema is as it was before.
pub async fn migrate(database: &Database) -> Result<Report, Error> {
    apply(database, history::known()).await
}

/// Like [`migrate`], but tries again, however long that takes, until it is done or somebody has to decide
/// something: a database that comes back may be read-only, full or locked for a while. Each refusal is told.
///
/// # Errors
/// Those of [`migrate`] that no waiting cures.
pub async fn migrate_when_possible(database: &Database) -> Result<Report, Error> {
    let mut pause = RETRY;
    loop {
        match migrate(database).await {
            // The database itself tells of that.
            Err(Error::Unavailable(_)) => sleep(RETRY).await,
            Err(error) if error.may_pass() => {
                warn!(
                    "the schema can't be brought up to date, the next attempt is in {pause:?}: {error}"
                );
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Every migration that the binary or the database knows, by version. Changes nothing.
///
/// # Errors
/// When PostgreSQL can't be reached or refuses to show its history.
pub async fn status(database: &Database) -> Result<Vec<MigrationStatus>, Error> {
    let mut connection = database.alone().await?;
    let transaction = begin(&mut connection.client).await?;
    let applied = history::applied(&transaction).await?;
    Ok(history::compare(history::known(), &applied))
}

/// Latest version this binary knows; 0 without migrations.
#[must_use]
pub fn latest() -> i32 {
    history::last_version(history::known())
}

/// Latest version that is applied; 0 on an empty database.
pub(super) async fn schema_version(
    client: &tokio_postgres::Client,
) -> Result<i32, tokio_postgres::Error> {
    let query = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    match client.simple_query(query).await {
        Ok(answer) => Ok(history::rows(&answer)
            .find_map(|row| row.get(0)?.parse().ok())
            .unwrap_or(0)),
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(0),
        Err(error) => Err(error),
    }
}

async fn apply(database: &Database, known: &[Migration]) -> Result<Report, Error> {
    let mut connection = database.alone().await?;
    let transaction = begin(&mut connection.client).await?;
    lock(&transaction).await?;
    let applied = history::applied(&transaction).await?;
    let pending = history::pending(known, &applied)?;
    let names: Vec<_> = pending.iter().map(ToString::to_string).collect();
    if names.is_empty() {
        return Ok(Report {
            version: history::last_version(&applied),
            applied: names,
        });
    }
    run(
        &transaction,
        "the table of migrations can't be made",
        history::CREATE,
    )
    .await?;
    for migration in &pending {
        info!("applying migration {migration}");
        let what = format!("migration {migration} failed, nothing was changed");
        let sql = migration.sql().unwrap_or_default();
        run(&transaction, &what, sql).await?;
        run(&transaction, &what, &history::record(migration)).await?;
    }
    let what = "the migrations can't be committed";
    transaction
        .commit()
        .await
        .map_err(|error| failed(what, &error))?;
    Ok(Report {
        version: history::last_version(known),
        applied: names,
    })
}

async fn begin(client: &mut tokio_postgres::Client) -> Result<Transaction<'_>, Error> {
    let transaction = client
        .transaction()
        .await
        .map_err(|error| failed("no transaction could be started", &error))?;
    // A role or a database may have a limit of its own, and migrations take as long as they take.
    let what = "the time limit can't be lifted";
    run(&transaction, what, NO_TIME_LIMIT).await?;
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

async fn run(transaction: &Transaction<'_>, what: &str, sql: &str) -> Result<(), Error> {
    transaction
        .batch_execute(sql)
        .await
        .map_err(|error| failed(what, &error))
}

/// A connection that ends, or a server that does, is worth another attempt.
fn failed(what: &str, error: &tokio_postgres::Error) -> Error {
    let reason = connect::explain(error);
    let gone = match error.code() {
        None => error.is_closed() || error.to_string().contains("communicating"),
        Some(code) => [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
        ]
        .contains(code),
    };
    if gone {
        return Error::Unavailable(Unavailable::unreachable(reason));
    }
    let what = what.into();
    // Class 53 is "insufficient resources".
    let is_hindered = error.code().is_some_and(|code| {
        *code == SqlState::READ_ONLY_SQL_TRANSACTION || code.code().starts_with("53")
    });
    if is_hindered {
        return Error::Hindered { what, reason };
    }
    Error::Failed { what, reason }
}
