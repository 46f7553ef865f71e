//! Counts and checksums of tables, the same for the same contents wherever they are.
//!
//! A row's text under fixed settings is hashed (SHA-256, of which 64 bits count), and the hashes of
//! all rows are added up: the sum knows no order, which PostgreSQL does not promise either.

use anyhow::Context as _;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::manifest::Table;
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

/// The figures of every table, as the transaction that `client` is in sees them.
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
        let (rows, checksum) = match answer.as_slice() {
            [row] if row.len() == 2 => (row[0].parse()?, row[1].clone()),
            _ => anyhow::bail!("PostgreSQL counts {schema}.{name} otherwise than expected"),
        };
        tables.push(Table {
            schema,
            name,
            rows,
            checksum,
        });
    }
    Ok(tables)
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
