//! The pool and the schema against a real server.

mod pgbouncer;
mod tls;

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::testing::{Server, settings};
use super::*;

/// What a busy machine may add; less than half of what is measured.
const SLACK: Duration = Duration::from_millis(900);

/// Ends every connection of the app's role, and returns when they are gone.
async fn terminate_all(server: &Server) {
    let database = Database::open(&settings(), &server.superuser_url()).unwrap();
    let ended = database
        .client()
        .await
        .unwrap()
        .query(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'unibody'",
            &[],
        )
        .await
        .unwrap();
    assert!(ended.iter().all(|row| row.get::<_, bool>(0)));
    assert!(!ended.is_empty());
}

/// Processes that hold their sockets open and do nothing: what a vanished host looks like.
struct Frozen(Vec<Pid>);

impl Frozen {
    fn freeze(pids: Vec<Pid>) -> Self {
        for pid in &pids {
            kill(*pid, Signal::SIGSTOP).unwrap();
        }
        Self(pids)
    }
}

/// A server can't stop while they are frozen.
impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill(*pid, Signal::SIGCONT);
        }
    }
}

async fn backend(client: &tokio_postgres::Client) -> i32 {
    let row = client.query_one("SELECT pg_backend_pid()", &[]).await;
    row.unwrap().get(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_reused_but_never_dead() {
    let server = Server::start().await;
    let database = server.open(&settings());
    let first = backend(&database.client().await.unwrap()).await;
    assert_eq!(backend(&database.client().await.unwrap()).await, first);
    for round in 0..20 {
        let mut clients = Vec::new();
        for _ in 0..3 {
            clients.push(database.client().await.unwrap());
        }
        drop(clients);
        terminate_all(&server).await;
        for _ in 0..3 {
            let client = database.client().await.unwrap();
            client
                .query_one("SELECT 1", &[])
                .await
                .unwrap_or_else(|error| {
                    panic!("round {round}: a dead connection was lent: {error:?}")
                });
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_hang_are_replaced_without_a_long_wait_for_each() {
    let server = Server::start().await;
    let database = server.open(&settings());
    let mut clients = Vec::new();
    for _ in 0..3 {
        clients.push(database.client().await.unwrap());
    }
    let mut pids = Vec::new();
    for client in &clients {
        pids.push(Pid::from_raw(backend(client).await));
    }
    drop(clients);
    let frozen = Frozen::freeze(pids);
    tokio::time::sleep(Duration::from_millis(150)).await; // until the last proof of life is old
    let begin = Instant::now();
    let (one, two) = (
        database.client().await.unwrap(),
        database.client().await.unwrap(),
    );
    let taken = begin.elapsed();
    assert!(
        taken < Duration::from_millis(1900),
        "one proof was waited for, not three: {taken:?}"
    );
    for client in [one, two] {
        let answer = timeout(Duration::from_secs(5), backend(&client)).await;
        let pid = Pid::from_raw(answer.expect("a connection that hangs was lent"));
        assert!(!frozen.0.contains(&pid));
    }
    drop(frozen);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_connections_are_replaced() {
    let server = Server::start().await;
    let mut settings = settings();
    settings.max_lifetime = Duration::from_millis(200);
    let database = server.open(&settings);
    let first = backend(&database.client().await.unwrap()).await;
    tokio::time::sleep(settings.max_lifetime).await;
    assert_ne!(backend(&database.client().await.unwrap()).await, first);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn statements_have_a_time_limit() {
    let server = Server::start().await;
    let mut settings = settings();
    settings.statement_timeout = Duration::from_millis(300);
    let database = server.open(&settings);
    let client = database.client().await.unwrap();
    let begin = Instant::now();
    let error = client
        .batch_execute("SELECT pg_sleep(30)")
        .await
        .unwrap_err();
    assert_eq!(
        error.code().map(tokio_postgres::error::SqlState::code),
        Some("57014"),
        "{error:?}"
    );
    assert!(begin.elapsed() < Duration::from_secs(10));
    client
        .query_one("SELECT 1", &[])
        .await
        .expect("the connection lives on");

    // The URL's own options come on top, and win where they differ.
    let url = format!(
        "{}?options=-c%20statement_timeout%3D12345",
        server.embedded.url().reveal()
    );
    let database = Database::open(&settings, &Secret::new(url)).unwrap();
    let client = database.client().await.unwrap();
    let row = client
        .query_one("SHOW statement_timeout", &[])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "12345ms");
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exhausted_pool_refuses_in_time_and_stays_ready() {
    let server = Server::start().await;
    let mut settings = settings();
    settings.pool_size = 1;
    settings.acquire_timeout = Duration::from_secs(2);
    let database = server.open(&settings);
    database.wait(Duration::from_secs(20)).await.unwrap();
    migrations::migrate(&database).await.unwrap();
    let held = database.client().await.unwrap();
    let begin = Instant::now();
    let unavailable = database.client().await.err().unwrap();
    assert!(
        begin.elapsed() < Duration::from_secs(4),
        "{:?}",
        begin.elapsed()
    );
    assert!(unavailable.reason.contains("in use"), "{unavailable}");
    database
        .ready()
        .await
        .expect("a busy pool is not a broken database");
    drop(held);
    drop(database.client().await.expect("free again"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_follows_the_database() {
    let server = Server::start().await;
    let database = server.open(&settings());
    let before = database.ready().await.unwrap_err();
    assert!(
        matches!(before, NotReady::Schema { database: 0, .. }),
        "{before}"
    );
    migrations::migrate(&database).await.unwrap();
    database.ready().await.unwrap();

    let Server {
        embedded,
        directory,
    } = server;
    embedded.stop().await;
    let begin = Instant::now();
    let down = database.ready().await.unwrap_err();
    assert!(matches!(down, NotReady::Unavailable(_)), "{down}");
    assert!(begin.elapsed() < READY_LIMIT + SLACK);
    assert!(database.client().await.is_err());

    let embedded = embedded::start(directory.path(), None).await.unwrap();
    database.ready().await.expect("ready again, of itself");
    embedded.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_not_ready_in_time() {
    let server = Server::start().await;
    let database = server.open(&settings());
    migrations::migrate(&database).await.unwrap();
    database.ready().await.unwrap();
    let pid = {
        let client = database.lend_probe(READY_LIMIT).await.unwrap();
        Pid::from_raw(backend(&client).await)
    };
    let frozen = Frozen::freeze(vec![pid]);
    let begin = Instant::now();
    // Fresh or not, it is replaced: the answer is ready, or not, but comes in time.
    let _ = database.ready().await;
    assert!(begin.elapsed() < READY_LIMIT + SLACK);
    database.ready().await.expect("by a new connection");
    drop(frozen);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_the_probe_and_for_its_answer_have_one_limit() {
    let server = Server::start().await;
    let database = server.open(&settings());
    migrations::migrate(&database).await.unwrap();
    let held = database.lend_probe(READY_LIMIT).await.unwrap();
    let locked = database.client().await.unwrap();
    locked
        .batch_execute("BEGIN; LOCK TABLE refinery_schema_history IN ACCESS EXCLUSIVE MODE")
        .await
        .unwrap();
    let begin = Instant::now();
    let (ready, ()) = tokio::join!(database.ready(), async {
        tokio::time::sleep(READY_LIMIT * 3 / 4).await;
        drop(held);
    });
    let took = begin.elapsed();
    let reason = ready.unwrap_err().to_string();
    assert!(reason.contains("no answer to a query"), "{reason}");
    assert!(took < READY_LIMIT + SLACK, "{took:?}");
    drop(Client::take(locked));
    server.stop().await;
}

/// Connections outlive the runtime that asked for them first.
#[test]
fn connections_live_on_the_runtime_that_opened_the_database() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let (ours, listener) = (runtime(), runtime());
    let server = ours.block_on(Server::start());
    let database = ours.block_on(async { server.open(&settings()) });
    let first = listener.block_on(async { backend(&database.client().await.unwrap()).await });
    drop(listener);
    let again = ours.block_on(async { backend(&database.client().await.unwrap()).await });
    assert_eq!(again, first);
    ours.block_on(server.stop());
}

#[tokio::test]
async fn waiting_for_a_database_that_never_comes_ends_in_time() {
    let url = Secret::new("postgres://u:s3cret@127.0.0.1:1/notes".into());
    let database = Database::open(&settings(), &url).unwrap();
    let begin = Instant::now();
    let error = database.wait(Duration::from_millis(400)).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(3));
    assert!(error.to_string().contains("refused"), "{error}");
    assert!(!error.to_string().contains("s3cret"), "{error}");
}
