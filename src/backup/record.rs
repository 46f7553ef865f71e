//! The last backup, as instances tell each other in the database.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use time::OffsetDateTime;

use crate::database::{Database, explain};

/// A backup that was made, verified (where that is asked for) and delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct Last {
    /// When.
    pub finished: OffsetDateTime,
    /// Of the file.
    pub name: String,
    /// Length of the file.
    pub bytes: u64,
    /// How long it took.
    pub took: Duration,
}

const READ: &str = "SELECT finished_at, name, bytes, seconds FROM last_backup";
const WRITE: &str = "INSERT INTO last_backup (finished_at, name, bytes, seconds) \
    VALUES ($1, $2, $3, $4) ON CONFLICT (only_row) DO UPDATE SET \
    finished_at = excluded.finished_at, name = excluded.name, bytes = excluded.bytes, \
    seconds = excluded.seconds";

/// The last one: that of the database, or ours if it is newer and could not be recorded there yet.
///
/// # Errors
/// What PostgreSQL says.
pub(super) async fn last(
    database: &Database,
    unrecorded: &mut Option<Last>,
) -> anyhow::Result<Option<Last>> {
    let recorded = read(database).await?;
    let is_newer = |ours: &Last| {
        let recorded = recorded.as_ref();
        recorded.is_none_or(|recorded| recorded.finished < ours.finished)
    };
    let Some(ours) = unrecorded.clone().filter(is_newer) else {
        *unrecorded = None;
        return Ok(recorded);
    };
    if write(database, &ours).await.is_ok() {
        *unrecorded = None;
    }
    Ok(Some(ours))
}

async fn read(database: &Database) -> anyhow::Result<Option<Last>> {
    let client = database.client().await?;
    let asked = async {
        let statement = client.prepare_cached(READ).await?;
        client.query_opt(&statement, &[]).await
    };
    let row = database.answer(asked).await?;
    let row = row
        .map_err(|error| anyhow!(explain(&error)))
        .context("the last backup can't be looked up")?;
    Ok(row.map(|row| Last {
        finished: row.get(0),
        name: row.get(1),
        bytes: row.get::<_, i64>(2).unsigned_abs(),
        took: Duration::try_from_secs_f64(row.get(3)).unwrap_or_default(),
    }))
}

/// # Errors
/// What PostgreSQL says.
pub(super) async fn write(database: &Database, last: &Last) -> anyhow::Result<()> {
    let client = database.client().await?;
    let bytes = i64::try_from(last.bytes).unwrap_or(i64::MAX);
    let seconds = last.took.as_secs_f64();
    let told = async {
        let statement = client.prepare_cached(WRITE).await?;
        let values: [&(dyn tokio_postgres::types::ToSql + Sync); 4] =
            [&last.finished, &last.name, &bytes, &seconds];
        client.execute(&statement, &values).await
    };
    let told = database.answer(told).await?;
    told.map_err(|error| anyhow!(explain(&error)))
        .context("the backup was made, but can't be noted in the database")?;
    Ok(())
}
