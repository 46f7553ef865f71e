//! What the tests of this folder share: the router over a database of its own, and verbs to speak
//! to it.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use serde_json::Value;
use tower::ServiceExt;

use super::{State, router};
use crate::config::{self, Secret};
use crate::database::{Database, migrations};

/// Each test's database is a copy of this one.
const TEMPLATE: &str = "notes_template";

/// The app over a database that nobody else uses.
pub(super) struct App {
    router: axum::Router,
    database: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) content: Vec<u8>,
}

impl App {
    pub(super) async fn start() -> Self {
        Self::with_statement_timeout(Duration::from_secs(10)).await
    }

    pub(super) async fn with_statement_timeout(limit: Duration) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let database = format!("notes_{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let cluster = Cluster::shared();
        let maintenance = cluster.connect("postgres").await;
        let copy = format!("CREATE DATABASE {database} TEMPLATE {TEMPLATE}");
        maintenance.batch_execute(&copy).await.unwrap();
        Self {
            router: router(State::new(open(&cluster.url(&database), limit))),
            database,
        }
    }

    /// The app whose database nobody answers for.
    pub(super) fn without_database() -> Self {
        let nowhere = "postgres://unibody@localhost/notes?host=/nonexistent";
        Self {
            router: router(State::new(open(nowhere, Duration::from_secs(10)))),
            database: String::new(),
        }
    }

    /// Another connection to the app's database.
    pub(super) async fn sql(&self) -> tokio_postgres::Client {
        Cluster::shared().connect(&self.database).await
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Reply {
        let (parts, content) = self
            .router
            .clone()
            .oneshot(request)
            .await
            .unwrap()
            .into_parts();
        Reply {
            status: parts.status,
            headers: parts.headers,
            content: axum::body::to_bytes(content, usize::MAX)
                .await
                .unwrap()
                .to_vec(),
        }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[], "").await
    }

    /// Sends `content` as JSON, if there is any.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        content: &str,
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        if !content.is_empty() {
            request = request.header("Content-Type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(content.to_owned())).unwrap();
        self.send(request).await
    }

    pub(super) async fn post(&self, content: &str) -> Reply {
        self.ask(Method::POST, "/api/notes", &[], content).await
    }

    /// The path of a new note.
    pub(super) async fn create_note(&self, title: &str, body: &str) -> String {
        let content = serde_json::json!({ "title": title, "body": body });
        let reply = self.post(&content.to_string()).await;
        assert_eq!(reply.status, 201, "{reply:?}");
        reply.header("location").to_owned()
    }
}

impl Reply {
    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.content).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A header's value; empty without it.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The titles of a list.
    pub(super) fn titles(&self) -> Vec<String> {
        let list = self.json();
        let notes = list.as_array().unwrap().iter();
        notes
            .map(|note| note["title"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The fields that a 422 complains of.
    pub(super) fn fields(&self) -> Vec<String> {
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors
            .iter()
            .map(|error| error["field"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The path and query of `Link: <…>; rel="next"`.
    pub(super) fn next_page(&self) -> Option<&str> {
        self.header("link")
            .strip_prefix('<')?
            .strip_suffix(">; rel=\"next\"")
    }

    #[track_caller]
    pub(super) fn assert_problem(&self, status: u16) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.header("cache-control"), "no-store");
        let problem = self.json();
        assert_eq!(problem["status"], status);
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member} in {problem}");
        }
    }
}

fn open(url: &str, statement_timeout: Duration) -> Database {
    let settings = config::Database {
        url: None,
        bin_dir: None,
        pool_size: 4,
        wait: Duration::from_secs(10),
        acquire_timeout: Duration::from_secs(10),
        statement_timeout,
        max_lifetime: Duration::from_mins(30),
        migrate: false,
    };
    Database::open(&settings, &Secret::new(url.to_owned())).unwrap()
}

/// A PostgreSQL that lives as long as the test process: a shell holds it, and stops and removes it
/// when the pipe to the process breaks, however the process ends.
struct Cluster {
    directory: PathBuf,
    _shell: Child,
}

/// `$1` is the programs' directory, `$2` the cluster's. The test process may not be its owner.
const HOLD: &str = r#"
set -e
trap '"$1/pg_ctl" -D "$2/data" -m immediate stop >/dev/null 2>&1; rm -rf "$2"' EXIT
"$1/initdb" -D "$2/data" -U postgres -A trust -E UTF8 --locale=C --no-sync >"$2/log" 2>&1
"$1/pg_ctl" -D "$2/data" -l "$2/log" -w start >/dev/null 2>&1 \
    -o "-c listen_addresses='' -c fsync=off -c max_connections=200 -k '$2'"
echo ready
read -r _ || true
"#;

impl Cluster {
    fn shared() -> &'static Self {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(|| {
            let cluster = Self::start();
            // Tests run on runtimes of their own, and this one's must not outlive its block.
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    let runtime = tokio::runtime::Runtime::new().unwrap();
                    runtime.block_on(cluster.make_template());
                });
            });
            cluster
        })
    }

    fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("unibody-app-")
            .tempdir()
            .unwrap()
            .keep();
        std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", HOLD, "hold-cluster"])
            .args([&programs(), &directory])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            // A Ctrl-C at the terminal must not take the shell that cleans up.
            .process_group(0);
        if nix::unistd::geteuid().is_root() {
            // PostgreSQL refuses to run as root.
            let user = nix::unistd::User::from_name("postgres").unwrap().unwrap();
            let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
            chown(&directory, Some(uid), Some(gid)).unwrap();
            command.uid(uid).gid(gid);
        }
        let mut shell = command.spawn().unwrap();
        let mut output = BufReader::new(shell.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        if line.trim() != "ready" {
            output.read_to_string(&mut line).unwrap();
            panic!("PostgreSQL did not start: {line}");
        }
        Self {
            directory,
            _shell: shell,
        }
    }

    async fn make_template(&self) {
        let create = format!("CREATE DATABASE {TEMPLATE}");
        let maintenance = self.connect("postgres").await;
        maintenance.batch_execute(&create).await.unwrap();
        let template = open(&self.url(TEMPLATE), Duration::from_secs(10));
        migrations::migrate(&template).await.unwrap();
    }

    fn url(&self, database: &str) -> String {
        let directory = self.directory.display();
        format!("postgres://postgres@localhost/{database}?host={directory}")
    }

    async fn connect(&self, database: &str) -> tokio_postgres::Client {
        let mut config = tokio_postgres::Config::new();
        config
            .host_path(&self.directory)
            .user("postgres")
            .dbname(database);
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

/// Where the programs of the newest PostgreSQL are.
fn programs() -> PathBuf {
    let from_path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&from_path).collect();
    if let Ok(versions) = Path::new("/usr/lib/postgresql").read_dir() {
        let mut versions: Vec<_> = versions.flatten().map(|entry| entry.path()).collect();
        versions.sort();
        places.extend(
            versions
                .into_iter()
                .rev()
                .map(|version| version.join("bin")),
        );
    }
    places
        .into_iter()
        .find(|place| place.join("initdb").exists() && place.join("pg_ctl").exists())
        .expect("PostgreSQL's server programs: install the package postgresql")
}
