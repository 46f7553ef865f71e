//! A database that is away, slow, read-only, or not ours yet.

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::app::testing::{App, Reply};

const NOTE: &str = "/api/notes/00000000-0000-7000-8000-000000000000";

#[track_caller]
fn assert_unavailable(reply: &Reply) {
    reply.assert_problem(503);
    let seconds: u64 = reply.header("retry-after").parse().unwrap();
    assert!((1..=60).contains(&seconds));
}

#[tokio::test]
async fn without_a_database_everything_about_notes_is_503() {
    let app = App::without_database();
    for (method, path, content) in [
        (Method::GET, "/api/notes", ""),
        (Method::POST, "/api/notes", "{}"),
        (Method::GET, NOTE, ""),
        (Method::PUT, NOTE, r#"{"title":"a"}"#),
        (Method::PATCH, NOTE, "{}"),
        (Method::DELETE, NOTE, ""),
    ] {
        let reply = app.ask(method, path, &[], content).await;
        assert_unavailable(&reply);
        let text = String::from_utf8(reply.content).unwrap();
        assert!(!text.contains("nonexistent"), "no internals: {text}");
    }
}

#[tokio::test]
async fn readiness_follows_the_database() {
    let app = App::without_database();
    let reply = app.get("/readyz").await;
    assert_eq!(reply.status, 503);
    let expected = json!({ "ok": false, "reason": "the database does not answer" });
    assert_eq!(reply.json(), expected);
    assert!(reply.header("retry-after").parse::<u64>().unwrap() >= 1);
    assert_eq!(reply.header("cache-control"), "no-store");

    let app = App::start().await;
    let reply = app.get("/readyz").await;
    assert_eq!(
        (reply.status.as_u16(), reply.json()),
        (200, json!({ "ok": true }))
    );
}

#[tokio::test]
async fn a_schema_that_is_still_to_come_is_503() {
    let app = App::start().await;
    app.sql()
        .await
        .batch_execute("ALTER TABLE notes RENAME TO soon")
        .await
        .unwrap();
    assert_unavailable(&app.get("/api/notes").await);
    app.sql()
        .await
        .batch_execute("ALTER TABLE soon RENAME TO notes")
        .await
        .unwrap();
    assert_eq!(app.get("/api/notes").await.status, 200);
}

#[tokio::test]
async fn a_locked_row_is_503_when_the_statement_runs_out_of_time() {
    let app = App::with_statement_timeout(Duration::from_millis(200)).await;
    let path = app.create_note("milk", "").await;
    let holder = app.sql().await;
    holder
        .batch_execute("BEGIN; SELECT FROM notes FOR UPDATE")
        .await
        .unwrap();
    let content = r#"{"title":"bread"}"#;
    assert_unavailable(&app.ask(Method::PUT, &path, &[], content).await);
    assert_eq!(app.get(&path).await.json()["title"], "milk");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(app.ask(Method::PUT, &path, &[], content).await.status, 200);
}

#[tokio::test]
async fn a_backend_killed_in_the_middle_is_503_and_the_next_request_works() {
    let app = App::start().await;
    let path = app.create_note("milk", "").await;
    let admin = app.sql().await;
    admin
        .batch_execute("BEGIN; SELECT FROM notes FOR UPDATE")
        .await
        .unwrap();
    let kill = async {
        // Once the writer waits for the lock, its backend goes.
        let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE wait_event_type = 'Lock' AND datname = current_database()";
        while admin.query(kill, &[]).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
            // A transaction sees one snapshot of the statistics.
            admin
                .batch_execute("SELECT pg_stat_clear_snapshot()")
                .await
                .unwrap();
        }
    };
    let write = app.ask(Method::PUT, &path, &[], r#"{"title":"bread"}"#);
    let (reply, ()) = tokio::join!(write, kill);
    assert_unavailable(&reply);
    admin.batch_execute("COMMIT").await.unwrap();
    assert_eq!(app.get(&path).await.json()["title"], "milk");
}

#[tokio::test]
async fn a_database_turned_replica_is_503_for_writes() {
    let app = App::start().await;
    let path = app.create_note("milk", "").await;
    let read_only = "DO $$ BEGIN EXECUTE format(
        'ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
        PERFORM pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE pid <> pg_backend_pid() AND datname = current_database(); END $$";
    app.sql().await.batch_execute(read_only).await.unwrap();
    // Connections that ended may be found only by using them, which is a 503 as well.
    for _ in 0..20 {
        assert_unavailable(&app.post("{}").await);
    }
    assert_eq!(app.get(&path).await.status, 200);
}

#[tokio::test]
async fn our_own_mistakes_are_500_and_keep_their_cause_to_themselves() {
    let app = App::start().await;
    let path = app.create_note("milk", "").await;
    let spoil = "ALTER TABLE notes ADD CONSTRAINT secret_rule CHECK (body <> 'x')";
    app.sql().await.batch_execute(spoil).await.unwrap();
    let headers = [("X-Request-Id", "r-7")];
    let reply = app
        .ask(Method::PATCH, &path, &headers, r#"{"body":"x"}"#)
        .await;
    reply.assert_problem(500);
    assert_eq!(reply.json()["request_id"], "r-7");
    assert_eq!(reply.header("retry-after"), "");
    let text = String::from_utf8(reply.content).unwrap();
    assert!(!text.contains("secret_rule"), "{text}");
}
