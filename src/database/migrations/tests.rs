//! Migrations against a real server.

use tokio::time::timeout;

use super::*;
use crate::config::Secret;
use crate::database::testing::{Server, settings};

fn migration(name: &str, sql: &str) -> Migration {
    Migration::unapplied(name, sql).unwrap()
}

async fn count(database: &Database, query: &str) -> i64 {
    let client = database.client().await.unwrap();
    client.query_one(query, &[]).await.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_comes_once_and_in_order() {
    let server = Server::start().await;
    let database = server.open(&settings());

    let before = status(&database).await.unwrap();
    assert!(before.iter().all(|one| one.state == State::Pending));
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(count(&database, tables).await, 0, "looking creates nothing");

    // Two instances on an empty database.
    let other = server.open(&settings());
    let (one, two) = tokio::join!(migrate(&database), migrate(&other));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.version, latest());
    assert_eq!(two.version, latest());
    assert_eq!(
        one.applied.len() + two.applied.len(),
        before.len(),
        "each once"
    );
    assert!(
        migrate(&database).await.unwrap().applied.is_empty(),
        "again"
    );

    let after = status(&database).await.unwrap();
    assert!(
        after
            .iter()
            .all(|one| one.state == State::Applied && one.applied_on.is_some())
    );
    assert_eq!(after[0].name, "notes");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_notes_keeps_its_promises() {
    let server = Server::start().await;
    let database = server.open(&settings());
    migrate(&database).await.unwrap();
    let client = database.client().await.unwrap();
    let table = [
        ("''", false, "an empty title"),
        ("repeat('é', 160)", true, "160 characters, 320 bytes"),
        ("repeat('é', 161)", false, "161 characters"),
        ("NULL", false, "no title"),
    ];
    for (title, accepted, why) in table {
        let insert = format!("INSERT INTO notes (id, title) VALUES (gen_random_uuid(), {title})");
        assert_eq!(
            client.batch_execute(&insert).await.is_ok(),
            accepted,
            "{why}"
        );
    }
    let row = client.query_one(
        "SELECT body, version, created_at = updated_at FROM notes",
        &[],
    );
    let row = row.await.unwrap();
    let found: (&str, i64, bool) = (row.get(0), row.get(1), row.get(2));
    assert_eq!(found, ("", 1, true));

    client
        .batch_execute("SET enable_seqscan = off; SET enable_sort = off")
        .await
        .unwrap();
    let plan = client
        .query(
            "EXPLAIN SELECT * FROM notes WHERE (created_at, id) < (now(), gen_random_uuid()) \
             ORDER BY created_at DESC, id DESC LIMIT 50",
            &[],
        )
        .await
        .unwrap();
    let plan: Vec<&str> = plan.iter().map(|row| row.get(0)).collect();
    assert!(plan.concat().contains("notes_newest_first"), "{plan:?}");
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_does_not_fit_is_refused() {
    let server = Server::start().await;
    let database = server.open(&settings());
    let first = migration("V1__one", "CREATE TABLE one (a int)");
    let second = migration("V2__two", "CREATE TABLE two (a int)");
    let third = migration("V3__three", "CREATE TABLE three (a int)");
    apply(&database, &[first.clone(), third.clone()])
        .await
        .unwrap();

    let table = [
        (
            vec![first.clone()],
            "the database is at version 3, this binary knows up to 1: run the newer unibody",
        ),
        (
            vec![
                migration("V1__one", "CREATE TABLE one (b int)"),
                third.clone(),
            ],
            "migration V1__one was applied with another text",
        ),
        (
            vec![first.clone(), second.clone(), third.clone()],
            "migration V2__two is out of order",
        ),
        (vec![third.clone()], "migration V1__one is out of order"),
    ];
    for (known, expected) in table {
        let message = apply(&database, &known).await.unwrap_err().to_string();
        assert!(message.contains(expected), "{expected}: {message}");
    }
    // A newer schema under a running instance is a rolling update, not an outage.
    database.ready().await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_nothing_behind() {
    let server = Server::start().await;
    let database = server.open(&settings());
    let good = migration("V1__good", "CREATE TABLE good (a int)");
    let bad = migration("V2__bad", "CREATE TABLE bad (a int); SELECT 1/0");
    let message = apply(&database, &[good.clone(), bad])
        .await
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("V2__bad") && message.contains("division by zero"),
        "{message}"
    );
    let tables = "SELECT count(*) FROM pg_class WHERE relname IN \
                  ('good', 'bad', 'refinery_schema_history')";
    assert_eq!(count(&database, tables).await, 0);
    apply(&database, &[good]).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_may_take_longer_than_a_statement() {
    let server = Server::start().await;
    // Whatever sets the limit: the role, or the URL.
    let url = format!(
        "{}?options=-c%20statement_timeout%3D200",
        server.embedded.url().reveal()
    );
    let database = Database::open(&settings(), &Secret::new(url)).unwrap();
    let slow = migration("V1__slow", "SELECT pg_sleep(0.6)");
    apply(&database, &[slow]).await.unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_waits_for_the_database() {
    let server = Server::start().await;
    let database = server.open(&settings());
    let Server {
        embedded,
        directory,
    } = server;
    embedded.stop().await;
    assert!(matches!(
        migrate(&database).await,
        Err(Error::Unavailable(_))
    ));
    let waiting = {
        let database = database.clone();
        tokio::spawn(async move { migrate_when_possible(&database).await })
    };
    let embedded = crate::database::embedded::start(directory.path(), None)
        .await
        .unwrap();
    waiting.await.unwrap().unwrap();
    database.ready().await.unwrap();
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_has_to_decide_is_not_waited_for() {
    let server = Server::start().await;
    let database = server.open(&settings());
    migrate(&database).await.unwrap();
    let newer = "INSERT INTO refinery_schema_history SELECT 99, 'future', applied_on, checksum \
                 FROM refinery_schema_history LIMIT 1";
    let client = database.client().await.unwrap();
    client.batch_execute(newer).await.unwrap();
    let waited = timeout(Duration::from_mins(1), migrate_when_possible(&database)).await;
    let outcome = waited.expect("it is tried again and again");
    assert!(matches!(outcome, Err(Error::Newer { database: 99, .. })));
    drop(client);
    server.stop().await;
}
