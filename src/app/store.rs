//! The SQL, and what PostgreSQL's errors mean to a client.
//!
//! Every change is a single statement that commits itself: it happens wholly or not at all, whether
//! or not anyone still waits for it. What `If-Match` demands is part of the statement. Reading the
//! version first and writing afterwards would let two editors both find version 3 and both write.

use std::error::Error as _;
use std::fmt::Write as _;

use tokio_postgres::Row;
use tokio_postgres::error::SqlState;

use super::input::{NewNote, NotePatch};
use super::note::{Note, NoteId};
use super::page::{Cursor, Page, PageRequest};
use super::preconditions::Preconditions;
use super::problem::{self, Problem};
use crate::database::{Database, Unavailable};

/// Bytes of note bodies after which a page ends before its `limit`, which is a maximum: 200 notes
/// of 20 MiB would not fit into memory. A page always has at least one note.
const PAGE_BYTES: i64 = 8 << 20;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// No note has this id, or no longer.
    #[error("no such note")]
    Missing,
    /// The note isn't in a state that the preconditions allow.
    #[error("a precondition failed")]
    Precondition,
    /// No connection was to be had.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// PostgreSQL refused, or went away in the middle.
    #[error("{}", explain(.0))]
    Sql(#[from] tokio_postgres::Error),
}

/// Writes a new note.
pub(super) async fn insert(database: &Database, new: NewNote) -> Result<Note, StoreError> {
    const SQL: &str = "
        INSERT INTO notes (id, title, body) VALUES ($1, $2, $3)
        RETURNING created_at, updated_at, version";
    let client = database.client().await?;
    let statement = client.prepare_cached(SQL).await?;
    let id = NoteId::generate();
    let row = client
        .query_one(
            &statement,
            &[&id.0, &new.title.as_str(), &new.body.as_str()],
        )
        .await?;
    written(id, new, &row)
}

/// One note.
pub(super) async fn find(database: &Database, id: NoteId) -> Result<Note, StoreError> {
    const SQL: &str = "
        SELECT id, title, body, created_at, updated_at, version FROM notes WHERE id = $1";
    let client = database.client().await?;
    let statement = client.prepare_cached(SQL).await?;
    match client.query_opt(&statement, &[&id.0]).await? {
        Some(row) => note(&row),
        None => Err(StoreError::Missing),
    }
}

/// A part of the list, newest first.
pub(super) async fn page(database: &Database, request: &PageRequest) -> Result<Page, StoreError> {
    // A body beyond the budget comes as NULL: that there is such a row tells that there is more,
    // and octet_length takes the length from the row's head without reading the text.
    macro_rules! page_sql {
        ($condition:literal) => {
            concat!(
                "SELECT id, title, CASE WHEN bytes_before < $1 THEN body END AS body,
                        created_at, updated_at, version
                 FROM (SELECT *, coalesce(sum(octet_length(body)) OVER (
                                     ORDER BY created_at DESC, id DESC
                                     ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
                                 ), 0) AS bytes_before
                       FROM notes ",
                $condition,
                " ORDER BY created_at DESC, id DESC LIMIT $2) AS page
                 ORDER BY created_at DESC, id DESC"
            )
        };
    }
    const FIRST: &str = page_sql!("");
    const NEXT: &str = page_sql!("WHERE (created_at, id) < ($3, $4)");

    let client = database.client().await?;
    // One more than asked for tells whether there is a next page.
    let rows_wanted = i64::from(request.limit) + 1;
    let rows = match &request.after {
        None => {
            let statement = client.prepare_cached(FIRST).await?;
            client
                .query(&statement, &[&PAGE_BYTES, &rows_wanted])
                .await?
        }
        Some(Cursor { created_at, id }) => {
            let statement = client.prepare_cached(NEXT).await?;
            client
                .query(&statement, &[&PAGE_BYTES, &rows_wanted, created_at, id])
                .await?
        }
    };
    drop(client);

    let mut notes = Vec::with_capacity(rows.len());
    for row in rows.iter().take(request.limit.into()) {
        if row.try_get::<_, Option<&str>>("body")?.is_none() {
            break;
        }
        notes.push(note(row)?);
    }
    let has_more = rows.len() > notes.len();
    let next = notes.last().filter(|_| has_more).map(Cursor::after);
    Ok(Page { notes, next })
}

/// Gives a note a new title and body, if `preconditions` hold.
pub(super) async fn replace(
    database: &Database,
    id: NoteId,
    new: NewNote,
    preconditions: &Preconditions,
) -> Result<Note, StoreError> {
    // The clock is read after the row's lock was had, unlike now(), and may have been set back.
    const SQL: &str = "
        UPDATE notes
        SET title = $2, body = $3, version = version + 1,
            updated_at = greatest(updated_at, clock_timestamp())
        WHERE id = $1 AND ($4::bigint[] IS NULL OR version = ANY ($4)) AND version <> ALL ($5)
        RETURNING created_at, updated_at, version";
    if preconditions.exclude_all() {
        return Err(refused(database, id).await);
    }
    let client = database.client().await?;
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(
            &statement,
            &[
                &id.0,
                &new.title.as_str(),
                &new.body.as_str(),
                &preconditions.required_versions(),
                &preconditions.excluded_versions(),
            ],
        )
        .await?;
    drop(client);
    match row {
        Some(row) => written(id, new, &row),
        None => Err(refused(database, id).await),
    }
}

/// Changes what the patch names and nothing else, if `preconditions` hold.
pub(super) async fn patch(
    database: &Database,
    id: NoteId,
    patch: &NotePatch,
    preconditions: &Preconditions,
) -> Result<Note, StoreError> {
    const SQL: &str = "
        UPDATE notes
        SET title = coalesce($2, title), body = coalesce($3, body), version = version + 1,
            updated_at = greatest(updated_at, clock_timestamp())
        WHERE id = $1 AND ($4::bigint[] IS NULL OR version = ANY ($4)) AND version <> ALL ($5)
        RETURNING id, title, body, created_at, updated_at, version";
    if preconditions.exclude_all() {
        return Err(refused(database, id).await);
    }
    let client = database.client().await?;
    let statement = client.prepare_cached(SQL).await?;
    let row = client
        .query_opt(
            &statement,
            &[
                &id.0,
                &patch.title.as_ref().map(super::Title::as_str),
                &patch.body.as_ref().map(super::Body::as_str),
                &preconditions.required_versions(),
                &preconditions.excluded_versions(),
            ],
        )
        .await?;
    drop(client);
    match row {
        Some(row) => note(&row),
        None => Err(refused(database, id).await),
    }
}

/// Removes a note, if `preconditions` hold.
pub(super) async fn delete(
    database: &Database,
    id: NoteId,
    preconditions: &Preconditions,
) -> Result<(), StoreError> {
    const SQL: &str = "
        DELETE FROM notes
        WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY ($2)) AND version <> ALL ($3)";
    if preconditions.exclude_all() {
        return Err(refused(database, id).await);
    }
    let client = database.client().await?;
    let statement = client.prepare_cached(SQL).await?;
    let deleted = client
        .execute(
            &statement,
            &[
                &id.0,
                &preconditions.required_versions(),
                &preconditions.excluded_versions(),
            ],
        )
        .await?;
    drop(client);
    match deleted {
        0 => Err(refused(database, id).await),
        _ => Ok(()),
    }
}

/// Why a change found no row. The note may come or go in between, but then either answer was the
/// right one at some moment of the request.
async fn refused(database: &Database, id: NoteId) -> StoreError {
    match exists(database, id).await {
        Ok(true) => StoreError::Precondition,
        Ok(false) => StoreError::Missing,
        Err(error) => error,
    }
}

async fn exists(database: &Database, id: NoteId) -> Result<bool, StoreError> {
    const SQL: &str = "SELECT EXISTS (SELECT FROM notes WHERE id = $1)";
    let client = database.client().await?;
    let statement = client.prepare_cached(SQL).await?;
    Ok(client.query_one(&statement, &[&id.0]).await?.try_get(0)?)
}

fn note(row: &Row) -> Result<Note, StoreError> {
    Ok(Note {
        id: NoteId(row.try_get("id")?),
        title: row.try_get("title")?,
        body: row.try_get("body")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        version: row.try_get("version")?,
    })
}

/// The note whose text we just sent, and which therefore needn't be sent back.
fn written(id: NoteId, new: NewNote, row: &Row) -> Result<Note, StoreError> {
    Ok(Note {
        id,
        title: new.title.into(),
        body: new.body.into(),
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        version: row.try_get("version")?,
    })
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Missing => Self::no_such_note(),
            StoreError::Precondition => Self::precondition_failed(),
            StoreError::Unavailable(unavailable) => Self::unavailable(unavailable.retry_after)
                .with_cause(problem::Severity::KnownOutage, error.to_string()),
            StoreError::Sql(sql) if may_pass(sql) => Self::unavailable(problem::RETRY_SOON)
                .with_cause(problem::Severity::Outage, error.to_string()),
            StoreError::Sql(_) => Self::internal(error.to_string()),
        }
    }
}

/// Whether the same request may well succeed a little later.
fn may_pass(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        Some(code) => is_passing(code),
        // Not PostgreSQL's word, but a broken connection, or a value that can't be read: ours.
        None => {
            error.is_closed()
                || error
                    .source()
                    .is_some_and(|source| source.is::<std::io::Error>())
        }
    }
}

/// The conditions of PostgreSQL (its manual, appendix A) that are of the moment.
fn is_passing(code: &SqlState) -> bool {
    // 08 connection, 53 out of resources, 57 stopped by the operator or by a timeout, 58 system
    // error. 40 is a deadlock or a serialization failure.
    let class = &code.code()[..2];
    matches!(class, "08" | "40" | "53" | "57" | "58")
        || [
            // A failover left us connected to what is a replica now.
            &SqlState::READ_ONLY_SQL_TRANSACTION,
            &SqlState::LOCK_NOT_AVAILABLE,
            // We serve before the migrations have been applied.
            &SqlState::UNDEFINED_TABLE,
            &SqlState::UNDEFINED_COLUMN,
        ]
        .contains(&code)
}

/// What the log needs. Never PostgreSQL's DETAIL line, which may quote a note.
fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String can't fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_states_are_told_apart_by_whether_waiting_helps() {
        for (code, passes, why) in [
            ("57014", true, "statement timeout"),
            ("57P01", true, "shut down by the administrator"),
            ("57P03", true, "still starting"),
            ("53300", true, "too many connections"),
            ("53100", true, "disk full"),
            ("08006", true, "connection failure"),
            ("40001", true, "serialization failure"),
            ("40P01", true, "deadlock"),
            ("55P03", true, "lock not available"),
            ("25006", true, "read-only after a failover"),
            ("42P01", true, "not migrated yet"),
            ("42703", true, "not migrated yet"),
            ("23505", false, "unique violation"),
            ("23514", false, "check violation"),
            ("42601", false, "syntax error"),
            ("22021", false, "invalid byte sequence"),
            ("42501", false, "insufficient privilege"),
        ] {
            assert_eq!(
                is_passing(&SqlState::from_code(code)),
                passes,
                "{code}: {why}"
            );
        }
    }
}
