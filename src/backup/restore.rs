//! From a file into the real database, all or nothing.
//!
//! 1. The file is read through: whole, unchanged, and of no newer schema than this program knows.
//! 2. Nobody else is connected, or that was asked for.
//! 3. One transaction, under the lock by which migrations take turns: the database is empty, or is
//!    emptied; the dump is loaded; what is there now is compared with the manifest.
//! 4. Then it is committed. Until then the database is as it was, for everybody; once PostgreSQL was told to
//!    commit, nobody stops it any more, and where its answer is lost only PostgreSQL knows what it did.

use std::collections::BTreeMap;
use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, bail};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_postgres::Client;
use tokio_postgres::error::{DbError, Severity};

use super::archive::Archive;
use super::clear::{drop_all, objects, summary};
use super::figures::{query, query_one, schema_version};
use super::keys::Key;
use super::load::{Committed, Leave, load};
use super::manifest::Manifest;
use super::{Event, Source, Told, rehearse, unless_stopped};
use crate::database::client_programs::ClientPrograms;
use crate::database::{Database, NO_TIME_LIMIT, explain, migrations};

/// What the user has allowed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Allowed {
    /// To drop what is in the database.
    pub clean: bool,
    /// To do it while others are connected.
    pub while_serving: bool,
    /// To leave out who may do what, for a server without those roles.
    pub without_privileges: bool,
}

/// A restored database.
#[derive(Debug)]
pub struct Restored {
    /// What the backup held; `None` for a dump of `pg_dump`'s own.
    pub manifest: Option<Manifest>,
    /// Version of the schema now; 0 where the dump has no history of migrations.
    pub schema_version: i32,
    /// How long it took.
    pub took: Duration,
}

/// Of every failure before the end.
const UNCHANGED: &str = "nothing was restored, the database is as it was";

/// How long a table that somebody uses is waited for before it is dropped.
const LOCK_WAIT: &str = "SET LOCAL lock_timeout = '30s'";

/// How long sessions that are about to end are waited for.
const FAREWELL: Duration = Duration::from_secs(2);

/// Between two looks at them; PostgreSQL tells nobody.
const LOOK: Duration = Duration::from_millis(50);

/// Other sessions in this database.
const OTHERS: &str = "SELECT coalesce(nullif(application_name, ''), 'without a name') \
    FROM pg_stat_activity WHERE datid = (SELECT oid FROM pg_database \
    WHERE datname = current_database()) AND pid <> pg_backend_pid() AND usesysid IS NOT NULL";

/// Restores the backup at `path`.
///
/// # Errors
/// Why not; the database is as it was then, unless the dump itself has committed something, or
/// PostgreSQL's answer to our own COMMIT is lost. The message says so.
pub async fn restore(
    source: &Source,
    path: &Path,
    key: Key,
    allowed: Allowed,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<Restored> {
    told(Event::Step("reading the backup".to_owned()));
    let archive = rehearse::open(source, path, key).await?;
    let shown = path.display();
    if let Some(manifest) = &archive.manifest {
        refuse_newer(manifest.schema_version).with_context(|| format!("{shown} is too new"))?;
    }
    let programs = ClientPrograms::newest(source.settings.bin_dir.as_deref())?;
    // Not as long as the server lives, but as this connection does: what is not committed is undone.
    let session = source.database.alone().await?;
    if !allowed.while_serving {
        refuse_company(&source.database, &session.client).await?;
    }
    let begun = Instant::now();
    let manifest = archive.manifest.clone();
    let transaction = unless_stopped(stop, begin(&session.client)).await;
    let transaction = transaction.context(UNCHANGED)?;
    let restoring = in_transaction(&session.client, &programs, archive, allowed, told);
    let schema_version = match unless_stopped(stop, restoring).await {
        Ok(schema_version) => schema_version,
        Err(error) if error.is::<Committed>() => return Err(error),
        Err(error) if is_committed(&source.database, &transaction).await => {
            return Err(error.context(Committed));
        }
        Err(error) => return Err(error.context(UNCHANGED)),
    };
    commit(&session.client, &transaction, told, stop).await?;
    let took = begun.elapsed();
    told(Event::Step(
        "gathering statistics for the planner".to_owned(),
    ));
    // PostgreSQL does it by itself within minutes.
    let _ = query(&session.client, "ANALYZE").await;
    Ok(Restored {
        manifest,
        schema_version,
        took,
    })
}

/// Begins the transaction; returns its number.
async fn begin(client: &Client) -> anyhow::Result<String> {
    query(client, &format!("BEGIN; {NO_TIME_LIMIT}")).await?;
    query_one(client, "SELECT pg_current_xact_id()").await
}

/// Whether `transaction` is committed, which before the end only a dump can have done. Asked beside its own
/// connection, which may be broken, or take nothing but the end of what has failed.
async fn is_committed(database: &Database, transaction: &str) -> bool {
    let Ok(session) = database.alone().await else {
        return false;
    };
    let ask = format!("SELECT pg_xact_status('{transaction}')");
    let status = database.answer(query_one(&session.client, &ask)).await;
    matches!(status, Ok(Ok(status)) if status == "committed")
}

/// Loads the dump into the transaction; returns the schema's version.
async fn in_transaction(
    client: &Client,
    programs: &ClientPrograms,
    archive: Archive,
    allowed: Allowed,
    told: &Told,
) -> anyhow::Result<i32> {
    query(client, LOCK_WAIT).await?;
    let lock = format!("SELECT pg_advisory_xact_lock({})", migrations::LOCK_KEY);
    query(client, &lock)
        .await
        .context("another program is migrating this database")?;
    let there = objects(client).await?;
    if !there.is_empty() {
        if !allowed.clean {
            bail!(
                "it is not empty, it has {}; --clean drops all of it in the same transaction, or \
                 restore into a new database",
                summary(&there)
            );
        }
        told(Event::Step("emptying the database".to_owned()));
        drop_all(client, &there)
            .await
            .context("the database can't be emptied")?;
    }
    told(Event::Step("restoring".to_owned()));
    let leave = if allowed.without_privileges {
        Leave::Privileges
    } else {
        Leave::Owners
    };
    load(client, programs, archive, leave, told)
        .await
        .map_err(explain_role)?;
    let schema_version = schema_version(client).await?;
    refuse_newer(schema_version)?;
    Ok(schema_version)
}

/// Commits, whoever would stop it meanwhile.
async fn commit(
    client: &Client,
    transaction: &str,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let mut committing = pin!(client.batch_execute("COMMIT"));
    let answer = tokio::select! {
        biased;
        answer = &mut committing => answer,
        _ = stop.wait_for(|stop| *stop) => {
            told(Event::Step(
                "it is being committed, which can't be stopped any more".to_owned(),
            ));
            committing.await
        }
    };
    answer.map_err(|error| {
        let reason = anyhow!(explain(&error));
        if is_refusal(&error) {
            return reason.context(UNCHANGED);
        }
        reason.context(format!(
            "whether the backup was restored or the database is as it was is not known: the connection was lost \
             while it was committed. SELECT pg_xact_status('{transaction}') in that database says committed or aborted"
        ))
    })
}

/// Whether PostgreSQL has undone what it was to commit. Anything FATAL may come after it was done.
fn is_refusal(error: &tokio_postgres::Error) -> bool {
    let severity = error.as_db_error().and_then(DbError::parsed_severity);
    severity == Some(Severity::Error)
}

fn refuse_newer(version: i32) -> anyhow::Result<()> {
    let known = migrations::latest();
    if version > known {
        bail!(
            "its schema is at version {version}, this unibody knows up to {known}: restore it with the \
             newer unibody"
        );
    }
    Ok(())
}

/// Refuses when others are connected, and stay so for a moment: those that leave, our own among them,
/// are no obstacle.
async fn refuse_company(database: &Database, client: &Client) -> anyhow::Result<()> {
    database.rest();
    let begun = Instant::now();
    let mut others = others(client).await?;
    while !others.is_empty() && begun.elapsed() < FAREWELL {
        sleep(LOOK).await;
        others = self::others(client).await?;
    }
    if others.is_empty() {
        return Ok(());
    }
    let each = others
        .iter()
        .map(|(name, count)| format!("{name} ({count})"));
    bail!(
        "others are connected to the database: {}; stop them, or restore under their feet with \
         --while-serving: their requests wait or get 503, and go on with the restored notes",
        each.collect::<Vec<_>>().join(", ")
    )
}

async fn others(client: &Client) -> anyhow::Result<BTreeMap<String, usize>> {
    let mut others = BTreeMap::new();
    for name in query(client, OTHERS).await?.into_iter().flatten() {
        *others.entry(name).or_default() += 1;
    }
    Ok(others)
}

fn explain_role(error: anyhow::Error) -> anyhow::Error {
    let words = format!("{error:#}");
    if words.contains("role \"") && words.contains("does not exist") {
        return error.context(
            "the dump grants rights to a role that is not here; create the role, or leave the grants \
             out with --no-privileges",
        );
    }
    error
}
