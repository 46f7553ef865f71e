//! PostgreSQL goes away and comes back. What needs it says so at once, what doesn't goes on, and
//! everything recovers by itself.

use std::time::Duration;

use futures_util::future::join_all;

use crate::support::api::Api;
use crate::support::breakable::{Break, Breakable};
use crate::support::database::TestDatabase;
use crate::support::server::{Server, Setup};

/// Far below any timeout that a test here leaves at its default.
const AT_ONCE: Duration = Duration::from_secs(4);

/// An empty database, what keeps it away, and a server that has started all the same.
fn without_its_database() -> (TestDatabase, Breakable, Server) {
    let database = TestDatabase::empty();
    let (proxy, url) = database.behind_a_proxy();
    proxy.refuse();
    let server = Setup::new()
        .config("[database]\nwait = \"1s\"")
        .database(&url)
        .start();
    (database, proxy, server)
}

#[tokio::test]
async fn a_server_starts_without_its_database_and_migrates_it_when_it_comes() {
    let (database, proxy, mut server) = without_its_database();
    let api = Api::http1(&server);

    assert_static_and_health_answer(&api).await;
    let not_ready = api.get("/readyz").await;
    assert_eq!(not_ready.status, 503);
    assert!(!not_ready.header("retry-after").is_empty());
    assert_eq!(not_ready.json()["ok"], false);
    api.get("/api/notes").await.assert_unavailable();
    assert_eq!(
        database.count("SELECT count(*) FROM pg_tables WHERE tablename = 'notes'"),
        0
    );

    proxy.forward();
    server.wait_for_line("the database schema is up to date");
    assert_eq!(api.get("/readyz").await.status, 200);
    api.create_note("after the outage").await;
    assert_eq!(api.titles().await, ["after the outage"]);
}

#[tokio::test]
async fn a_database_that_comes_back_read_only_is_migrated_when_it_can_be_written() {
    let (database, proxy, mut server) = without_its_database();
    let api = Api::http1(&server);
    database.turn_read_only(true);
    proxy.forward();
    server.wait_for_line("read-only transaction (25006)");
    assert_eq!(api.get("/readyz").await.status, 503);
    database.turn_read_only(false);
    server.wait_for_line("the database schema is up to date");
    assert_eq!(api.get("/readyz").await.status, 200);
    api.create_note("after the failover").await;
}

#[tokio::test]
async fn a_server_that_starts_beside_a_read_only_database_serves_what_needs_none() {
    let database = TestDatabase::empty();
    database.turn_read_only(true);
    let mut server = Setup::new().database(&database.url).start();
    server.line_with("serving without the database: the app answers 503 until it can be written");
    let api = Api::http1(&server);
    assert_static_and_health_answer(&api).await;
    assert_eq!(api.get("/readyz").await.status, 503);
    api.get("/api/notes").await.assert_unavailable();
    database.turn_read_only(false);
    server.wait_for_line("the database schema is up to date");
    assert_eq!(api.get("/readyz").await.status, 200);
    api.create_note("after the failover").await;
}

#[tokio::test]
async fn requests_in_flight_fail_at_once_when_the_database_ends_in_order() {
    a_broken_database_fails_requests_and_leaves_nothing_behind(Break::Cut).await;
}

#[tokio::test]
async fn requests_in_flight_fail_at_once_when_the_database_is_reset() {
    a_broken_database_fails_requests_and_leaves_nothing_behind(Break::Reset).await;
}

#[tokio::test]
async fn requests_in_flight_fail_at_once_when_the_database_half_closes() {
    a_broken_database_fails_requests_and_leaves_nothing_behind(Break::HalfClose).await;
}

async fn a_broken_database_fails_requests_and_leaves_nothing_behind(how: Break) {
    let database = TestDatabase::new();
    let (proxy, url) = database.behind_a_proxy();
    let server = Setup::new().database(&url).start();
    let api = Api::http2(&server);
    api.create_note("before").await;

    let lock = database.lock_notes();
    let in_flight = join_all((0..8).map(|_| api.get("/api/notes")));
    let broken = async {
        database.waiting(8).await;
        proxy.refuse();
        proxy.end(how);
        std::time::Instant::now()
    };
    let (answers, broken) = tokio::join!(in_flight, broken);
    assert!(broken.elapsed() < AT_ONCE, "{:?}", broken.elapsed());
    for answer in answers {
        answer.assert_unavailable();
    }

    for answer in join_all((0..8).map(|_| api.get("/api/notes"))).await {
        answer.assert_unavailable();
        assert!(answer.took < AT_ONCE, "{:?}", answer.took);
    }
    assert_static_and_health_answer(&api).await;

    drop(lock);
    proxy.forward();
    for answer in join_all((0..20).map(|_| api.get("/api/notes"))).await {
        assert_eq!(
            answer.status, 200,
            "the first requests after it: {answer:?}"
        );
    }
    assert_eq!(api.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn connections_that_broke_while_idle_are_not_handed_out() {
    let database = TestDatabase::new();
    let (proxy, url) = database.behind_a_proxy();
    let server = Setup::new().database(&url).start();
    let api = Api::http1(&server);
    for how in [Break::Cut, Break::Reset, Break::HalfClose] {
        // As many connections as requests at once.
        let lock = database.lock_notes();
        let (answers, ()) = tokio::join!(join_all((0..5).map(|_| api.get("/api/notes"))), async {
            database.waiting(5).await;
            drop(lock);
        });
        assert!(answers.iter().all(|answer| answer.status == 200));
        proxy.end(how);
        // The server hears of it with whatever comes next over its sockets. Within the same moment a
        // connection used just before would still be taken for alive (`database::pool`).
        assert_static_and_health_answer(&api).await;
        for answer in join_all((0..10).map(|_| api.get("/api/notes"))).await {
            assert_eq!(answer.status, 200, "{how:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn a_silent_database_is_given_up_within_the_timeouts() {
    let database = TestDatabase::new();
    let (proxy, url) = database.behind_a_proxy();
    let server = Setup::new()
        .config("[database]\nacquire_timeout = \"3s\"\nstatement_timeout = \"1s\"")
        .database(&url)
        .start();
    let api = Api::http2(&server);
    // One connection proved alive just now, one statement under way.
    let lock = database.lock_notes();
    let in_flight = api.get("/api/notes");
    let stalled = async {
        database.waiting(1).await;
        proxy.stall();
        let later = join_all((0..8).map(|_| api.get("/api/notes")));
        let (later, ()) = tokio::join!(later, assert_static_and_health_answer(&api));
        later
    };
    let (in_flight, later) = tokio::join!(in_flight, stalled);
    for answer in later.into_iter().chain([in_flight]) {
        answer.assert_unavailable();
        assert!(answer.took < Duration::from_secs(15), "{:?}", answer.took);
    }
    drop(lock);
    let not_ready = api.get("/readyz").await;
    assert_eq!(not_ready.status, 503);
    assert!(not_ready.took < AT_ONCE, "{:?}", not_ready.took);

    proxy.forward();
    for answer in join_all((0..8).map(|_| api.get("/api/notes"))).await {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn preparing_a_statement_and_running_it_share_one_limit() {
    // Three seconds are for the way; PostgreSQL itself is told of no limit.
    const LIMIT: Duration = Duration::from_secs(1 + 3);
    let database = TestDatabase::new();
    let url = format!("{}?options=-c%20statement_timeout%3D0", database.url);
    let server = Setup::new()
        .config("[database]\nstatement_timeout = \"1s\"")
        .database(&url)
        .start();
    let api = Api::http1(&server);
    let first = database.lock_notes();
    let asked = api.get("/api/notes");
    let locked = async {
        // It is being prepared. The next lock will be had between that and the query.
        database.waiting(1).await;
        let url = database.url.clone();
        let second = tokio::task::spawn_blocking(move || TestDatabase { url }.lock_notes());
        database.waiting(2).await;
        tokio::time::sleep(LIMIT / 2).await;
        drop(first);
        second.await.unwrap()
    };
    let (answer, second) = tokio::join!(asked, locked);
    answer.assert_unavailable();
    assert!(answer.took < LIMIT + LIMIT / 4, "{:?}", answer.took);
    drop(second);
}

#[tokio::test]
async fn a_request_that_finds_no_free_connection_is_told_to_come_back() {
    let database = TestDatabase::new();
    let server = Setup::new()
        .config("[database]\npool_size = 2\nacquire_timeout = \"3s\"\nstatement_timeout = \"50s\"")
        .database(&database.url)
        .start();
    let api = Api::http2(&server);
    let lock = database.lock_notes();
    let holders = join_all((0..2).map(|_| api.get("/api/notes")));
    let refused = async {
        database.waiting(2).await;
        let refused = join_all((0..5).map(|_| api.get("/api/notes"))).await;
        assert_eq!(api.get("/readyz").await.status, 200, "busy is not broken");
        assert_static_and_health_answer(&api).await;
        drop(lock);
        refused
    };
    let (holders, refused) = tokio::join!(holders, refused);
    for answer in refused {
        answer.assert_unavailable();
        assert!(
            answer.took >= Duration::from_millis(2900),
            "{:?}",
            answer.took
        );
        assert!(answer.took < 2 * AT_ONCE, "{:?}", answer.took);
    }
    for answer in holders {
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

#[tokio::test]
async fn a_statement_that_takes_too_long_is_given_up() {
    let database = TestDatabase::new();
    let mut server = Setup::new()
        .config("[database]\nstatement_timeout = \"1s\"")
        .database(&database.url)
        .start();
    let api = Api::http1(&server);
    let _lock = database.lock_notes();
    let answer = api.get("/api/notes").await;
    answer.assert_unavailable();
    assert!(answer.took < 2 * AT_ONCE, "{:?}", answer.took);
    server.line_with("canceling statement due to statement timeout");
}

async fn assert_static_and_health_answer(api: &Api) {
    for path in ["/", "/healthz"] {
        let answer = api.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.took < AT_ONCE, "{path}: {:?}", answer.took);
    }
}
