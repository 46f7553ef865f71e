//! The last moment of a restore: PostgreSQL was told to commit.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Site, contents, insert_notes};
use crate::support::breakable::Break;
use crate::support::database::TestDatabase;
use crate::support::server::PATIENCE;

/// Held by whoever lets no commit of such a database come to its end.
const HOLD: &str = "SELECT pg_advisory_xact_lock(4711)";

/// A site with a backup of whose restore `at_the_end` is done in the midst of the commit.
fn site_with_a_commit_that_does(at_the_end: &str) -> Site {
    let site = Site::new();
    insert_notes(&site.database);
    let function = |does: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION at_the_end() RETURNS trigger LANGUAGE plpgsql AS \
             $$BEGIN {does}; RETURN NULL; END$$"
        )
    };
    site.database.execute(&function("NULL"));
    // A row that is checked leaves work for the end of its transaction.
    site.database.execute(
        "CREATE FUNCTION think_of_the_end() RETURNS bool LANGUAGE plpgsql AS $$BEGIN \
             CREATE TEMP TABLE thought (a int); \
             CREATE CONSTRAINT TRIGGER late AFTER INSERT ON thought DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION public.at_the_end(); \
             INSERT INTO thought VALUES (1); RETURN true; END$$; \
         CREATE TABLE thoughtful (a int CHECK (public.think_of_the_end()))",
    );
    site.database.execute("INSERT INTO thoughtful VALUES (1)");
    site.database.execute(&function(at_the_end));
    site.unibody(&["backup", "--no-verify", "notes.dump"])
        .assert_status(0);
    site
}

/// A restore over the database at `url`, running.
fn restore(site: &Site, url: &str) -> Child {
    site.command_on(url, &["restore", "--while-serving", "notes.dump"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn an_answer_that_is_lost_is_told_for_what_it_is() {
    let site = site_with_a_commit_that_does("PERFORM pg_advisory_xact_lock_shared(4711)");
    let empty = TestDatabase::empty();
    let (proxy, url) = empty.behind_a_proxy();
    let held = empty.hold(HOLD);
    let restoring = restore(&site, &url);
    empty.wait_for_waiting(1);
    proxy.end(Break::Reset);
    let ended = restoring.wait_with_output().unwrap();
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("is not known"), "{said}");
    assert!(!said.contains("nothing was restored"), "{said}");

    // In truth PostgreSQL goes on, and says so to who asks as he is told to.
    drop(held);
    let from = said.find("SELECT pg_xact_status(").expect(&said);
    let to = said[from..].find(')').unwrap();
    let ask = &said[from..=from + to];
    let is_committed = format!("SELECT (({ask}) = 'committed')::int::bigint");
    let begun = Instant::now();
    while empty.count(&is_committed) == 0 {
        assert!(begun.elapsed() < PATIENCE, "{said}");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(contents(&empty), contents(&site.database));
}

#[test]
fn it_cannot_be_stopped_any_more() {
    let site = site_with_a_commit_that_does("PERFORM pg_advisory_xact_lock_shared(4711)");
    let empty = TestDatabase::empty();
    let held = empty.hold(HOLD);
    let mut restoring = restore(&site, &empty.url);
    empty.wait_for_waiting(1);
    kill(Pid::from_raw(restoring.id().cast_signed()), Signal::SIGINT).unwrap();
    let mut lines = BufReader::new(restoring.stderr.take().unwrap()).lines();
    let told = lines.any(|line| line.unwrap().contains("can't be stopped any more"));
    assert!(told, "it was stopped");
    drop(held);
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    assert!(restoring.wait().unwrap().success(), "{rest:?}");
    assert_eq!(contents(&empty), contents(&site.database));
}

#[test]
fn a_commit_that_is_refused_leaves_the_database_as_it_was() {
    let site = site_with_a_commit_that_does("RAISE 'not today'");
    let empty = TestDatabase::empty();
    let refused = site
        .unibody_on(&empty, &["restore", "notes.dump"])
        .assert_status(1);
    refused.assert_last_line(&["nothing was restored", "as it was", "not today"]);
    let tables = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    assert_eq!(empty.count(tables), 0);
}
