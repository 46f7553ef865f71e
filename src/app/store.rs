//! The SQL.
//!
//! Every change is a single statement that commits itself: it happens wholly or not at all, whether
//! or not anyone still waits for it. What `If-Match` demands is part of the statement. Reading the
//! version first and writing afterwards would let two editors both find version 3 and both write.

use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use tracing::Instrument;

use super::failure::StoreError;
use super::input::{NewNote, NotePatch};
use super::note::{Note, NoteId};
use super::page::{Cursor, Page, PageRequest};
use super::preconditions::Preconditions;
use crate::database::{Client, Database};

/// Bytes of note bodies after which a page ends before its `limit`, which is a maximum: 200 notes
/// of 20 MiB would not fit into memory. A page always has at least one note.
const PAGE_BYTES: i64 = 8 << 20;

/// A body up to here fits however many notes the page has.
const SMALL_BODY: i64 = PAGE_BYTES / 256;

/// Writes a new note.
pub(super) async fn insert(database: &Database, new: NewNote) -> Result<Note, StoreError> {
    const SQL: &str = "
        INSERT INTO notes (id, title, body) VALUES ($1, $2, $3)
        RETURNING created_at, updated_at, version";
    let id = NoteId::generate();
    let parameters: Parameters = &[&id.0, &new.title.as_str(), &new.body.as_str()];
    match query(database, SQL, parameters).await?.first() {
        Some(row) => written(id, new, row),
        // Only a rule or trigger that swallows the INSERT, which none of ours does.
        None => Err(StoreError::Missing),
    }
}

/// One note.
pub(super) async fn find(database: &Database, id: NoteId) -> Result<Note, StoreError> {
    const SQL: &str = "
        SELECT id, title, body, created_at, updated_at, version FROM notes WHERE id = $1";
    match query(database, SQL, &[&id.0]).await?.first() {
        Some(row) => note(row),
        None => Err(StoreError::Missing),
    }
}

/// A part of the list, newest first.
pub(super) async fn page(database: &Database, request: &PageRequest) -> Result<Page, StoreError> {
    // A body that $4 bytes don't allow comes as NULL. For octet_length a long text isn't read.
    const SMALL_BODIES: &str = "
        SELECT id, title, CASE WHEN octet_length(body) <= $4::bigint THEN body END AS body,
               created_at, updated_at, version
        FROM notes WHERE (created_at, id) < ($2, $3)
        ORDER BY created_at DESC, id DESC LIMIT $1";
    // The window makes the query a third slower, so it waits until there is a long body to weigh.
    const WEIGHED_BODIES: &str = "
        SELECT id, title, CASE WHEN coalesce(sum(octet_length(body)) OVER (
                   ORDER BY created_at DESC, id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
               ), 0) < $4::bigint THEN body END AS body,
               created_at, updated_at, version
        FROM notes WHERE (created_at, id) < ($2, $3)
        ORDER BY created_at DESC, id DESC LIMIT $1";
    let mut notes = listed(database, SMALL_BODIES, request, SMALL_BODY).await?;
    if notes.contains(&None) {
        notes = listed(database, WEIGHED_BODIES, request, PAGE_BYTES).await?;
    }
    let found = notes.len();
    let notes: Vec<Note> = notes
        .into_iter()
        .take(request.limit.into())
        .map_while(|note| note)
        .collect();
    let has_more = found > notes.len();
    let next = notes.last().filter(|_| has_more).map(Cursor::after);
    Ok(Page { notes, next })
}

/// The rows of a page and one more, which tells whether there is a next page. `None` is a note whose
/// body was left out.
async fn listed(
    database: &Database,
    sql: &str,
    request: &PageRequest,
    bytes: i64,
) -> Result<Vec<Option<Note>>, StoreError> {
    let Cursor { created_at, id } = request.after.unwrap_or(Cursor::BEFORE_ALL);
    let rows_wanted = i64::from(request.limit) + 1;
    query(database, sql, &[&rows_wanted, &created_at, &id, &bytes])
        .await?
        .iter()
        .map(|row| match row.try_get("body")? {
            Some(body) => note_with(row, body).map(Some),
            None => Ok(None),
        })
        .collect()
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
        SET title = $4, body = $5, version = version + 1,
            updated_at = greatest(updated_at, clock_timestamp())
        WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY ($2)) AND version <> ALL ($3)
        RETURNING created_at, updated_at, version";
    let texts: Parameters = &[&new.title.as_str(), &new.body.as_str()];
    let row = change(database, SQL, id, preconditions, texts).await?;
    written(id, new, &row)
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
        SET title = coalesce($4, title), body = coalesce($5, body), version = version + 1,
            updated_at = greatest(updated_at, clock_timestamp())
        WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY ($2)) AND version <> ALL ($3)
        RETURNING id, title, body, created_at, updated_at, version";
    let texts: Parameters = &[
        &patch.title.as_ref().map(super::Title::as_str),
        &patch.body.as_ref().map(super::Body::as_str),
    ];
    note(&change(database, SQL, id, preconditions, texts).await?)
}

/// Removes a note, if `preconditions` hold.
pub(super) async fn delete(
    database: &Database,
    id: NoteId,
    preconditions: &Preconditions,
) -> Result<(), StoreError> {
    const SQL: &str = "
        DELETE FROM notes
        WHERE id = $1 AND ($2::bigint[] IS NULL OR version = ANY ($2)) AND version <> ALL ($3)
        RETURNING version";
    change(database, SQL, id, preconditions, &[]).await?;
    Ok(())
}

/// Runs a statement that changes one note, and tells a note that isn't there from one that the
/// preconditions protect. $1 is the id, $2 and $3 are the versions wanted and unwanted.
async fn change(
    database: &Database,
    sql: &str,
    id: NoteId,
    preconditions: &Preconditions,
    more: Parameters<'_>,
) -> Result<Row, StoreError> {
    const EXISTS: &str = "SELECT FROM notes WHERE id = $1";
    if !preconditions.exclude_all() {
        let required = preconditions.required_versions();
        let excluded = preconditions.excluded_versions();
        let first: Parameters = &[&id.0, &required, &excluded];
        let parameters = [first, more].concat();
        let mut rows = query(database, sql, &parameters).await?;
        if let Some(row) = rows.pop() {
            return Ok(row);
        }
    }
    // The note may come or go meanwhile; either answer was right at some moment of the request.
    match query(database, EXISTS, &[&id.0]).await?.first() {
        Some(_) => Err(StoreError::Precondition),
        None => Err(StoreError::Missing),
    }
}

type Parameters<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Runs one statement, prepared once a connection.
async fn query(
    database: &Database,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, StoreError> {
    let span = tracing::info_span!(
        target: "otel",
        "query",
        otel.name = operation(sql),
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        db.system.name = "postgresql",
        db.operation.name = operation(sql),
        db.query.text = sql,
    );
    let queried = queried(database, sql, parameters).instrument(span.clone());
    queried.await.inspect_err(|_| {
        span.record("otel.status_code", "ERROR");
    })
}

/// `SELECT`, `INSERT` and so on.
fn operation(sql: &str) -> &str {
    sql.split_whitespace().next().unwrap_or_default()
}

async fn queried(
    database: &Database,
    sql: &str,
    parameters: Parameters<'_>,
) -> Result<Vec<Row>, StoreError> {
    let client = database.client().await?;
    // Both within one limit: the statement is prepared once a connection.
    let prepared_and_run = async {
        let statement = client.prepare_cached(sql).await?;
        client.query(&statement, parameters).await
    };
    let outcome = match database.answer(prepared_and_run).await {
        Ok(outcome) => outcome.map_err(StoreError::from),
        Err(unavailable) => Err(unavailable.into()),
    };
    if outcome.as_ref().is_err_and(StoreError::spoils_connection) {
        // Not back to the pool, which may not have seen yet that it is closed.
        drop(Client::take(client));
    }
    outcome
}

fn note(row: &Row) -> Result<Note, StoreError> {
    note_with(row, row.try_get("body")?)
}

fn note_with(row: &Row, body: String) -> Result<Note, StoreError> {
    Ok(Note {
        id: NoteId(row.try_get("id")?),
        title: row.try_get("title")?,
        body,
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
