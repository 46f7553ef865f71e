//! The database's password stays where it was written.

use crate::support::api::Api;
use crate::support::breakable::Break;
use crate::support::command::unibody;
use crate::support::database::TestDatabase;
use crate::support::http;
use crate::support::server::Setup;

#[test]
fn the_password_of_the_database_is_never_printed() {
    let database = TestDatabase::new();
    let password = password_of(&database.url);
    let url = [("DATABASE_URL", database.url.as_str())];
    let directory = tempfile::tempdir().unwrap();
    let printed = unibody(directory.path(), &["config"], &url).assert_status(0);
    assert!(printed.stdout.contains(":***@"), "{printed:#?}");
    assert!(!printed.stdout.contains(&password));

    for url in [
        // No such port, no such host, no such parameter, another password than the right one.
        "postgres://notes:s3cret@localhost:99999/notes".to_owned(),
        "postgres://notes:s3cret@[::1/notes".to_owned(),
        "postgres://notes:s3cret@localhost/notes?sslmode=sometimes".to_owned(),
        "host=localhost user=notes password=s3cret port=none".to_owned(),
        database.url.replace(&password, "s3cret"),
    ] {
        for command in [
            &["check", "--online"][..],
            &["config"],
            &["migrate"],
            &["seed"],
        ] {
            let ran = unibody(directory.path(), command, &[("DATABASE_URL", &url)]);
            assert!(!ran.stdout.contains("s3cret"), "{command:?}: {ran:#?}");
            assert!(!ran.stderr.contains("s3cret"), "{command:?}: {ran:#?}");
        }
    }
}

#[tokio::test]
async fn the_database_may_be_named_in_a_file() {
    let database = TestDatabase::new();
    let setup = Setup::new().embedded();
    let file = setup.directory().join("database-url");
    std::fs::write(&file, format!("{}\n", database.url)).unwrap();
    let server = setup
        .environment("DATABASE_URL_FILE", file.to_str().unwrap())
        .start();
    Api::http2(&server).create_note("milk").await;
    assert_eq!(database.count("SELECT count(*) FROM notes"), 1);
    assert!(!server.path("data/postgres").exists(), "no embedded one");
    assert!(!server.log().contains(&password_of(&database.url)));
}

#[tokio::test]
async fn the_password_of_the_database_is_never_logged() {
    let database = TestDatabase::new();
    let password = password_of(&database.url);
    let (proxy, url) = database.behind_a_proxy();
    let mut server = Setup::new()
        .config("[log]\nlevel = \"trace\"")
        .database(&url)
        .start();
    let api = Api::http1(&server);
    api.create_note("milk").await;
    proxy.refuse();
    proxy.end(Break::Reset);
    // The first may still find a connection that has just ended, the second makes a new one.
    api.get("/api/notes").await.assert_unavailable();
    api.get("/api/notes").await.assert_unavailable();
    server.stop();
    assert!(server.log().contains("the database is unavailable"));
    assert!(!server.log().contains(&password), "{}", server.log());
}

#[tokio::test]
async fn what_a_backup_command_says_is_masked_wherever_it_is_shown() {
    let says = "denied: https://u:s3cret@store.test/?token=s3cret";
    let mut server = Setup::new()
        .admin()
        .config("[log]\nmask = [\"token\"]")
        .config(&format!(
            "[backup]\nevery = \"1h\"\ncommand = \"echo '{says}' >&2; exit 1\""
        ))
        .start();
    server.line_with("denied: https://u:***@store.test/?token=***");
    let status = http::client().get(server.admin_url("/status")).send().await;
    let status = status.unwrap().text().await.unwrap();
    assert_eq!(
        status
            .matches("denied: https://u:***@store.test/?token=***")
            .count(),
        2,
        "the backup's, and the trouble: {status}"
    );
    let told = server.ask(&["status"]);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("denied"), "{told}");
    for shown in [status, told, server.log()] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
}

fn password_of(url: &str) -> String {
    let url = url::Url::parse(url).unwrap();
    url.password().unwrap().to_owned()
}
