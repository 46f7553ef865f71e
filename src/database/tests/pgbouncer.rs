//! Behind a real PgBouncer in transaction mode, as `docs/database.md` promises.
//!
//! `PGBOUNCER` may name another program than the one on `PATH`.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use super::*;
use crate::database::testing::directory;

/// More clients than server connections, so that clients change servers all the time.
const SERVERS: usize = 2;

struct PgBouncer {
    process: Child,
    url: Secret,
    version: (u32, u32),
    _directory: TempDir,
}

impl PgBouncer {
    fn start(server: &Server, extra: &str) -> Self {
        let program = std::env::var("PGBOUNCER").unwrap_or("pgbouncer".into());
        let output = Command::new(&program).arg("--version").output();
        let output = output.expect("install PgBouncer, or name it in PGBOUNCER");
        let version = parse_version(&String::from_utf8_lossy(&output.stdout));

        let directory = directory();
        let at = directory.path();
        let url = server.embedded.url().reveal().to_owned();
        let password = url.split([':', '@']).nth(2).unwrap();
        let socket = server.directory.path().join("postgres.socket");
        std::fs::write(
            at.join("pgbouncer.ini"),
            format!(
                "[databases]\nunibody = host={} user=unibody password={password}\n\
                 [pgbouncer]\nlisten_addr =\nunix_socket_dir = {at}\nlisten_port = 6432\n\
                 auth_type = any\npool_mode = transaction\ndefault_pool_size = {SERVERS}\n\
                 max_client_conn = 100\nlogfile = {at}/log\n{extra}\n",
                socket.display(),
                at = at.display(),
            ),
        )
        .unwrap();
        // PgBouncer refuses root too, and must enter the server's socket directory.
        let owner = socket.metadata().unwrap();
        std::os::unix::fs::chown(at, Some(owner.uid()), Some(owner.gid())).unwrap();
        let mut command = Command::new(program);
        command.arg(at.join("pgbouncer.ini")).stderr(Stdio::null());
        if nix::unistd::Uid::effective().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let process = command.current_dir("/").spawn().unwrap();
        let url = format!(
            "postgres:///unibody?user=unibody&port=6432&host={}",
            at.display()
        );
        Self {
            process,
            url: Secret::new(url),
            version,
            _directory: directory,
        }
    }

    async fn open(&self) -> Database {
        let mut settings = settings();
        settings.pool_size = 6;
        let database = Database::open(&settings, &self.url).unwrap();
        database.wait(Duration::from_secs(20)).await.unwrap();
        database
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// (1, 24) of "PgBouncer 1.24.1".
fn parse_version(output: &str) -> (u32, u32) {
    let numbers = output.split_whitespace().nth(1).unwrap();
    let mut numbers = numbers.split('.').map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

async fn prepared_statements_work(database: &Database) {
    let work = (0..6i32).map(|number| {
        let database = database.clone();
        tokio::spawn(async move {
            for round in 0..50i32 {
                let mut client = database.client().await.unwrap();
                let statement = client
                    .prepare_cached("SELECT $1::int4 + $2::int4")
                    .await
                    .unwrap();
                let row = client
                    .query_one(&statement, &[&number, &round])
                    .await
                    .unwrap();
                assert_eq!(row.get::<_, i32>(0), number + round);
                let transaction = client.transaction().await.unwrap();
                let statement = transaction.prepare_cached("SELECT $1::int4").await.unwrap();
                transaction.query_one(&statement, &[&round]).await.unwrap();
                transaction.commit().await.unwrap();
            }
        })
    });
    for work in work.collect::<Vec<_>>() {
        work.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transaction_mode_works_from_the_first_migration() {
    let server = Server::start().await;
    // Refuses the start-up parameter `options`, as PgBouncer does unless told otherwise.
    let bouncer = PgBouncer::start(&server, "");
    let (one, two) = (bouncer.open().await, bouncer.open().await);
    let (first, second) = tokio::join!(migrations::migrate(&one), migrations::migrate(&two));
    assert_eq!(first.unwrap().version, second.unwrap().version);
    one.ready().await.unwrap();
    let status = migrations::status(&one).await.unwrap();
    assert!(
        status
            .iter()
            .all(|one| one.state == migrations::State::Applied)
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs PgBouncer 1.21 or newer"]
async fn prepared_statements_follow_the_client() {
    let server = Server::start().await;
    let bouncer = PgBouncer::start(&server, "max_prepared_statements = 100");
    assert!(bouncer.version >= (1, 21), "this is {:?}", bouncer.version);
    prepared_statements_work(&bouncer.open().await).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn older_versions_work_in_session_mode() {
    let server = Server::start().await;
    let session =
        "pool_mode = session\ndefault_pool_size = 20\nignore_startup_parameters = options";
    let bouncer = PgBouncer::start(&server, session);
    let database = bouncer.open().await;
    migrations::migrate(&database).await.unwrap();
    prepared_statements_work(&database).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_limit_of_the_role_holds() {
    let server = Server::start().await;
    let superuser = Database::open(&settings(), &server.superuser_url()).unwrap();
    let client = superuser.client().await.unwrap();
    let limit = "ALTER ROLE unibody SET statement_timeout = '300ms'";
    client.batch_execute(limit).await.unwrap();
    drop(client);
    let bouncer = PgBouncer::start(&server, "");
    let client = bouncer.open().await.client().await.unwrap();
    let error = client
        .batch_execute("SELECT pg_sleep(30)")
        .await
        .unwrap_err();
    assert_eq!(
        error.code().map(tokio_postgres::error::SqlState::code),
        Some("57014")
    );
    drop(client);
    server.stop().await;
}
