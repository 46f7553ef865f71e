//! The private PostgreSQL of whoever names no other: made, kept running, stopped, taken over.

use std::net::TcpListener;
use std::path::Path;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::support::api::Api;
use crate::support::command::unibody;
use crate::support::database::make_traversable;
use crate::support::server::{PATIENCE, Server, Setup};

#[tokio::test]
async fn an_empty_directory_is_all_it_needs() {
    let directory = tempfile::tempdir().unwrap();
    make_traversable(directory.path());
    // Without a configuration the ports are what they are; whoever has them keeps them.
    if [8080, 8443, 9180]
        .iter()
        .any(|&port| TcpListener::bind(("::", port)).is_err())
    {
        eprintln!("not tried: another program listens on port 8080, 8443 or 9180 here");
        return;
    }
    let mut server = Server::launch(directory, None, Vec::new());
    server.wait_until_ready();
    let api = Api::http2(&server);
    assert_eq!(api.get("/readyz").await.status, 200);
    api.create_note("the first").await;
    assert_eq!(api.titles().await, ["the first"]);
    assert_eq!(api.get("/").await.status, 404, "there is no page yet");
    let asked = unibody(server.directory.path(), &["healthcheck", "--ready"], &[]);
    asked.assert_status(0);
    assert!(server.stop().success());
}

#[tokio::test]
async fn notes_stay_and_nothing_else_does() {
    let mut server = Setup::new().embedded().start();
    Api::http2(&server).create_note("kept").await;
    let pid_file = server.path("data/postgres/postmaster.pid");
    let postmaster = postmaster(&server);
    if Uid::effective().is_root() {
        assert_ne!(owner_of(postmaster), 0, "PostgreSQL doesn't run as root");
    }

    assert!(server.stop().success());
    assert!(!pid_file.exists(), "stopped in order");
    assert!(!Path::new(&format!("/proc/{postmaster}")).exists());
    let log = std::fs::read_to_string(server.path("data/postgres.log")).unwrap();
    assert!(!log.contains("not properly shut down"), "{log}");

    let server = server.restart();
    assert_eq!(Api::http2(&server).titles().await, ["kept"]);
    let log = std::fs::read_to_string(server.path("data/postgres.log")).unwrap();
    assert!(!log.contains("not properly shut down"), "{log}");
}

#[tokio::test]
async fn a_killed_server_leaves_a_database_that_the_next_one_takes_over() {
    let mut server = Setup::new().embedded().start();
    Api::http1(&server).create_note("kept").await;
    let orphan = postmaster(&server);
    server.kill();
    let mut server = server.restart();
    server.line_with(&format!(
        "taking over the running PostgreSQL (process {orphan})"
    ));
    assert_eq!(postmaster(&server), orphan);
    assert_eq!(Api::http1(&server).titles().await, ["kept"]);
    assert!(server.stop().success());
    assert!(!server.path("data/postgres/postmaster.pid").exists());
}

#[tokio::test]
async fn a_killed_database_is_started_again_while_files_are_served() {
    let mut server = Setup::new().embedded().start();
    let api = Api::http2(&server);
    api.create_note("kept").await;
    kill(postmaster(&server), Signal::SIGKILL).unwrap();
    assert_eq!(api.get("/").await.status, 200);
    server.wait_for_line("ended unexpectedly: restarting it");
    let begin = Instant::now();
    loop {
        let answer = api.get("/readyz").await;
        match answer.status {
            200 => break,
            503 => assert!(begin.elapsed() < PATIENCE, "{}", server.log()),
            _ => panic!("{answer:?}"),
        }
    }
    assert_eq!(api.titles().await, ["kept"]);
}

#[tokio::test]
async fn a_second_server_on_the_same_data_says_who_has_it() {
    let server = Setup::new().embedded().start();
    let data = server.path("data");
    let second = Setup::new()
        .server(&format!("data_dir = {:?}", data.to_str().unwrap()))
        .embedded();
    let mut second = second.spawn();
    assert_eq!(second.wait().code(), Some(1));
    let line = second.line_with("another unibody");
    assert!(
        line.contains(&format!("(process {})", server.pid())),
        "{line}"
    );
    assert!(line.contains("server.data_dir"), "{line}");
    Api::http1(&server).create_note("undisturbed").await;
}

fn postmaster(server: &Server) -> Pid {
    let file = std::fs::read_to_string(server.path("data/postgres/postmaster.pid")).unwrap();
    Pid::from_raw(file.lines().next().unwrap().parse().unwrap())
}

fn owner_of(process: Pid) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{process}")).unwrap().uid()
}
