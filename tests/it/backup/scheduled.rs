//! Backups that the server makes by itself.

use std::path::Path;
use std::time::Instant;

use serde_json::Value;
use time::OffsetDateTime;

use super::names;
use crate::support::api::Api;
use crate::support::database::TestDatabase;
use crate::support::http;
use crate::support::server::{PATIENCE, Server, Setup};

pub(super) async fn admin(server: &Server, path: &str) -> String {
    let answer = http::client().get(server.admin_url(path)).send().await;
    answer.unwrap().text().await.unwrap()
}

pub(super) async fn status(server: &Server) -> Value {
    let status: Value = serde_json::from_str(&admin(server, "/status").await).unwrap();
    status["backup"].clone()
}

/// Asks until the status of backups is as `wanted` wants it.
pub(super) async fn until(server: &Server, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = Instant::now();
    loop {
        let status = status(server).await;
        if wanted(&status) {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "{status:#}\n{}", server.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Lets the server look now, which it does every minute: `change` is a key of `[backup]`, the last table of
/// `config.toml`, whose value is another one.
pub(super) fn look(server: &Server, change: &str) {
    let path = server.path("config.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let key = change.split(' ').next().unwrap();
    let others = text.lines().filter(|line| !line.starts_with(key));
    let others: Vec<_> = others.collect();
    std::fs::write(&path, format!("{}\n{change}\n", others.join("\n"))).unwrap();
    let reloaded = server.ask(&["reload"]);
    assert!(reloaded.status.success(), "{reloaded:?}");
}

pub(super) fn sample(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {metrics}"))
        .trim()
        .parse()
        .unwrap()
}

#[tokio::test]
async fn they_are_made_kept_told_and_go_when_they_are_old() {
    let setup = Setup::new().admin();
    let directory = setup.directory().join("backups");
    std::fs::create_dir(&directory).unwrap();
    let old = [
        "unibody-20010101T000000Z.dump",
        "unibody-20010102T000000Z.dump",
        "unibody-20010103T000000Z.dump.partial-dead",
        "before-the-move.dump",
    ];
    for name in old {
        std::fs::write(directory.join(name), "old").unwrap();
    }
    let mut server = setup
        .config("[backup]\nevery = \"1h\"\ndirectory = \"backups\"\nkeep_daily = 2\nkeep_weekly = 0\nkeep_monthly = 0")
        .start();
    server.line_with("is made");
    let status = until(&server, |status| !status["last"].is_null()).await;
    let name = status["last"]["name"].as_str().unwrap().to_owned();
    assert_eq!(
        names(&directory),
        [
            "before-the-move.dump",
            "unibody-20010102T000000Z.dump",
            &name
        ],
        "two days, and what is not ours"
    );
    let length = directory.join(&name).metadata().unwrap().len();
    assert_eq!(status["last"]["bytes"], length);
    assert_eq!(status["schedule"], "every 1h");
    assert_eq!(status["failures"], 0);

    let metrics = admin(&server, "/metrics").await;
    let last = sample(&metrics, "unibody_backup_last_success_timestamp_seconds");
    assert!((last - now()).abs() < 60.0, "{last}");
    #[allow(clippy::cast_precision_loss)] // a small file
    let length = length as f64;
    assert!((sample(&metrics, "unibody_backup_last_size_bytes") - length).abs() < 0.5);
    assert!(sample(&metrics, "unibody_backup_last_duration_seconds") > 0.0);
    assert!(sample(&metrics, "unibody_backup_failures_total") < 0.5);
    let told = server.ask(&["status"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("backup    every 1h: last "), "{told}");

    let rehearsed = server.command(&["backup", "rehearse"]).output().unwrap();
    let words = String::from_utf8(rehearsed.stdout).unwrap();
    assert!(
        words.contains(&name) && words.contains("restored in"),
        "{words}"
    );

    // The next start knows of it.
    let server = server.restart();
    until(&server, |status| status["last"]["name"] == name.as_str()).await;
    assert!(!server.log().contains("is made"), "{}", server.log());
}

#[tokio::test]
async fn a_command_gets_it_and_its_failure_is_told_and_made_good() {
    let setup = Setup::new().admin();
    let sink = setup.directory().join("sink");
    let command =
        "test -d sink && cat > sink/$$UNIBODY_BACKUP_NAME || { echo no sink >&2; exit 3; }";
    let server = setup
        .config(&format!(
            "[backup]\nevery = \"1s\"\ncommand = '''{command}'''"
        ))
        .start();
    let api = Api::http2(&server);
    api.create_note("kept").await;
    let failed = until(&server, |status| status["failures"] != 0).await;
    let error = failed["last_error"].as_str().unwrap();
    assert!(
        error.contains("backup.command failed") && error.contains("no sink"),
        "{error}"
    );
    assert!(failed["last"].is_null());
    std::fs::create_dir(&sink).unwrap();
    let good = until(&server, |status| !status["last"].is_null()).await;
    assert!(good["last_error"].is_null(), "made good: {good}");
    let name = good["last"]["name"].as_str().unwrap();
    let rehearsed = server
        .command(&["backup", "rehearse", &format!("sink/{name}")])
        .output()
        .unwrap();
    assert!(rehearsed.status.success(), "{rehearsed:?}");
}

#[tokio::test]
async fn one_that_is_made_by_hand_makes_good_a_failure() {
    let setup = Setup::new().admin();
    let sink = setup.directory().join("sink");
    let server = setup
        .config("[backup]\nevery = \"1h\"\ncommand = \"test -d sink && cat > sink/one\"\n")
        .start();
    until(&server, |status| !status["last_error"].is_null()).await;
    std::fs::create_dir(&sink).unwrap();
    let begun = Instant::now();
    // The server's own attempt may still have the lock.
    while !server.ask(&["backup"]).status.success() {
        assert!(begun.elapsed() < PATIENCE, "{}", server.log());
    }
    look(&server, "verify = false");
    let good = until(&server, |status| !status["last"].is_null()).await;
    assert!(good["last_error"].is_null(), "{good}");
    assert_eq!(good["failures"], 1);
}

#[tokio::test]
async fn a_reload_begins_and_ends_them() {
    let server = Setup::new().admin().start();
    assert!(status(&server).await.is_null());
    let path = server.path("config.toml");
    let without = std::fs::read_to_string(&path).unwrap();
    let reload = |text: &str| {
        std::fs::write(&path, text).unwrap();
        let reloaded = server.ask(&["reload"]);
        assert!(reloaded.status.success(), "{reloaded:?}");
    };
    let backup = "[backup]\nevery = \"1h\"\ndirectory = \"backups\"\n";
    reload(&format!("{without}\n{backup}"));
    until(&server, |status| !status["last"].is_null()).await;
    assert_eq!(names(&server.path("backups")).len(), 1);
    // What is due by the new interval is made at once, not after the old one.
    reload(&format!("{without}\n{}", backup.replace("1h", "1s")));
    let first = names(&server.path("backups"));
    until(&server, |status| {
        status["last"]["name"].as_str() != first.first().map(String::as_str)
    })
    .await;
    reload(&without);
    assert!(status(&server).await.is_null());
}

#[tokio::test]
async fn of_two_instances_one_makes_it() {
    let database = TestDatabase::new();
    let shared = tempfile::tempdir().unwrap();
    let start = |directory: &Path| {
        let backup = format!(
            "[backup]\nevery = \"1h\"\ndirectory = \"{}\"",
            directory.display()
        );
        Setup::new()
            .admin()
            .config(&backup)
            .database(&database.url)
            .spawn()
    };
    let (mut one, mut other) = (start(shared.path()), start(shared.path()));
    one.wait_until_ready();
    other.wait_until_ready();
    let there = |status: &Value| !status["last"].is_null();
    let (one, other) = tokio::join!(until(&one, there), until(&other, there));
    assert_eq!(one["last"], other["last"]);
    let name = one["last"]["name"].as_str().unwrap();
    assert_eq!(names(shared.path()), [name]);
}

#[tokio::test]
async fn a_server_that_stops_leaves_no_half_backup() {
    let mut server = Setup::new()
        .admin()
        .config("[backup]\nevery = \"1h\"\ndirectory = \"backups\"")
        .start();
    server.line_with("is made");
    // Were it still there, it would make the second one, too.
    assert!(server.stop().success(), "{}", server.log());
    let made = names(&server.path("backups"));
    assert_eq!(made.len(), 1, "{made:?}\n{}", server.log());
    let database = TestDatabase {
        url: server.database.as_ref().unwrap().url.clone(),
    };
    let held = database.lock_notes();
    database.execute("DELETE FROM last_backup");
    let mut server = server.restart();
    // `pg_dump`, and ours that counts.
    database.waiting(2).await;
    assert!(server.stop().success(), "{}", server.log());
    drop(held);
    assert_eq!(names(&server.path("backups")), made, "{}", server.log());
}

#[allow(clippy::cast_precision_loss)] // seconds
fn now() -> f64 {
    OffsetDateTime::now_utc().unix_timestamp() as f64
}
