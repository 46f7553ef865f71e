//! The embedded database's life, with real clusters.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::database::testing::{directory, settings};
use crate::database::{Client, Database};

/// More than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

fn postmaster_pid(data_dir: &Path) -> Pid {
    let file = data_dir.join("postgres/postmaster.pid");
    let content = fs::read_to_string(file).unwrap();
    Pid::from_raw(content.lines().next().unwrap().parse().unwrap())
}

async fn client(embedded: &Embedded) -> Client {
    let database = Database::open(&settings(), &embedded.url()).unwrap();
    database.wait(PATIENCE).await.unwrap();
    database.client().await.unwrap()
}

async fn write_note(embedded: &Embedded) {
    client(embedded)
        .await
        .batch_execute(
            "CREATE TABLE IF NOT EXISTS kept (note text); INSERT INTO kept VALUES ('milk')",
        )
        .await
        .unwrap();
}

async fn notes(embedded: &Embedded) -> i64 {
    let client = client(embedded).await;
    let row = client.query_one("SELECT count(*) FROM kept", &[]).await;
    row.unwrap().get(0)
}

/// What a unibody that was killed leaves: a server that nobody waits for, and a lock that is free.
async fn orphaned(data_dir: &Path) -> Pid {
    let embedded = start(data_dir, None).await.unwrap();
    write_note(&embedded).await;
    let pid = postmaster_pid(data_dir);
    embedded.stop().await;

    let at = data_dir.to_owned();
    let cluster = tokio::task::spawn_blocking(move || Cluster::prepare(&at, None))
        .await
        .unwrap()
        .unwrap();
    let mut postmaster = Postmaster::start(&cluster).unwrap();
    postmaster.wait_until_ready(&cluster).await.unwrap();
    postmaster.let_go();
    assert_ne!(pid, postmaster_pid(data_dir));
    postmaster_pid(data_dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn first_start_then_restart_keeps_data() {
    let root = directory();
    // The directory is made too, and its parents.
    let data_dir = root.path().join("var/data");
    let embedded = start(&data_dir, None).await.unwrap();
    write_note(&embedded).await;
    {
        let client = client(&embedded).await;
        let facts = [
            ("SHOW fsync", "on"),
            ("SHOW full_page_writes", "on"),
            ("SHOW synchronous_commit", "on"),
            ("SHOW data_checksums", "on"),
            ("SHOW server_encoding", "UTF8"),
            ("SHOW listen_addresses", ""),
            (
                "SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user",
                "false",
            ),
            (
                "SELECT split_part(rolpassword, '$', 1) FROM pg_authid WHERE false",
                "none",
            ),
        ];
        for (query, expected) in facts {
            let found = client.query_opt(query, &[]).await;
            let found = match &found {
                Ok(Some(row)) => row.get::<_, &str>(0),
                // The app's role may not even look at the passwords' hashes.
                _ => "none",
            };
            assert_eq!(found, expected, "{query}");
        }
    }
    let second = start(&data_dir, None).await.unwrap_err().to_string();
    assert!(second.contains("another unibody"), "{second}");
    let pid = postmaster_pid(&data_dir);
    embedded.stop().await;
    assert!(kill(pid, None).is_err(), "gone");
    assert!(
        !data_dir.join("postgres/postmaster.pid").exists(),
        "in order"
    );

    let embedded = start(&data_dir, None).await.unwrap();
    assert_eq!(notes(&embedded).await, 1);
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_is_started_again() {
    let root = directory();
    let embedded = start(root.path(), None).await.unwrap();
    write_note(&embedded).await;
    let database = Database::open(&settings(), &embedded.url()).unwrap();
    drop(database.client().await.unwrap());

    let killed = postmaster_pid(root.path());
    kill(killed, Signal::SIGKILL).unwrap();
    tokio::time::timeout(PATIENCE, async {
        while fs::read_to_string(root.path().join("postgres/postmaster.pid"))
            .is_ok_and(|content| content.starts_with(&killed.to_string()))
        {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    // The same pool, without being told anything.
    database.wait(PATIENCE).await.unwrap();
    let client = database.client().await.unwrap();
    let row = client.query_one("SELECT count(*) FROM kept", &[]).await;
    assert_eq!(row.unwrap().get::<_, i64>(0), 1);
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_taken_over_and_stopped_at_the_end() {
    let root = directory();
    let orphan = orphaned(root.path()).await;

    let embedded = start(root.path(), None).await.unwrap();
    assert_eq!(postmaster_pid(root.path()), orphan, "the same server");
    assert_eq!(notes(&embedded).await, 1);
    embedded.stop().await;
    assert!(!root.path().join("postgres/postmaster.pid").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_with_old_settings_is_restarted() {
    let root = directory();
    let orphan = orphaned(root.path()).await;
    fs::write(root.path().join("postgres.conf"), "# an older release's").unwrap();

    let embedded = start(root.path(), None).await.unwrap();
    assert_ne!(postmaster_pid(root.path()), orphan, "another server");
    assert_eq!(notes(&embedded).await, 1);
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_pid_files_are_no_obstacle() {
    let root = directory();
    let embedded = start(root.path(), None).await.unwrap();
    write_note(&embedded).await;
    let pid_file = root.path().join("postgres/postmaster.pid");
    let content = fs::read_to_string(&pid_file).unwrap();
    let (dead, rest) = content.split_once('\n').unwrap();
    let (dead, rest) = (dead.to_owned(), rest.to_owned());
    embedded.stop().await;

    // A program of the same user that got the number, which PostgreSQL would take for a server.
    let owner = owner::Owner::decide(root.path(), &root.path().join("postgres")).unwrap();
    let mut command = std::process::Command::new("sleep");
    command.arg("600").current_dir("/");
    owner.run(&mut command);
    let mut other = command.spawn().unwrap();
    for (pid, why) in [(dead, "dead"), (other.id().to_string(), "reused")] {
        fs::write(&pid_file, format!("{pid}\n{rest}")).unwrap();
        owner.give(&pid_file).unwrap();
        let embedded = start(root.path(), None).await.unwrap();
        assert_eq!(notes(&embedded).await, 1, "{why}");
        embedded.stop().await;
    }
    assert!(
        other.try_wait().unwrap().is_none(),
        "the other program was left alone"
    );
    other.kill().unwrap();
    other.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_initdb_is_done_again() {
    let root = directory();
    let half = root.path().join("postgres.new/cluster/base");
    fs::create_dir_all(&half).unwrap();
    fs::write(half.join("1"), "half").unwrap();
    fs::write(root.path().join("postgres.new/cluster/PG_VERSION"), "15\n").unwrap();
    let embedded = start(root.path(), None).await.unwrap();
    write_note(&embedded).await;
    embedded.stop().await;
    assert!(!root.path().join("postgres.new").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_is_refused_and_untouched() {
    let root = directory();
    let cluster = root.path().join("postgres");
    fs::create_dir(&cluster).unwrap();
    fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let message = start(root.path(), None).await.unwrap_err().to_string();
    assert!(message.contains("made by PostgreSQL 9"), "{message}");
    assert!(
        message.contains("apt-get install postgresql-9"),
        "{message}"
    );
    assert_eq!(
        fs::read_to_string(cluster.join("PG_VERSION")).unwrap(),
        "9\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_too_long_for_a_socket_works() {
    let root = directory();
    let data_dir = root.path().join("x".repeat(90));
    let embedded = start(&data_dir, None).await.unwrap();
    let socket = embedded.url().reveal().to_owned();
    assert!(!socket.contains("xxxx"), "{socket}");
    write_note(&embedded).await;
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_can_not_start_is_quoted() {
    let root = directory();
    let embedded = start(root.path(), None).await.unwrap();
    embedded.stop().await;
    let auto = root.path().join("postgres/postgresql.auto.conf");
    fs::write(&auto, "shared_buffers = 'plenty'\n").unwrap();
    let message = format!("{:#}", start(root.path(), None).await.unwrap_err());
    assert!(message.contains("shared_buffers"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_it_stops_the_server_too() {
    let root = directory();
    let embedded = start(root.path(), None).await.unwrap();
    let pid = postmaster_pid(root.path());
    drop(embedded);
    tokio::time::timeout(PATIENCE, async {
        while kill(pid, None).is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_is_handed_over_while_it_runs() {
    let root = directory();
    let old = start(root.path(), None).await.unwrap();
    write_note(&old).await;
    let postmaster = postmaster_pid(root.path());

    // One that prepares and then doesn't take it leaves no trace.
    for _ in 0..2 {
        let lock = old.share_lock().unwrap();
        let never = take_over(root.path(), None, lock).await.unwrap().unwrap();
        assert_eq!(notes(&never).await, 1);
        never.stop().await;
        assert_eq!(notes(&old).await, 1);
    }

    let lock = old.share_lock().unwrap();
    let new = take_over(root.path(), None, lock).await.unwrap().unwrap();
    new.keep();
    old.let_go().await;
    assert_eq!(notes(&new).await, 1);
    assert_eq!(postmaster_pid(root.path()), postmaster, "the same server");
    let third = start(root.path(), None).await.unwrap_err().to_string();
    assert!(third.contains("another unibody"), "{third}");

    // It is looked after by the one that has it now.
    kill(postmaster, Signal::SIGKILL).unwrap();
    let begin = std::time::Instant::now();
    while postmaster_pid_if_any(root.path()).is_none_or(|pid| pid == postmaster) {
        assert!(begin.elapsed() < PATIENCE);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(notes(&new).await, 1);
    new.stop().await;
    assert_eq!(postmaster_pid_if_any(root.path()), None, "stopped in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_directorys_lock_opens_nothing() {
    let (one, two) = (directory(), directory());
    let old = start(one.path(), None).await.unwrap();
    let lock = old.share_lock().unwrap();
    assert!(take_over(two.path(), None, lock).await.unwrap().is_none());
    old.stop().await;
}

fn postmaster_pid_if_any(data_dir: &Path) -> Option<Pid> {
    let content = fs::read_to_string(data_dir.join("postgres/postmaster.pid")).ok()?;
    Some(Pid::from_raw(content.lines().next()?.parse().ok()?))
}
