//! Beside a server that serves.

use crate::support::api::Api;
use crate::support::server::Setup;

#[tokio::test]
async fn a_server_with_its_own_database_is_backed_up_and_restored_while_it_runs() {
    let server = Setup::new().admin().embedded().start();
    let api = Api::http2(&server);
    api.create_note("kept").await;
    let command = |arguments: &[&str]| {
        let output = server.ask(arguments);
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (status, said) = command(&["backup", "notes.dump"]);
    assert_eq!(status, Some(0), "{said}");
    api.create_note("written later").await;
    // Statements are prepared on every connection by now.
    assert_eq!(api.titles().await, ["written later", "kept"]);

    let (status, said) = command(&["restore", "--clean", "notes.dump"]);
    assert_eq!(status, Some(1));
    for part in ["a server is running with this", "--while-serving"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(api.titles().await.len(), 2);

    let (status, said) = command(&["restore", "--clean", "--while-serving", "notes.dump"]);
    assert_eq!(status, Some(0), "{said}");
    for _ in 0..20 {
        assert_eq!(api.titles().await, ["kept"]);
    }
    api.create_note("and on it goes").await;
    assert_eq!(api.titles().await, ["and on it goes", "kept"]);
    assert_eq!(api.get("/readyz").await.status, 200);

    // Stopped, the database is started for the time.
    let mut server = server;
    assert!(server.stop().success());
    let restored = server
        .command(&["restore", "--clean", "notes.dump"])
        .output()
        .unwrap();
    assert!(restored.status.success(), "{restored:?}");
    assert!(!server.path("data/postgres/postmaster.pid").exists());
    let server = server.restart();
    assert_eq!(Api::http2(&server).titles().await, ["kept"]);
}
