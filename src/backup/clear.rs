//! What is in a database, and how to be rid of it within a transaction.

use tokio_postgres::Client;

use super::figures::query;

/// What belongs to no extension and is not PostgreSQL's own, in the order in which it is dropped:
/// statement and description. Sequences follow tables: many a one is a column's, and goes with it.
const OBJECTS: &str = "
WITH ours AS (
    SELECT oid, nspname FROM pg_namespace
    WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
), extensions AS (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
)
SELECT statement, words FROM (
    SELECT CASE relkind WHEN 'S' THEN 2 ELSE 1 END AS step, format('DROP %s IF EXISTS %I.%I CASCADE', CASE relkind
            WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'TABLE' WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE'
            WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TYPE' END,
            nspname, relname) AS statement,
        CASE relkind WHEN 'r' THEN 'table ' WHEN 'p' THEN 'table ' WHEN 'v' THEN 'view '
            WHEN 'S' THEN 'sequence ' ELSE '' END || relname AS words
    FROM pg_class c JOIN ours ON ours.oid = relnamespace
    WHERE relkind IN ('r', 'p', 'v', 'S', 'm', 'f', 'c')
        AND NOT EXISTS (SELECT FROM extensions WHERE classid = 'pg_class'::regclass AND objid = c.oid)
    UNION ALL
    SELECT 3, format('DROP ROUTINE IF EXISTS %s CASCADE', p.oid::regprocedure), 'function ' || proname
    FROM pg_proc p JOIN ours ON ours.oid = pronamespace
    WHERE NOT EXISTS (SELECT FROM extensions WHERE classid = 'pg_proc'::regclass AND objid = p.oid)
    UNION ALL
    SELECT 4, format('DROP TYPE IF EXISTS %I.%I CASCADE', nspname, typname), 'type ' || typname
    FROM pg_type t JOIN ours ON ours.oid = typnamespace
    WHERE typtype IN ('d', 'e', 'r')
        AND NOT EXISTS (SELECT FROM extensions WHERE classid = 'pg_type'::regclass AND objid = t.oid)
    UNION ALL
    SELECT 5, format('SELECT lo_unlink(%s)', oid), 'large object ' || oid
    FROM pg_largeobject_metadata
    UNION ALL
    SELECT 6, format('DROP SCHEMA IF EXISTS %I CASCADE', nspname), 'schema ' || nspname
    FROM ours WHERE nspname <> 'public'
        AND NOT EXISTS (SELECT FROM extensions WHERE classid = 'pg_namespace'::regclass AND objid = ours.oid)
) AS objects ORDER BY step, words";

/// An object in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Such as `table notes`.
    pub(super) words: String,
    drop: String,
}

/// Everything that a restore could collide with.
///
/// # Errors
/// What PostgreSQL says.
pub(super) async fn objects(client: &Client) -> anyhow::Result<Vec<Object>> {
    // Names with their schema.
    query(client, "SET LOCAL search_path = pg_catalog").await?;
    let rows = query(client, OBJECTS).await?;
    let each = rows.into_iter().filter_map(|row| {
        let [drop, words] = <[String; 2]>::try_from(row).ok()?;
        Some(Object { words, drop })
    });
    Ok(each.collect())
}

/// Drops them; those that went with another are gone already.
///
/// # Errors
/// What PostgreSQL says.
pub(super) async fn drop_all(client: &Client, objects: &[Object]) -> anyhow::Result<()> {
    for object in objects {
        query(client, &object.drop).await?;
    }
    Ok(())
}

/// A few of them by name, and how many there are.
pub(super) fn summary(objects: &[Object]) -> String {
    let names: Vec<_> = objects
        .iter()
        .take(5)
        .map(|one| one.words.as_str())
        .collect();
    let more = match objects.len().saturating_sub(names.len()) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{}{more}", names.join(", "))
}
