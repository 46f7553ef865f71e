//! Counts and checksums of tables and large objects, the same for the same contents wherever they are.
//!
//! A row's text under fixed settings is hashed (SHA-256, of which 64 bits count), and the hashes of
//! all rows are added up: the sum knows no order, which PostgreSQL does not promise either. Large objects are
//! the rows of one more table. Materialized views are not looked at: a restore computes them anew, so one
//! that was stale is rightly another one then.

use anyhow::Context as _;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::manifest::{LARGE_OBJECT, SYSTEM, Table};
use crate::database::explain;

/// Settings that the text of a value depends on, and rights that would hide rows from us.
const SETTINGS: &str = "SET LOCAL search_path = pg_catalog; SET LOCAL timezone = 'UTC'; \
    SET LOCAL datestyle = 'ISO, YMD'; SET LOCAL intervalstyle = 'postgres'; \
    SET LOCAL extra_float_digits = 1; SET LOCAL bytea_output = 'hex'; \
    SET LOCAL xmlbinary = 'base64'; SET LOCAL row_security = off; \
    SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0";

/// Everything that `pg_dump` takes rows from, but for what extensions own.
const TABLES: &str = "SELECT n.nspname, c.relname FROM pg_catalog.pg_class c \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE c.relkind = 'r' AND c.relpersistence <> 't' \
    AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_' \
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
        WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e') \
    ORDER BY 1, 2";

/// How many large objects there are, and the sum of the hashes of their pieces, each with its place. They may
/// be terabytes long: none is ever in memory as a whole. (Who may not read `pg_largeobject` may still read
/// his own by `lo_get`; `OFFSET 0` keeps it from being called twice.)
const LARGE_OBJECTS: &str = "WITH RECURSIVE piece AS (\
    SELECT whole.oid, 0::bigint AS number, here.hash, here.is_full \
    FROM pg_catalog.pg_largeobject_metadata AS whole CROSS JOIN LATERAL (\
        SELECT sha256(convert_to(whole.oid || ' 0 ', 'UTF8') || bytes) AS hash, length(bytes) = 262144 AS is_full \
        FROM (SELECT lo_get(whole.oid, 0, 262144) AS bytes OFFSET 0) AS read) AS here \
    UNION ALL \
    SELECT before.oid, before.number + 1, here.hash, here.is_full \
    FROM piece AS before CROSS JOIN LATERAL (\
        SELECT sha256(convert_to(before.oid || ' ' || before.number + 1 || ' ', 'UTF8') || bytes) AS hash, \
            length(bytes) = 262144 AS is_full \
        FROM (SELECT lo_get(before.oid, (before.number + 1) * 262144, 262144) AS bytes OFFSET 0) AS read) AS here \
    WHERE before.is_full) \
    SELECT count(DISTINCT oid), coalesce(sum(('x' || encode(substr(hash, 1, 8), 'hex'))::bit(64)::bigint), 0) FROM piece";

/// The figures of every table and of large objects, if there are any, as the transaction that `client` is in sees them.
///
/// # Errors
/// What PostgreSQL says, with the table's name.
pub(super) async fn figures(client: &Client) -> anyhow::Result<Vec<Table>> {
    query(client, SETTINGS)
        .await
        .context("cannot prepare to read the tables")?;
    let names = query(client, TABLES)
        .await
        .context("cannot list the tables")?;
    let mut tables = Vec::with_capacity(names.len());
    for name in names {
        let [schema, name] = <[String; 2]>::try_from(name)
            .map_err(|_| anyhow::anyhow!("PostgreSQL lists its tables otherwise than expected"))?;
        let of_table = format!(
            "SELECT count(*), coalesce(sum(('x' || encode(substr(sha256(convert_to(\
             unibody_row::text, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint), 0) \
             FROM ONLY {}.{} AS unibody_row",
            quoted(&schema),
            quoted(&name)
        );
        let answer = query(client, &of_table)
            .await
            .with_context(|| format!("cannot read the table {schema}.{name}"))?;
        tables.push(counted(schema, name, &answer)?);
    }
    let answer = query(client, LARGE_OBJECTS)
        .await
        .context("cannot read the large objects")?;
    let large_objects = counted(SYSTEM.to_owned(), LARGE_OBJECT.to_owned(), &answer)?;
    if large_objects.rows > 0 {
        tables.push(large_objects);
    }
    Ok(tables)
}

fn counted(schema: String, name: String, answer: &[Vec<String>]) -> anyhow::Result<Table> {
    let [row] = answer else {
        anyhow::bail!("PostgreSQL counts {schema}.{name} otherwise than expected");
    };
    let [rows, checksum] = row.as_slice() else {
        anyhow::bail!("PostgreSQL counts {schema}.{name} otherwise than expected");
    };
    Ok(Table {
        rows: rows.parse()?,
        checksum: checksum.clone(),
        schema,
        name,
    })
}

/// The rows of an answer as text, by a protocol that every PgBouncer passes on.
pub(super) async fn query(client: &Client, sql: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let answer = client.simple_query(sql).await;
    let answer = answer.map_err(|error| anyhow::anyhow!(explain(&error)))?;
    let rows = answer.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let cells = rows.map(|row| {
        let cell = |index| row.get(index).unwrap_or_default().to_owned();
        (0..row.len()).map(cell).collect()
    });
    Ok(cells.collect())
}

/// The first value of an answer.
pub(super) async fn query_one(client: &Client, sql: &str) -> anyhow::Result<String> {
    let first = query(client, sql).await?.into_iter().flatten().next();
    first.context("PostgreSQL gave no answer")
}

/// An identifier, as SQL writes any.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The version of the schema that the transaction of `client` sees; 0 where nothing was migrated.
/// Asks first: a table that is not there would end the transaction.
pub(super) async fn schema_version(client: &Client) -> anyhow::Result<i32> {
    const THERE: &str = "RESET search_path; \
        SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    const VERSION: &str = "SELECT coalesce(max(version), 0) FROM refinery_schema_history";
    if query_one(client, THERE).await? != "t" {
        return Ok(0);
    }
    query_one(client, VERSION)
        .await?
        .parse()
        .context("the schema has no version")
}
