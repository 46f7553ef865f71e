//! What outlives the processes: the embedded database, and what must be there again at once.

use std::process::Stdio;

use nix::unistd::Pid;

use super::{is_running, setup, succeeded, upgrade, wait_for_end};
use crate::support::api::Api;
use crate::support::collector::{Collector, Span};
use crate::support::pebble::Pebble;
use crate::support::raw::Raw;
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

#[test]
fn the_last_spans_of_the_old_process_are_told() {
    let collector = Collector::start();
    let mut server = setup("drain = \"20s\"", &collector.table("")).start();
    let mut kept = Raw::connect(server.http.unwrap());
    let mut ask = |path: &str| {
        kept.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(kept.answer().status, 200);
    };
    ask("/healthz?first");
    let old = server.pid();
    upgrade(&mut server);
    ask("/healthz?last");
    wait_for_end(old);
    let spans = collector.spans();
    for query in ["first", "last"] {
        let told = |span: &Span| span.attribute("url.query") == query;
        assert!(spans.iter().any(told), "{query}: {spans:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_finished_by_the_process_that_began_it() {
    const NAME: &str = "one.test";
    let ca = Pebble::setup().start().await;
    ca.proxy.hold("/chalZ/");
    let mut server = ca.server(&[NAME], &["tls-alpn-01"]).admin().start();
    ca.proxy.seen("/chalZ/", 1).await;
    let old = server.pid();
    let mut upgrade = server.command(&["upgrade"]);
    upgrade.env("ADMIN", server.admin.unwrap().to_string());
    let upgrade = upgrade.stdout(Stdio::piped()).spawn().unwrap();
    server.wait_for_line("taking over from the running process");
    // The last that a new process says before it is ready.
    server.wait_for_line("listening");
    // The CA comes back now, to a proof that only the old one has.
    ca.proxy.heal();
    let upgraded = upgrade.wait_with_output().unwrap();
    assert!(upgraded.status.success(), "{}", server.log());
    succeeded(&mut server, &String::from_utf8(upgraded.stdout).unwrap());
    wait_for_end(old);
    ca.handshake(NAME).await.unwrap();
    assert_eq!(ca.proxy.count("/order-plz"), 1, "{}", server.log());
}
