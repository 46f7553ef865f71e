//! Into a database that has something in it.

use super::{Site, contents, insert_notes};
use crate::support::database::TestDatabase;

#[test]
fn a_database_that_is_not_empty_is_refused_and_cleaned_on_demand() {
    let site = Site::new();
    insert_notes(&site.database);
    let before = contents(&site.database);
    site.unibody(&["backup", "notes.dump"]).assert_status(0);

    // A later release's, which would be in the way of its own migration.
    site.database.execute(
        "UPDATE notes SET body = 'spoilt'; CREATE TYPE mood AS ENUM ('good'); \
         CREATE TABLE later (a mood); CREATE VIEW seen AS SELECT title FROM notes; \
         CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'; \
         CREATE SCHEMA other; CREATE TABLE other.one (a int); SELECT lo_create(0);",
    );
    let spoilt = contents(&site.database);
    let refused = site.unibody(&["restore", "notes.dump"]).assert_status(1);
    refused.assert_last_line(&["not empty", "--clean", "as it was"]);
    assert_eq!(contents(&site.database), spoilt);

    site.unibody(&["restore", "--clean", "notes.dump"])
        .assert_status(0);
    assert_eq!(contents(&site.database), before);
    let strangers = "SELECT (SELECT count(*) FROM pg_class WHERE relname IN ('later', 'seen', 'one'))
        + (SELECT count(*) FROM pg_type WHERE typname = 'mood')
        + (SELECT count(*) FROM pg_proc WHERE proname = 'f' AND pronamespace = 'public'::regnamespace)
        + (SELECT count(*) FROM pg_namespace WHERE nspname = 'other')
        + (SELECT count(*) FROM pg_largeobject_metadata)";
    assert_eq!(site.database.count(strangers), 0);
}

#[test]
fn whatever_a_database_may_have_comes_back_in_its_place() {
    // What makes it, and where it is then.
    const EACH: &[(&str, &str)] = &[
        (
            "CREATE TEXT SEARCH CONFIGURATION de (COPY = german)",
            "pg_ts_config WHERE cfgname = 'de'",
        ),
        (
            "CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple)",
            "pg_ts_dict WHERE dictname = 'plain'",
        ),
        (
            "CREATE COLLATION ours (locale = 'C')",
            "pg_collation WHERE collname = 'ours'",
        ),
        (
            "CREATE TYPE span AS RANGE (subtype = text)",
            "pg_type WHERE typname = 'span'",
        ),
        (
            "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq)",
            "pg_operator WHERE oprname = '==='",
        ),
        (
            "CREATE OPERATOR CLASS hashed FOR TYPE int USING hash AS OPERATOR 1 =, FUNCTION 1 hashint4(int)",
            "pg_opclass WHERE opcname = 'hashed'",
        ),
        (
            "CREATE CAST (int AS json) WITH INOUT",
            "pg_cast WHERE castsource = 'int'::regtype AND casttarget = 'json'::regtype",
        ),
        (
            "CREATE CONVERSION latin FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8",
            "pg_conversion WHERE conname = 'latin'",
        ),
        (
            "CREATE FOREIGN DATA WRAPPER elsewhere; CREATE SERVER far FOREIGN DATA WRAPPER elsewhere",
            "pg_foreign_server WHERE srvname = 'far'",
        ),
        (
            "CREATE PUBLICATION everything FOR ALL TABLES",
            "pg_publication WHERE pubname = 'everything'",
        ),
        (
            "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'; \
            CREATE EVENT TRIGGER guard ON sql_drop EXECUTE FUNCTION refuse()",
            "pg_event_trigger WHERE evtname = 'guard'",
        ),
    ];
    let site = Site::new();
    insert_notes(&site.database);
    let before = contents(&site.database);
    for (make, _) in EACH {
        site.database.execute(make);
    }
    site.unibody(&["backup", "notes.dump"]).assert_status(0);
    site.database.execute("UPDATE notes SET body = 'spoilt'");
    site.unibody(&["restore", "--clean", "notes.dump"])
        .assert_status(0);
    assert_eq!(contents(&site.database), before);
    for (make, there) in EACH {
        let count = format!("SELECT count(*) FROM {there}");
        assert_eq!(site.database.count(&count), 1, "{make}");
    }

    let empty = TestDatabase::empty();
    empty.execute("CREATE PUBLICATION everything FOR ALL TABLES");
    let refused = site
        .unibody_on(&empty, &["restore", "notes.dump"])
        .assert_status(1);
    refused.assert_last_line(&["not empty", "publication everything", "--clean"]);
}
