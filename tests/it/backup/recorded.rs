//! When the last backup was made stands in the database: what if that can't be read, written or trusted.

use std::time::Instant;

use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use super::names;
use super::scheduled::{admin, look, sample, status, until};
use crate::support::clock::Clock;
use crate::support::database::TestDatabase;
use crate::support::server::{PATIENCE, Setup};

fn moment(value: &Value) -> OffsetDateTime {
    OffsetDateTime::parse(value.as_str().unwrap(), &Rfc3339).unwrap()
}

#[tokio::test]
async fn a_database_that_cannot_be_asked_is_no_backup_that_failed() {
    let database = TestDatabase::empty();
    let (proxy, url) = database.behind_a_proxy();
    proxy.refuse();
    let mut server = Setup::new()
        .admin()
        .config("[database]\nwait = \"1s\"\n\n[backup]\nevery = \"1s\"\ndirectory = \"backups\"")
        .database(&url)
        .start();
    server.line_with("backup: whether one is due can't be seen");
    let away = status(&server).await;
    assert_eq!(away["failures"], 0, "{away}");
    assert!(away["last_error"].is_null(), "{away}");
    proxy.forward();
    let back = until(&server, |status| !status["last"].is_null()).await;
    assert_eq!(back["failures"], 0, "{back}\n{}", server.log());
}

#[tokio::test]
async fn what_keeps_the_server_from_seeing_whether_one_is_due_is_told() {
    let mut clock = Clock::new();
    let database = TestDatabase::new();
    database.execute("ALTER TABLE last_backup RENAME TO away");
    let setup = Setup::new()
        .admin()
        .config("[backup]\nevery = \"1s\"\ndirectory = \"backups\"\nverify = false")
        .database(&database.url);
    let server = clock.for_server(setup).start();
    let unseen = until(&server, |status| !status["due_unknown"].is_null()).await;
    let reason = unseen["due_unknown"]["reason"].as_str().unwrap();
    assert!(
        reason.contains("\"last_backup\" does not exist"),
        "{reason}"
    );
    assert_eq!(unseen["failures"], 0, "none was tried");
    let metrics = admin(&server, "/metrics").await;
    assert!(sample(&metrics, "unibody_backup_due_unknown") > 0.5);
    let told = "no backup is made";
    let early = admin(&server, "/status").await;
    assert!(!early.contains(told), "it may be a restart: {early}");
    clock.set(Duration::minutes(16));
    let late = admin(&server, "/status").await;
    assert!(late.contains(told), "{late}");

    database.execute("ALTER TABLE away RENAME TO last_backup");
    let seen = until(&server, |status| !status["last"].is_null()).await;
    assert!(seen["due_unknown"].is_null(), "{seen}");
    let metrics = admin(&server, "/metrics").await;
    assert!(sample(&metrics, "unibody_backup_due_unknown") < 0.5);
}

#[tokio::test]
async fn one_of_a_clock_that_was_ahead_puts_none_off() {
    let mut clock = Clock::new();
    clock.set(Duration::days(700));
    let setup = Setup::new()
        .admin()
        .config("[backup]\nevery = \"1h\"\ndirectory = \"backups\"\nverify = false");
    let server = clock.for_server(setup).start();
    let ahead = until(&server, |status| !status["last"].is_null()).await;
    clock.set(Duration::ZERO);
    look(&server, "keep_daily = 1");
    let right = until(&server, |status| status["last"] != ahead["last"]).await;
    let finished = moment(&right["last"]["finished"]);
    assert!((clock.now() - finished).abs() < Duration::minutes(2));
    let both = names(&server.path("backups"));
    assert_eq!(both.len(), 2, "{both:?}");
    // That one counts.
    look(&server, "every = \"2h\"");
    let after = until(&server, |status| status["next"] != right["next"]).await;
    assert_eq!(after["last"], right["last"]);
    assert_eq!(moment(&after["next"]) - finished, Duration::hours(2));
    assert_eq!(names(&server.path("backups")), both);
}

#[tokio::test]
async fn one_that_cannot_be_recorded_is_kept_and_recorded_later() {
    let mut server = Setup::new()
        .admin()
        .config("[backup]\nevery = \"1h\"\ndirectory = \"backups\"\nverify = false")
        .start();
    server.line_with("is made");
    until(&server, |status| !status["last"].is_null()).await;
    let database = TestDatabase {
        url: server.database.as_ref().unwrap().url.clone(),
    };
    let first = names(&server.path("backups"));
    database.execute("DELETE FROM last_backup");
    database.turn_read_only(true);
    // Of its own it would know.
    let server = server.restart();
    let second = until(&server, |status| {
        let name = status["last"]["name"].as_str();
        name.is_some_and(|name| name != first[0])
    })
    .await;
    let second = second["last"]["name"].as_str().unwrap();
    let both = names(&server.path("backups"));
    assert_eq!(both, [first[0].as_str(), second]);
    database.turn_read_only(false);
    let begun = Instant::now();
    let mut keep = 1..;
    let recorded = format!("SELECT count(*) FROM last_backup WHERE name = '{second}'");
    while database.count(&recorded) == 0 {
        look(&server, &format!("keep_daily = {}", keep.next().unwrap()));
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
    }
    assert_eq!(names(&server.path("backups")), both, "{}", server.log());
}
