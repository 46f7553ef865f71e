//! A database comes and goes with a restart or an upgrade, never with a reload.

use serde_json::Value;

use super::{says, words};
use crate::support::api::Api;
use crate::support::server::Server;
use crate::upgrade::{setup, upgrade, wait_for_end};

const APP: &str = "[[route]]\npath = \"/api/\"\napp = true\n";

#[test]
fn what_would_need_a_database_is_refused_as_a_whole() {
    let mut server = setup("", &says("/", "old")).embedded().start();
    let good = std::fs::read_to_string(server.path("config.toml")).unwrap();
    let table = [
        (APP, "route /api/"),
        (
            "[backup]\nat = \"03:15\"\ndirectory = \"backups\"\n",
            "[backup]",
        ),
        ("[acme]\nstorage = \"database\"\n", "acme.storage"),
    ];
    for (number, (tables, what)) in table.into_iter().enumerate() {
        server.rewrite("\"old\"", "\"new\"");
        server.rewrite("[[route]]", &format!("{tables}[[route]]"));
        let reload = server.ask(&["reload"]);
        assert_eq!(reload.status.code(), Some(1), "{}", words(&reload));
        for part in [what, "needs the database", "restart", "unibody upgrade"] {
            assert!(words(&reload).contains(part), "{part}: {}", words(&reload));
        }
        assert_eq!(server.get("/").text(), "old", "{what}");
        assert_eq!(server.get("/api/notes").text(), "old", "{what}");
        let history = &server.status()["configuration"];
        assert_eq!(history["failed"], number + 1);
        std::fs::write(server.path("config.toml"), &good).unwrap();
    }
    // It is no different when the file changes more than that, and this can be reloaded.
    server.rewrite("\"old\"", "\"new\"");
    assert_eq!(server.reload(), "changed  route /: respond.body\n");
    assert!(server.stop().success());
    assert!(!server.path("data/postgres").exists());
}

#[test]
fn a_url_alone_waits_for_a_restart() {
    let server = setup("", &says("/", "old")).embedded().start();
    server.rewrite(
        "[[route]]",
        "[database]\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n[[route]]",
    );
    let waiting = "restart  database.url\nrestart  database: needed\n";
    assert_eq!(server.reload(), waiting);
    assert_eq!(server.get("/readyz").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn upgrades_take_the_database_away_and_bring_it_again() {
    let mut server = setup("", &format!("{APP}{}", says("/", "old")))
        .embedded()
        .start();
    Api::http1(&server).create_note("kept").await;

    // The last route to the app goes; what was begun may still need what is there.
    server.rewrite(APP, "");
    let reload = server.reload();
    assert_eq!(
        reload,
        "changed  route /api/: gone\nrestart  database: not needed any more\n"
    );
    assert_eq!(server.get("/api/notes").text(), "old");
    assert_eq!(server.status()["database"]["ready"], true);

    // From one with to one without, and from that to the next.
    for round in ["with", "without"] {
        upgraded(&mut server);
        assert_eq!(
            server.status()["database"],
            Value::Null,
            "after one {round}"
        );
        assert_eq!(
            server.status()["configuration"]["waiting"],
            serde_json::json!([])
        );
        assert_eq!(server.get("/readyz").status, 200);
        assert_eq!(server.get("/").text(), "old");
        assert!(!server.path("data/postgres/postmaster.pid").exists());
    }

    // And back.
    server.rewrite("[[route]]", &format!("{APP}[[route]]"));
    assert_eq!(server.ask(&["reload"]).status.code(), Some(1));
    upgraded(&mut server);
    assert_eq!(Api::http1(&server).titles().await, ["kept"]);
    assert_eq!(server.status()["database"]["ready"], true);
    server.stop();
    assert!(!server.path("data/postgres/postmaster.pid").exists());
}

/// Another process has taken over, and the one before has left.
fn upgraded(server: &mut Server) {
    let old = server.pid();
    tokio::task::block_in_place(|| {
        upgrade(server);
        wait_for_end(old);
    });
}
