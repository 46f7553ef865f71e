//! Several servers on one database.

use crate::support::api::Api;
use crate::support::database::TestDatabase;
use crate::support::server::Setup;

#[tokio::test]
async fn two_that_start_at_once_on_an_empty_database_both_come_up() {
    let database = TestDatabase::empty();
    let start = || Setup::new().database(&database.url).spawn();
    // Both have found it empty, and neither has changed anything yet.
    let held = database.hold("CREATE TABLE refinery_schema_history (version int)");
    let (mut one, mut other) = (start(), start());
    database.wait_for_waiting(2);
    drop(held);
    one.wait_until_ready();
    other.wait_until_ready();
    Api::http1(&one).create_note("from one").await;
    Api::http1(&other).create_note("from the other").await;
    for server in [&one, &other] {
        let api = Api::http1(server);
        assert_eq!(api.get("/readyz").await.status, 200);
        assert_eq!(api.titles().await, ["from the other", "from one"]);
    }
    let migrated = "applying migration V1__";
    let lines = [one.log(), other.log()].concat();
    assert_eq!(
        lines.matches(migrated).count(),
        1,
        "only one of them migrates"
    );
}

#[tokio::test]
async fn a_binary_older_than_the_schema_does_not_start() {
    let database = TestDatabase::new();
    database.execute(
        "INSERT INTO refinery_schema_history SELECT 99, 'from_the_future', applied_on, checksum \
         FROM refinery_schema_history LIMIT 1",
    );
    let mut server = Setup::new().database(&database.url).spawn();
    assert_eq!(server.wait().code(), Some(1));
    let line = server.line_with("unibody: ");
    assert!(line.contains("the database is at version 99"), "{line}");
    assert!(line.contains("run the newer unibody"), "{line}");
}

#[tokio::test]
async fn without_migrating_an_empty_database_is_not_ready() {
    let database = TestDatabase::empty();
    let server = Setup::new()
        .config("[database]\nmigrate = false")
        .database(&database.url)
        .start();
    let api = Api::http2(&server);
    let not_ready = api.get("/readyz").await;
    assert_eq!(not_ready.status, 503);
    assert_eq!(
        not_ready.json()["reason"],
        "the database's schema is not current"
    );
    api.get("/api/notes").await.assert_unavailable();
    assert_eq!(api.get("/healthz").await.status, 200);

    let migrated = crate::support::command::run(server.command(&["migrate"]));
    assert!(
        migrated
            .assert_status(0)
            .stdout
            .contains("applied V1__notes")
    );
    assert_eq!(api.get("/readyz").await.status, 200);
    api.create_note("milk").await;
}
