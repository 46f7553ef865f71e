//! The real server as a child process, on free ports, in a directory of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::database::{TestDatabase, make_traversable};

/// How long anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running server and what it has said so far.
pub struct Server {
    process: Child,
    lines: Receiver<String>,
    said: Arc<Mutex<Vec<String>>>,
    /// Where it runs: `config.toml`, `certs`, `data` and `public` lie here.
    pub directory: TempDir,
    /// Its plain listener, if it has one.
    pub http: Option<SocketAddr>,
    /// Its TLS listener, if it has one.
    pub https: Option<SocketAddr>,
    /// Its database, unless it runs the embedded one or none.
    pub database: Option<TestDatabase>,
}

/// How a server is to be started.
pub struct Setup {
    config: String,
    database: Choice,
    directory: TempDir,
    environment: Vec<(String, String)>,
}

enum Choice {
    Own,
    Embedded,
    Url(String),
}

impl Setup {
    /// A server that listens on free ports of 127.0.0.1 and serves the project's `public/`.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("unibody-it-")
            .tempdir()
            .unwrap();
        make_traversable(directory.path());
        let public = Path::new(env!("CARGO_MANIFEST_DIR")).join("public");
        std::os::unix::fs::symlink(public, directory.path().join("public")).unwrap();
        Self {
            config: String::new(),
            database: Choice::Own,
            directory,
            environment: Vec::new(),
        }
    }

    /// Further text of `config.toml`: whole tables. Give `[server]` and `[tls]` with
    /// [`Self::server`] and [`Self::tls`].
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// With the embedded PostgreSQL.
    pub fn embedded(mut self) -> Self {
        self.database = Choice::Embedded;
        self
    }

    /// With the database at `url`, which may not be there.
    pub fn database(mut self, url: &str) -> Self {
        self.database = Choice::Url(url.to_owned());
        self
    }

    /// With a variable in its environment.
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The directory it will run in, to put files there first.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes `config.toml`, starts the server and waits until it is ready.
    pub fn start(self) -> Server {
        let mut server = self.spawn();
        server.wait_for_line("ready");
        server.learn_addresses();
        server
    }

    /// Writes `config.toml` and starts the server without waiting for anything.
    pub fn spawn(self) -> Server {
        let mut config = self.config;
        // A test that brings its own [server] names its listeners itself.
        if !config.contains("[server]") {
            config = format!(
                "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nhosts = [\"localhost\", \"127.0.0.1\"]\n\n{config}"
            );
        }
        std::fs::write(self.directory.path().join("config.toml"), config).unwrap();
        let database = match &self.database {
            Choice::Own => Some(TestDatabase::new()),
            Choice::Embedded | Choice::Url(_) => None,
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_unibody"));
        command
            .current_dir(self.directory.path())
            .env_remove("DATABASE_URL")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match (&self.database, &database) {
            (Choice::Url(url), _) => drop(command.env("DATABASE_URL", url)),
            (_, Some(database)) => drop(command.env("DATABASE_URL", &database.url)),
            _ => {}
        }
        Server::watch(command, self.directory, database)
    }
}

impl Server {
    /// A server with the defaults, on free ports, with a database of its own.
    pub fn start() -> Self {
        Setup::new().start()
    }

    fn watch(mut command: Command, directory: TempDir, database: Option<TestDatabase>) -> Self {
        let mut process = command.spawn().unwrap();
        let (sender, lines) = channel();
        let said = Arc::new(Mutex::new(Vec::new()));
        for stream in [
            Box::new(process.stdout.take().unwrap()) as Box<dyn std::io::Read + Send>,
            Box::new(process.stderr.take().unwrap()),
        ] {
            let (sender, said) = (sender.clone(), said.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    said.lock().unwrap().push(line.clone());
                    // Nobody may be waiting for lines any more.
                    let _ = sender.send(line);
                }
            });
        }
        Self {
            process,
            lines,
            said,
            directory,
            http: None,
            https: None,
            database,
        }
    }

    /// Starts the same server again, in the same directory with the same database.
    pub fn restart(mut self) -> Self {
        self.stop_if_running();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        let database = self.database.take();
        let mut command = Command::new(env!("CARGO_BIN_EXE_unibody"));
        command
            .current_dir(directory.path())
            .env_remove("DATABASE_URL")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some(database) = &database {
            command.env("DATABASE_URL", &database.url);
        }
        let mut server = Self::watch(command, directory, database);
        server.wait_for_line("ready");
        server.learn_addresses();
        server
    }

    /// Writes the ports it was given into `config.toml`, so that a restart gets the same ones.
    pub fn keep_ports(&self) {
        let path = self.path("config.toml");
        let mut config = std::fs::read_to_string(&path).unwrap();
        for address in [self.http, self.https].into_iter().flatten() {
            config = config.replacen("127.0.0.1:0", &address.to_string(), 1);
        }
        std::fs::write(path, config).unwrap();
    }

    /// Waits for a line that contains `text` and returns it.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if line.contains(text) => return line,
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no line with {text:?} in:\n{}", self.log())
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let status = self.process.wait().unwrap();
                    panic!("ended with {status} before {text:?}:\n{}", self.log())
                }
            }
        }
    }

    /// Everything it has said.
    pub fn log(&self) -> String {
        self.said.lock().unwrap().join("\n")
    }

    /// The URL of `path` on the TLS listener.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.https.unwrap().port())
    }

    /// The URL of `path` on the plain listener.
    pub fn plain_url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.http.unwrap().port())
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap())
    }

    /// Its end, if that comes within `time`.
    pub fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                // Its output is closed by its end.
                Err(RecvTimeoutError::Disconnected) => return Some(self.wait()),
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        self.process.wait().unwrap()
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn learn_addresses(&mut self) {
        for line in self.said.lock().unwrap().iter() {
            let find = |scheme: &str| -> Option<SocketAddr> {
                let (_, rest) = line.split_once(&format!("url={scheme}://"))?;
                rest.split_whitespace().next()?.parse().ok()
            };
            self.http = self.http.or_else(|| find("http"));
            self.https = self.https.or_else(|| find("https"));
        }
    }

    fn stop_if_running(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            self.stop();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // An embedded cluster has to be stopped, not orphaned; nothing is left of a killed one.
        self.stop_if_running();
        if std::thread::panicking() {
            eprintln!("the server said:\n{}", self.log());
        }
    }
}
