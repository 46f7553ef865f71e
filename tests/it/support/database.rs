//! One PostgreSQL for the whole test run, and a database of its own for each test.
//!
//! The cluster is the product's own embedded one, in a temporary directory. It is watched by a shell
//! that holds the other end of a pipe: when the test process is gone, however it went, the shell
//! stops the cluster and removes it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_postgres::NoTls;
use unibody::config::{Config, Secret};
use unibody::database::{Database, embedded, migrations};

use super::breakable::{Breakable, Target};
use super::server::PATIENCE;

/// A migrated, empty database that only this test uses.
pub struct TestDatabase {
    /// `postgres://…` of the database.
    pub url: String,
}

/// A transaction of [`TestDatabase::hold`].
pub struct Held {
    release: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

struct Cluster {
    url: String,
    /// Ends with the process, and the cluster with it.
    _watcher: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static NUMBER: AtomicU32 = AtomicU32::new(0);

impl TestDatabase {
    /// Copies the migrated template.
    pub fn new() -> Self {
        Self::named_like("template_unibody")
    }

    /// A database with nothing in it, not even the schema.
    pub fn empty() -> Self {
        Self::named_like("template0")
    }

    fn named_like(template: &str) -> Self {
        let cluster = cluster();
        let name = format!("test_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        execute(
            &cluster.url,
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        );
        Self {
            url: with_database(&cluster.url, &name),
        }
    }

    /// A proxy in front of it, and the URL of this database through it.
    pub fn behind_a_proxy(&self) -> (Breakable, String) {
        let url = url::Url::parse(&self.url).unwrap();
        let socket = percent_encoding::percent_decode_str(url.host_str().unwrap())
            .decode_utf8()
            .unwrap();
        let proxy = Breakable::before(Target::Unix(format!("{socket}/.s.PGSQL.5432").into()));
        let password = url.password().unwrap();
        let through = format!(
            "postgres://{}:{password}@{}{}?sslmode=disable",
            url.username(),
            proxy.address(),
            url.path()
        );
        (proxy, through)
    }

    /// Keeps every reader and writer of the notes waiting until it is dropped.
    pub fn lock_notes(&self) -> Held {
        self.hold("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
    }

    /// Runs a statement in a transaction that is rolled back when the result is dropped.
    pub fn hold(&self, statement: &str) -> Held {
        let (url, statement) = (self.url.clone(), format!("BEGIN; {statement}"));
        let (release, released) = oneshot::channel::<()>();
        let (sender, running) = channel();
        let thread = std::thread::spawn(move || {
            Runtime::new().unwrap().block_on(async {
                let client = connect(&url).await;
                client.batch_execute(&statement).await.unwrap();
                sender.send(()).unwrap();
                let _ = released.await;
                client.batch_execute("ROLLBACK").await.unwrap();
            });
        });
        running.recv().unwrap();
        Held {
            release: Some(release),
            thread: Some(thread),
        }
    }

    /// Waits until `count` connections to this database wait for what others hold.
    pub fn wait_for_waiting(&self, count: i64) {
        let begin = Instant::now();
        let query = "SELECT count(*) FROM pg_stat_activity
                     WHERE datname = current_database() AND wait_event_type = 'Lock'";
        while self.count(query) < count {
            assert!(begin.elapsed() < PATIENCE, "fewer than {count} wait");
        }
    }

    /// The same, leaving the runtime free for the requests that are to wait.
    pub async fn waiting(&self, count: i64) {
        let url = self.url.clone();
        tokio::task::spawn_blocking(move || Self { url }.wait_for_waiting(count))
            .await
            .unwrap();
    }

    /// Runs one statement in this database, as an administrator would.
    pub fn execute(&self, statement: &str) {
        execute(&self.url, statement);
    }

    /// Ends every connection and refuses new ones, as if PostgreSQL were away.
    pub fn go_away(&self) {
        self.allow_connections(false);
        self.end_connections();
    }

    /// Ends every connection; new ones can only read, or write again.
    pub fn turn_read_only(&self, read_only: bool) {
        let alter = format!(
            "ALTER DATABASE {} SET default_transaction_read_only = {read_only}",
            self.name()
        );
        execute(&cluster().url, &alter);
        self.end_connections();
    }

    fn end_connections(&self) {
        let end = format!(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'",
            self.name()
        );
        execute(&cluster().url, &end);
    }

    /// Takes connections again.
    pub fn come_back(&self) {
        self.allow_connections(true);
    }

    fn allow_connections(&self, allowed: bool) {
        let alter = format!("ALTER DATABASE {} ALLOW_CONNECTIONS {allowed}", self.name());
        execute(&cluster().url, &alter);
    }

    fn name(&self) -> &str {
        self.url.rsplit_once('/').unwrap().1
    }

    /// The one number that `query` selects.
    pub fn count(&self, query: &str) -> i64 {
        let (url, query) = (self.url.clone(), query.to_owned());
        block_on(async move {
            let client = connect(&url).await;
            client.query_one(&query, &[]).await.unwrap().get(0)
        })
    }
}

fn cluster() -> &'static Cluster {
    CLUSTER.get_or_init(start_cluster)
}

fn start_cluster() -> Cluster {
    let directory = tempfile::Builder::new()
        .prefix("unibody-it-")
        .tempdir()
        .unwrap()
        .keep();
    // The cluster runs as `postgres` when the tests run as root.
    make_traversable(&directory);
    let (path, (sender, receiver)) = (directory.clone(), channel());
    // Its supervision lives on this thread's runtime, as long as the process does.
    std::thread::spawn(move || {
        Runtime::new().unwrap().block_on(async move {
            let cluster = embedded::start(&path, None).await.unwrap();
            sender
                .send(as_administrator(cluster.url().reveal()))
                .unwrap();
            std::future::pending::<()>().await;
        });
    });
    let url: String = receiver.recv().unwrap();
    let watcher = watch(&directory);
    execute(&url, "CREATE DATABASE template_unibody TEMPLATE template0");
    let template = with_database(&url, "template_unibody");
    block_on(async move {
        let config = Config::default_for(Path::new(env!("CARGO_MANIFEST_DIR"))).database;
        let database = Database::open(&config, &Secret::new(template)).unwrap();
        migrations::migrate(&database).await.unwrap();
    });
    Cluster {
        url,
        _watcher: watcher,
    }
}

fn watch(directory: &Path) -> Child {
    let script = r#"
        read -r _
        pid=$(head -n 1 "$0/postgres/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid"
        while [ -e "$0/postgres/postmaster.pid" ] && kill -0 "$pid" 2>/dev/null; do sleep 0.1; done
        rm -rf "$0"
    "#;
    Command::new("sh")
        .arg("-c")
        .arg(script)
        .arg(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Lets every user pass through a directory.
pub fn make_traversable(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// The app's own role may not make databases.
fn as_administrator(url: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_username("postgres").unwrap();
    url.into()
}

fn with_database(url: &str, name: &str) -> String {
    let mut url = url::Url::parse(url).unwrap();
    url.set_path(name);
    url.into()
}

fn execute(url: &str, statement: &str) {
    let (url, statement) = (url.to_owned(), statement.to_owned());
    block_on(async move {
        connect(&url).await.batch_execute(&statement).await.unwrap();
    });
}

async fn connect(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Runs `future` to its end on a thread of its own, whether or not this one runs a runtime.
fn block_on<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    std::thread::spawn(|| Runtime::new().unwrap().block_on(future))
        .join()
        .unwrap()
}
