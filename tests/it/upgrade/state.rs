//! What outlives the processes: the embedded database, and what must be there again at once.

use nix::unistd::Pid;

use super::{is_running, setup, upgrade, wait_for_end};
use crate::support::api::Api;
use crate::support::server::Server;

fn postmaster(server: &Server) -> Option<Pid> {
    let file = std::fs::read_to_string(server.path("data/postgres/postmaster.pid")).ok()?;
    Some(Pid::from_raw(file.lines().next()?.parse().unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_database_runs_on_and_keeps_every_note() {
    let mut server = setup("", "").embedded().start();
    let database = postmaster(&server).unwrap();
    let mut expected = Vec::new();
    for number in 0..3 {
        let title = format!("before upgrade {number}");
        Api::http1(&server).create_note(&title).await;
        expected.insert(0, title);
        let old = server.pid();
        tokio::task::block_in_place(|| {
            upgrade(&mut server);
            wait_for_end(old);
        });
        assert_eq!(postmaster(&server), Some(database), "the same PostgreSQL");
        assert_eq!(Api::http1(&server).titles().await, expected);
    }
    let lock = std::fs::read_to_string(server.path("data/postgres.lock")).unwrap();
    assert_eq!(lock.trim(), server.pid().to_string());

    // The last one stops what the first one has started.
    server.stop();
    assert_eq!(postmaster(&server), None);
    assert!(!is_running(database));
    let log = std::fs::read_to_string(server.path("data/postgres.log")).unwrap();
    assert!(!log.contains("not properly shut down"), "{log}");
    assert_eq!(log.matches("starting PostgreSQL").count(), 1, "{log}");
    let server = server.restart();
    assert_eq!(Api::http1(&server).titles().await, expected);
}
