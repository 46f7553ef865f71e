//! Out and in again.

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Site, contents, insert_notes, names};
use crate::support::command::run;
use crate::support::database::TestDatabase;
use crate::support::server::PATIENCE;

/// The lock under which migrations take turns.
const MIGRATIONS: i64 = 0x75_6e69_626f_6479;
/// PostgreSQL counts them up.
const NEWEST_DATABASE: &str = "SELECT max(oid)::bigint FROM pg_database";

#[test]
fn every_note_comes_back_as_it_was() {
    let site = Site::new();
    insert_notes(&site.database);
    let since = site.database.count(NEWEST_DATABASE);
    let made = site.unibody(&["backup", "notes.dump"]).assert_status(0);
    made.assert_last_line(&["notes.dump", "512 rows", "restored for a look"]);
    assert_eq!(made.stdout, "", "that is for the backup itself");
    assert_eq!(site.files(), ["notes.dump"]);
    assert_eq!(names(&site.path("tmp")), [] as [&str; 0]);
    let file = site.path("notes.dump").metadata().unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    // Other tests have made theirs in the same time, and remove them soon.
    let until = site.database.count(NEWEST_DATABASE);
    let left = format!(
        "SELECT count(*) FROM pg_database WHERE datname LIKE 'unibody_scratch%' \
         AND oid::bigint > {since} AND oid::bigint <= {until}"
    );
    let begun = Instant::now();
    while site.database.count(&left) > 0 {
        assert!(begun.elapsed() < PATIENCE, "a scratch database is left");
        std::thread::sleep(Duration::from_millis(50));
    }

    let empty = TestDatabase::empty();
    let restored = site
        .unibody_on(&empty, &["restore", "notes.dump"])
        .assert_status(0);
    for part in ["512 rows", "which is current"] {
        assert!(restored.stdout.contains(part), "{restored:#?}");
    }
    assert_eq!(contents(&empty), contents(&site.database));
    let index = "SELECT count(*) FROM pg_indexes WHERE indexname = 'notes_newest_first'";
    assert_eq!(empty.count(index), 1);

    let rehearsed = site
        .unibody(&["backup", "rehearse", "notes.dump"])
        .assert_status(0);
    assert!(rehearsed.stdout.contains("512 rows"), "{rehearsed:#?}");
}

#[test]
fn standard_output_gets_it_when_it_is_verified() {
    let site = Site::new();
    insert_notes(&site.database);
    let made = site.command(&["backup", "-"]).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    std::fs::write(site.path("notes.dump"), made.stdout).unwrap();
    assert_eq!(names(&site.path("tmp")), [] as [&str; 0]);
    let empty = TestDatabase::empty();
    site.unibody_on(&empty, &["restore", "notes.dump"])
        .assert_status(0);
    assert_eq!(contents(&empty), contents(&site.database));
}

#[test]
fn what_is_written_meanwhile_is_no_lie() {
    let site = Site::new();
    insert_notes(&site.database);
    site.database
        .execute("CREATE TABLE sums AS SELECT count(*) AS notes FROM notes");
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (stop, url) = (Arc::clone(&stop), site.database.url.clone());
        std::thread::spawn(move || {
            let database = TestDatabase { url };
            while !stop.load(Ordering::Relaxed) {
                database.execute(
                    "BEGIN; INSERT INTO notes (id, title) VALUES (gen_random_uuid(), 'meanwhile'); \
                     UPDATE sums SET notes = notes + 1; COMMIT",
                );
            }
        })
    };
    let made = site.unibody(&["backup", "notes.dump"]);
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    made.assert_status(0);
    let empty = TestDatabase::empty();
    site.unibody_on(&empty, &["restore", "notes.dump"])
        .assert_status(0);
    let agree = "SELECT (SELECT notes FROM sums) - (SELECT count(*) FROM notes)";
    assert_eq!(empty.count(agree), 0, "one moment");
    let all = "SELECT count(*) FROM notes";
    assert!(
        site.database.count(all) > empty.count(all),
        "somebody wrote"
    );
}

#[test]
fn nobody_else_is_to_be_there_unless_asked_and_migrations_take_turns_with_it() {
    let site = Site::new();
    insert_notes(&site.database);
    let before = contents(&site.database);
    site.unibody(&["backup", "notes.dump"]).assert_status(0);
    site.database.execute("UPDATE notes SET body = 'spoilt'");
    // As a program that migrates has it.
    let held = site
        .database
        .hold(&format!("SELECT pg_advisory_xact_lock({MIGRATIONS})"));
    let refused = site
        .unibody(&["restore", "--clean", "notes.dump"])
        .assert_status(1);
    refused.assert_last_line(&["others are connected to the database", "--while-serving"]);

    let restoring = site.spawn(&["restore", "--clean", "--while-serving", "notes.dump"]);
    site.database.wait_for_waiting(1);
    assert_ne!(contents(&site.database), before, "it waits");
    drop(held);
    let restored = restoring.wait_with_output().unwrap();
    assert!(restored.status.success(), "{restored:?}");
    assert_eq!(contents(&site.database), before);
}

#[test]
fn what_fails_leaves_the_database_as_it_was() {
    let site = Site::new();
    insert_notes(&site.database);
    // A grant to a role that is gone when the dump is restored.
    let role = format!("reader_{}", std::process::id());
    site.database.execute(&format!(
        "CREATE ROLE {role}; GRANT SELECT ON notes TO {role}"
    ));
    site.unibody(&["backup", "notes.dump"]).assert_status(0);
    site.database
        .execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    site.database.execute("UPDATE notes SET body = 'newer'");
    let newer = contents(&site.database);

    let refused = site
        .unibody(&["restore", "--clean", "notes.dump"])
        .assert_status(1);
    refused.assert_last_line(&["--no-privileges", &role, "the database is as it was"]);
    assert_eq!(contents(&site.database), newer);
    site.unibody(&["restore", "--clean", "--no-privileges", "notes.dump"])
        .assert_status(0);
    assert_ne!(contents(&site.database), newer);
}

#[test]
fn a_newer_schema_is_refused_and_an_older_one_is_told() {
    let site = Site::new();
    let history = "INSERT INTO refinery_schema_history SELECT 99, 'future', applied_on, checksum \
                   FROM refinery_schema_history LIMIT 1";
    site.database.execute(history);
    site.unibody(&["backup", "newer.dump"]).assert_status(0);
    let empty = TestDatabase::empty();
    let refused = site
        .unibody_on(&empty, &["restore", "newer.dump"])
        .assert_status(1);
    refused.assert_last_line(&["version 99", "newer unibody"]);

    site.database
        .execute("DELETE FROM refinery_schema_history WHERE version > 1");
    site.unibody(&["backup", "older.dump"]).assert_status(0);
    let restored = site
        .unibody_on(&empty, &["restore", "older.dump"])
        .assert_status(0);
    assert!(restored.stdout.contains("unibody migrate"), "{restored:#?}");
}

#[test]
fn what_pg_dump_alone_has_made_is_restored_too() {
    let site = Site::new();
    insert_notes(&site.database);
    site.database
        .execute("SELECT lo_from_bytea(4711, 'a large object'); CREATE SEQUENCE s START 7");
    let dump = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/env");
        command
            .args(["pg_dump", "--format=custom"])
            .args(arguments)
            .arg("--file")
            .arg(site.path("theirs.dump"))
            .arg(&site.database.url);
        run(command).assert_status(0);
    };
    dump(&[]);
    let empty = TestDatabase::empty();
    let restored = site
        .unibody_on(&empty, &["restore", "theirs.dump"])
        .assert_status(0);
    assert!(restored.stdout.contains("not be compared"), "{restored:#?}");
    assert_eq!(contents(&empty), contents(&site.database));
    assert_eq!(empty.count("SELECT length(lo_get(4711))::bigint"), 14);
    assert_eq!(empty.count("SELECT nextval('s')"), 7);

    dump(&["--inserts"]);
    let refused = site
        .unibody_on(&empty, &["restore", "--clean", "theirs.dump"])
        .assert_status(1);
    refused.assert_last_line(&["--inserts", "as it was"]);
    assert_eq!(contents(&empty), contents(&site.database));
}

#[test]
fn a_dump_that_ends_its_own_transaction_is_told_for_what_it_has_done() {
    let site = Site::new();
    let placeholder = "'taken for something else, and long enough'";
    site.database
        .execute(&format!("COMMENT ON TABLE notes IS {placeholder}"));
    let path = site.path("theirs.dump");
    let mut command = Command::new("/usr/bin/env");
    command
        .args(["pg_dump", "--format=custom", "--file"])
        .arg(&path)
        .arg(&site.database.url);
    run(command).assert_status(0);
    // The statements of a dump's table of contents stand in it as they are.
    let dump = std::fs::read(&path).unwrap();
    let at = dump
        .windows(placeholder.len())
        .position(|bytes| bytes == placeholder.as_bytes())
        .expect("the comment");
    let table = [
        ("''; COMMIT; BEGIN; --", "", "all of it goes well"),
        (
            "''; COMMIT; BEGIN; SELECT 1/0; --",
            "division by zero",
            "and then something fails",
        ),
        (
            "''; COMMIT; SELECT 1/0; --",
            "division by zero",
            "outside of every transaction",
        ),
    ];
    for (crafted, reason, why) in table {
        let crafted = format!("{crafted:<0$}", placeholder.len());
        let mut dump = dump.clone();
        dump[at..at + placeholder.len()].copy_from_slice(crafted.as_bytes());
        std::fs::write(&path, dump).unwrap();
        let empty = TestDatabase::empty();
        let refused = site
            .unibody_on(&empty, &["restore", "theirs.dump"])
            .assert_status(1);
        refused.assert_last_line(&["has a COMMIT in it", "in the database now", reason]);
        assert!(!refused.stderr.contains("as it was"), "{why}: {refused:#?}");
    }
}
