//! The last backup, as instances tell each other in the database.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use time::OffsetDateTime;

use super::due::has_been;
use crate::database::{Database, explain};

/// A backup that was made as `[backup]` says, verified (where that is asked for) and delivered.
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

/// The last one that this process has made. It counts whatever others have recorded since by clocks that are
/// wrong, or two of them would make backups in turn, one after the other.
#[derive(Debug, Clone)]
pub(super) struct Ours {
    last: Last,
    is_recorded: bool,
}

impl Ours {
    /// Notes `last` in the database; says why that can't be done, and is to be tried again.
    pub(super) async fn note(database: &Database, last: Last) -> (Self, anyhow::Result<()>) {
        let written = write(database, &last).await;
        let is_recorded = written.is_ok();
        (Self { last, is_recorded }, written)
    }

    /// Whether it is newer than what is `recorded`.
    fn is_last(&self, recorded: Option<&Last>, now: OffsetDateTime) -> bool {
        let made = self.last.finished;
        let recorded = recorded.map(|last| last.finished);
        let recorded = recorded.filter(|recorded| has_been(*recorded, now));
        has_been(made, now) && recorded.is_none_or(|recorded| recorded < made)
    }
}

/// The last one: that of the database, or ours if that is newer, which is recorded where it isn't yet.
///
/// # Errors
/// What PostgreSQL says.
pub(super) async fn last(
    database: &Database,
    ours: &mut Option<Ours>,
) -> anyhow::Result<Option<Last>> {
    let recorded = read(database).await?;
    let now = OffsetDateTime::now_utc();
    let Some(ours) = ours
        .as_mut()
        .filter(|ours| ours.is_last(recorded.as_ref(), now))
    else {
        return Ok(recorded);
    };
    if !ours.is_recorded {
        ours.is_recorded = write(database, &ours.last).await.is_ok();
    }
    Ok(Some(ours.last.clone()))
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

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn ours_counts_before_what_is_older_or_of_times_to_come() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let at = |finished| Last {
            finished,
            name: "a".to_owned(),
            bytes: 1,
            took: Duration::ZERO,
        };
        let (morning, noon) = (datetime!(2026-11-22 03:15 UTC), now);
        let ahead = datetime!(2028-01-01 03:15 UTC);
        let table = [
            (morning, None, true, "none is recorded, or that is lost"),
            (noon, Some(morning), true, "not recorded yet"),
            (morning, Some(noon), false, "another instance made one"),
            (morning, Some(ahead), true, "another's clock is ahead"),
            (ahead, Some(morning), false, "ours was ahead"),
            (ahead, None, false, "and nothing else is known"),
        ];
        for (ours, recorded, expected, why) in table {
            let ours = Ours {
                last: at(ours),
                is_recorded: true,
            };
            let recorded = recorded.map(at);
            assert_eq!(ours.is_last(recorded.as_ref(), now), expected, "{why}");
        }
    }
}
