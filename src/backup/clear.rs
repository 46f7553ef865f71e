//! What is in a database, and how to be rid of it within a transaction.

use anyhow::Context as _;
use tokio_postgres::Client;

use super::figures::query;

/// What is not PostgreSQL's own (that is numbered below 16384), and neither an extension's (`e`) nor a part of
/// something else (`i`), in the order in which it is dropped: statement and description.
///
/// Event triggers come first, since they would run at what follows. Sequences follow tables: many a one is a
/// column's, and goes with it. Access methods follow what is named with them, and may go with their function.
/// Constraints, triggers, rules, policies and statistics go with their tables.
const OBJECTS: &str = "
WITH there (step, kind, classid, objid) AS (
    SELECT 1, 'EVENT TRIGGER', tableoid, oid FROM pg_event_trigger
    UNION ALL SELECT 1, 'PUBLICATION', tableoid, oid FROM pg_publication
    UNION ALL SELECT 2, CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
        WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END, tableoid, oid
        FROM pg_class WHERE relkind IN ('r', 'p', 'v', 'm', 'f')
    UNION ALL SELECT 3, 'SEQUENCE', tableoid, oid FROM pg_class WHERE relkind = 'S'
    UNION ALL SELECT 4, 'OPERATOR CLASS', tableoid, oid FROM pg_opclass
    UNION ALL SELECT 4, 'OPERATOR FAMILY', tableoid, oid FROM pg_opfamily
    UNION ALL SELECT 5, 'ACCESS METHOD', tableoid, oid FROM pg_am
    UNION ALL SELECT 5, 'OPERATOR', tableoid, oid FROM pg_operator
    UNION ALL SELECT 5, 'CAST', tableoid, oid FROM pg_cast
    UNION ALL SELECT 5, 'CONVERSION', tableoid, oid FROM pg_conversion
    UNION ALL SELECT 5, 'TEXT SEARCH CONFIGURATION', tableoid, oid FROM pg_ts_config
    UNION ALL SELECT 5, 'TEXT SEARCH DICTIONARY', tableoid, oid FROM pg_ts_dict
    UNION ALL SELECT 5, 'TEXT SEARCH TEMPLATE', tableoid, oid FROM pg_ts_template
    UNION ALL SELECT 5, 'TEXT SEARCH PARSER', tableoid, oid FROM pg_ts_parser
    UNION ALL SELECT 5, 'SERVER', tableoid, oid FROM pg_foreign_server
    UNION ALL SELECT 5, 'FOREIGN DATA WRAPPER', tableoid, oid FROM pg_foreign_data_wrapper
    UNION ALL SELECT 6, 'ROUTINE', tableoid, oid FROM pg_proc
    UNION ALL SELECT 7, 'TYPE', tableoid, oid FROM pg_type
        WHERE typtype IN ('b', 'c', 'd', 'e', 'r')
    UNION ALL SELECT 8, 'COLLATION', tableoid, oid FROM pg_collation
    UNION ALL SELECT 8, 'LANGUAGE', tableoid, oid FROM pg_language
    UNION ALL SELECT 10, 'SCHEMA', tableoid, oid FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname NOT IN ('public', 'information_schema')
)
SELECT statement, words FROM (
    SELECT step, format('DROP %s IF EXISTS %s CASCADE', kind, identity) AS statement,
        type || ' ' || identity AS words
    FROM there CROSS JOIN LATERAL pg_identify_object(classid, objid, 0)
    WHERE objid >= 16384 AND identity IS NOT NULL
        AND coalesce(schema, '') !~ '^(pg_|information_schema$)'
        AND NOT EXISTS (SELECT FROM pg_depend AS part WHERE part.deptype IN ('e', 'i')
            AND part.classid = there.classid AND part.objid = there.objid AND part.objsubid = 0)
    UNION ALL
    SELECT 1, format('DROP SUBSCRIPTION IF EXISTS %I', subname), 'subscription ' || quote_ident(subname)
    FROM pg_subscription JOIN pg_database ON pg_database.oid = subdbid
    WHERE datname = current_database()
    UNION ALL
    SELECT 9, format('SELECT lo_unlink(%s)', oid), 'large object ' || oid
    FROM pg_largeobject_metadata
) AS objects ORDER BY step, words";

/// An object in the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Object {
    /// Such as `table public.notes`.
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
/// What PostgreSQL says, such as of a subscription with a slot, which no transaction can drop.
pub(super) async fn drop_all(client: &Client, objects: &[Object]) -> anyhow::Result<()> {
    for object in objects {
        query(client, &object.drop)
            .await
            .with_context(|| format!("{} can't be dropped", object.words))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::Database;
    use crate::database::testing::{Server, settings};

    /// What makes something, and how each of it is called.
    const EACH: &[(&str, &[&str])] = &[
        (
            "CREATE TABLE t (a serial PRIMARY KEY)",
            &["table public.t", "sequence public.t_a_seq"],
        ),
        (
            "CREATE TABLE t (a int, b int) PARTITION BY LIST (a)",
            &["table public.t"],
        ),
        (
            "CREATE TABLE t (a int, b int); CREATE STATISTICS s ON a, b FROM t",
            &["table public.t"],
        ),
        ("CREATE VIEW v AS SELECT 1", &["view public.v"]),
        (
            "CREATE MATERIALIZED VIEW m AS SELECT 1",
            &["materialized view public.m"],
        ),
        (
            "CREATE TABLE t (a int GENERATED ALWAYS AS IDENTITY)",
            &["table public.t"],
        ),
        ("CREATE SEQUENCE s", &["sequence public.s"]),
        ("CREATE SCHEMA \"Of Mine\"", &["schema \"Of Mine\""]),
        ("CREATE TYPE c AS (a int)", &["type public.c"]),
        ("CREATE TYPE e AS ENUM ('a')", &["type public.e"]),
        (
            "CREATE TYPE r AS RANGE (subtype = text)",
            &["type public.r"],
        ),
        ("CREATE DOMAIN d AS int", &["type public.d"]),
        (
            "CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            &["function public.f(integer)"],
        ),
        (
            "CREATE PROCEDURE p() LANGUAGE sql AS 'SELECT 1'",
            &["procedure public.p()"],
        ),
        (
            "CREATE AGGREGATE a(*) (SFUNC = int8inc, STYPE = int8, INITCOND = '0')",
            &["aggregate public.a()"],
        ),
        ("CREATE COLLATION c (locale = 'C')", &["collation public.c"]),
        (
            "CREATE CONVERSION c FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
            &["conversion public.c"],
        ),
        (
            "CREATE TEXT SEARCH CONFIGURATION c (PARSER = default)",
            &["text search configuration public.c"],
        ),
        (
            "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple)",
            &["text search dictionary public.d"],
        ),
        (
            "CREATE TEXT SEARCH TEMPLATE t (LEXIZE = dsimple_lexize)",
            &["text search template public.t"],
        ),
        (
            "CREATE TEXT SEARCH PARSER p (START = prsd_start, GETTOKEN = prsd_nexttoken, \
            END = prsd_end, LEXTYPES = prsd_lextype)",
            &["text search parser public.p"],
        ),
        (
            "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
            &["operator public.===(integer,integer)"],
        ),
        (
            "CREATE OPERATOR !!! (RIGHTARG = int, FUNCTION = int4abs)",
            &["operator public.!!!(NONE,integer)"],
        ),
        (
            "CREATE OPERATOR CLASS c FOR TYPE int USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(int)",
            &[
                "operator class public.c USING hash",
                "operator family public.c USING hash",
            ],
        ),
        (
            "CREATE CAST (int AS json) WITH INOUT",
            &["cast (integer AS pg_catalog.json)"],
        ),
        (
            "CREATE ACCESS METHOD a TYPE TABLE HANDLER heap_tableam_handler",
            &["access method a"],
        ),
        (
            "CREATE ACCESS METHOD a TYPE INDEX HANDLER bthandler; \
            CREATE OPERATOR CLASS c FOR TYPE int USING a AS OPERATOR 1 <, FUNCTION 1 btint4cmp(int, int)",
            &[
                "operator class public.c USING a",
                "operator family public.c USING a",
                "access method a",
            ],
        ),
        (
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; \
            CREATE USER MAPPING FOR PUBLIC SERVER s; CREATE FOREIGN TABLE t (a int) SERVER s",
            &[
                "foreign table public.t",
                "foreign-data wrapper w",
                "server s",
            ],
        ),
        (
            "CREATE LANGUAGE l HANDLER plpgsql_call_handler",
            &["language l"],
        ),
        (
            "CREATE FUNCTION f() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'; \
            CREATE EVENT TRIGGER t ON sql_drop EXECUTE FUNCTION f()",
            &["event trigger t", "function public.f()"],
        ),
        (
            "CREATE PUBLICATION pg_not FOR ALL TABLES",
            &["publication pg_not"],
        ),
        (
            "CREATE SUBSCRIPTION s CONNECTION 'host=h' PUBLICATION p \
            WITH (connect = false, slot_name = NONE)",
            &["subscription s"],
        ),
        ("SELECT lo_create(4711)", &["large object 4711"]),
        ("CREATE TEMP TABLE t (a int)", &[]),
        ("CREATE EXTENSION IF NOT EXISTS plpgsql", &[]),
    ];

    #[tokio::test(flavor = "multi_thread")]
    async fn whatever_there_is_is_found_and_dropped() {
        let server = Server::start().await;
        let database = Database::open(&settings(), &server.superuser_url()).unwrap();
        let session = database.alone().await.unwrap();
        for (make, expected) in EACH {
            query(&session.client, "BEGIN; SET LOCAL search_path = public")
                .await
                .unwrap();
            query(&session.client, make).await.expect(make);
            let there = objects(&session.client).await.unwrap();
            let words: Vec<_> = there.iter().map(|object| object.words.as_str()).collect();
            assert_eq!(words, *expected, "{make}");
            drop_all(&session.client, &there).await.expect(make);
            assert_eq!(objects(&session.client).await.unwrap(), [], "{make}");
            query(&session.client, "ROLLBACK").await.unwrap();
        }
        drop(session);
        server.stop().await;
    }
}
