//! The real server as a child process, on free ports, in a directory of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::command::free_port;
use super::database::{TestDatabase, make_traversable};

/// How long anything may take before the test gives up on it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A free port for the server, and that port for the commands that ask it.
const ADMIN: &str = "${ADMIN:-127.0.0.1:0}";

/// A free port.
const FREE: &str = "127.0.0.1:0";

/// Where a server's directory has a program of its own, if it has one.
pub const PROGRAM: &str = "unibody";

/// A running server and what it has said so far.
pub struct Server {
    process: Child,
    /// The process that has taken over from it.
    successor: Option<Pid>,
    lines: Receiver<String>,
    said: Arc<Mutex<Vec<String>>>,
    /// Where it runs: `config.toml`, `certs`, `data` and `public` lie here.
    pub directory: TempDir,
    /// Its plain listener, if it has one.
    pub http: Option<SocketAddr>,
    /// Its TLS listener, if it has one.
    pub https: Option<SocketAddr>,
    /// Where it tells of itself, if it does.
    pub admin: Option<SocketAddr>,
    /// Its database, unless it runs the embedded one or none.
    pub database: Option<TestDatabase>,
    environment: Vec<(String, String)>,
}

/// How a server is to be started.
pub struct Setup {
    config: String,
    server: String,
    is_plain: bool,
    admin: bool,
    has_own_ports: bool,
    database: Choice,
    directory: TempDir,
    environment: Vec<(String, String)>,
}

enum Choice {
    Own,
    Embedded,
    Url(String),
    Configured,
}

/// `[server]` of a test that doesn't bring its own.
const LISTENERS: &str = r#"http = ["127.0.0.1:0"]
hosts = ["localhost", "127.0.0.1"]
"#;

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
            server: String::new(),
            is_plain: false,
            admin: false,
            has_own_ports: false,
            database: Choice::Own,
            directory,
            environment: Vec::new(),
        }
    }

    /// On ports that the system gives to nobody, not even while the server is down: a restart gets the
    /// same ones.
    pub fn own_ports(mut self) -> Self {
        self.has_own_ports = true;
        self
    }

    /// With an admin listener on a free port.
    pub fn admin(mut self) -> Self {
        self.admin = true;
        self
    }

    /// Further text of `config.toml`: whole tables. A `[server]` among them takes the place of the
    /// usual one, listeners and hosts included; [`Self::server`] adds to that.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// With further keys of `[server]`.
    pub fn server(mut self, keys: &str) -> Self {
        self.server.push_str(keys);
        self.server.push('\n');
        self
    }

    /// Without TLS: everything is served on the plain listener.
    pub fn plain(mut self) -> Self {
        self.is_plain = true;
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

    /// With the database at `url`, as `config.toml` names it: other instances may share it, and a
    /// restart with another file leads elsewhere.
    pub fn configured_database(mut self, url: &str) -> Self {
        self.database = Choice::Configured;
        self.config(&format!("[database]\nurl = \"{url}\"\nwait = \"1s\""))
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
        server.wait_until_ready();
        server
    }

    /// Writes `config.toml` and starts the server without waiting for anything.
    pub fn spawn(self) -> Server {
        self.spawn_as(|command| command)
    }

    /// The same with another command in its place.
    pub fn spawn_as(mut self, how: impl FnOnce(Command) -> Command) -> Server {
        let mut toml = self.toml();
        while self.has_own_ports && toml.contains(FREE) {
            let own = format!("127.0.0.1:{}", free_port());
            toml = toml.replacen(FREE, &own, 1);
        }
        std::fs::write(self.directory.path().join("config.toml"), toml).unwrap();
        let mut database = None;
        match self.database {
            Choice::Own => database = Some(TestDatabase::new()),
            Choice::Url(url) => self.environment.push(("DATABASE_URL".to_owned(), url)),
            Choice::Embedded | Choice::Configured => {}
        }
        let directory = self.directory.path();
        let program = program_in(directory);
        let command = command_in(directory, &program, database.as_ref(), &self.environment);
        let command = how(command);
        Server::run(command, self.directory, database, self.environment)
    }

    fn toml(&self) -> String {
        let mut toml = self.config.clone();
        if self.is_plain {
            toml.push_str("[tls]\nmode = \"off\"\n");
        }
        // The default port belongs to one server, and tests run many.
        let admin = if self.admin { ADMIN } else { "" };
        let admin = format!("admin = \"{admin}\"\n");
        // A test that brings its own [server] names its listeners itself.
        if toml.contains("admin = ") {
            return toml;
        }
        if toml.contains("[server]") {
            return toml.replacen("[server]\n", &format!("[server]\n{admin}"), 1);
        }
        let https = if self.is_plain {
            ""
        } else {
            "https = [\"127.0.0.1:0\"]\n"
        };
        format!("[server]\n{LISTENERS}{https}{admin}{}\n{toml}", self.server)
    }
}

impl Server {
    /// A server with the defaults, on free ports, with a database of its own.
    pub fn start() -> Self {
        Setup::new().start()
    }

    /// Starts `unibody` in `directory` and listens to what it says.
    pub fn launch(
        directory: TempDir,
        database: Option<TestDatabase>,
        environment: Vec<(String, String)>,
    ) -> Self {
        let program = program_in(directory.path());
        let command = command_in(directory.path(), &program, database.as_ref(), &environment);
        Self::run(command, directory, database, environment)
    }

    fn run(
        mut command: Command,
        directory: TempDir,
        database: Option<TestDatabase>,
        environment: Vec<(String, String)>,
    ) -> Self {
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
            successor: None,
            lines,
            said,
            directory,
            http: None,
            https: None,
            admin: None,
            database,
            environment,
        }
    }

    /// Starts the same server again, in the same directory with the same database.
    pub fn restart(self) -> Self {
        self.restart_as(|command| command)
    }

    /// The same as a child of `program`, which becomes the server: of `prlimit`, say.
    pub fn restart_through(self, program: &str, arguments: &[&str]) -> Self {
        self.restart_as(|command| through(program, arguments, &command))
    }

    /// The same without root's right to write where the mode of a file does not allow it.
    pub fn restart_powerless(self) -> Self {
        self.restart_as(powerless)
    }

    fn restart_as(mut self, how: impl FnOnce(Command) -> Command) -> Self {
        self.stop_if_running();
        let directory = std::mem::replace(&mut self.directory, tempfile::tempdir().unwrap());
        let environment = std::mem::take(&mut self.environment);
        let database = self.database.take();
        let command = how(command_in(
            directory.path(),
            &program_in(directory.path()),
            database.as_ref(),
            &environment,
        ));
        let mut server = Self::run(command, directory, database, environment);
        server.wait_until_ready();
        server
    }

    /// Writes the ports it was given into `config.toml`, for others that read it while it runs. A server
    /// that is to get the same ones after a stop needs [its own](Setup::own_ports).
    pub fn keep_ports(&self) {
        let path = self.path("config.toml");
        let mut config = std::fs::read_to_string(&path).unwrap();
        for address in [self.http, self.https, self.admin].into_iter().flatten() {
            config = config.replacen(FREE, &address.to_string(), 1);
        }
        std::fs::write(path, config).unwrap();
    }

    /// The same program as a command in the same directory with the same database.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command_in(
            self.directory.path(),
            Path::new(env!("CARGO_BIN_EXE_unibody")),
            self.database.as_ref(),
            &self.environment,
        );
        command.args(arguments);
        command
    }

    /// The server as a command of `program`, which becomes it.
    pub fn command_through(&self, program: &str, arguments: &[&str]) -> Command {
        through(program, arguments, &self.command(&["serve"]))
    }

    /// Waits until it serves.
    pub fn wait_until_ready(&mut self) {
        self.wait_for_line("ready");
        self.learn_addresses();
    }

    /// Waits for a line that contains `text` and returns it.
    pub fn wait_for_line(&mut self, text: &str) -> String {
        self.wait_longer_for_line(text, PATIENCE)
    }

    /// The same for what takes longer.
    pub fn wait_longer_for_line(&mut self, text: &str, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
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

    /// The line that contains `text`, whether it was said already or is still to come.
    pub fn line_with(&mut self, text: &str) -> String {
        let said = self.said.lock().unwrap().clone();
        match said.into_iter().find(|line| line.contains(text)) {
            Some(line) => line,
            None => self.wait_for_line(text),
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

    /// The URL of `path` on the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin.unwrap())
    }

    /// Runs a command that asks this server, with its configuration.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        let admin = self.admin.map(|address| address.to_string());
        self.command(arguments)
            .env("ADMIN", admin.unwrap_or_default())
            .output()
            .unwrap()
    }

    /// Sends `signal`.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    /// The id of the process that serves.
    pub fn pid(&self) -> Pid {
        let first = Pid::from_raw(i32::try_from(self.process.id()).unwrap());
        self.successor.unwrap_or(first)
    }

    /// Another process serves from now on, and writes where this one did.
    pub fn is_succeeded_by(&mut self, pid: Pid) {
        self.successor = Some(pid);
    }

    /// Its end, if that comes within `time`.
    pub fn ends_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + time;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(_) => {}
                // Its output is closed by its end.
                Err(RecvTimeoutError::Disconnected) => return Some(self.process.wait().unwrap()),
                Err(RecvTimeoutError::Timeout) => return None,
            }
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        match self.ends_within(PATIENCE) {
            Some(status) => status,
            None => panic!("it still runs"),
        }
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait()
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        self.wait();
    }

    /// A file in its directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn learn_addresses(&mut self) {
        let said = self.said.lock().unwrap();
        for line in said.iter().filter(|line| line.contains("listening")) {
            let find = |scheme: &str| -> Option<SocketAddr> {
                let (_, rest) = line.split_once(&format!("{scheme}://"))?;
                // As text it ends with the field, as JSON with the string.
                rest.split(['"', ' ']).next()?.parse().ok()
            };
            self.http = self.http.or_else(|| find("http"));
            self.https = self.https.or_else(|| find("https"));
        }
        let admin = said.iter().find_map(|line| {
            // As text, or as JSON.
            let told = line.split_once("admin=http://");
            let (_, rest) = told.or_else(|| line.split_once("\"admin\":\"http://"))?;
            rest.split(['"', ' ']).next()?.parse().ok()
        });
        self.admin = admin.or(self.admin);
    }

    fn stop_if_running(&mut self) {
        if self.successor.is_none() && !matches!(self.process.try_wait(), Ok(None)) {
            return;
        }
        // A successor is nobody's child here, and may have ended.
        let _ = kill(self.pid(), Signal::SIGTERM);
        if self.ends_within(PATIENCE).is_none() {
            let _ = kill(self.pid(), Signal::SIGKILL);
            let _ = self.process.kill();
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

/// The same command without the capabilities of root, if we are root.
fn powerless(command: Command) -> Command {
    if !nix::unistd::Uid::effective().is_root() {
        return command;
    }
    through(
        "setpriv",
        &["--bounding-set=-all", "--inh-caps=-all"],
        &command,
    )
}

/// The same command, run by `program`.
pub fn through(program: &str, arguments: &[&str], command: &Command) -> Command {
    let mut outer = Command::new(program);
    outer
        .args(arguments)
        .arg(command.get_program())
        .args(command.get_args())
        .current_dir(command.get_current_dir().unwrap())
        .env_remove("DATABASE_URL")
        .envs(
            command
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    outer
}

/// The program, told of `database` and of nothing else in our environment that it would read.
fn command_in(
    directory: &Path,
    program: &Path,
    database: Option<&TestDatabase>,
    environment: &[(String, String)],
) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(directory)
        .env_remove("DATABASE_URL")
        .envs(database.map(|database| ("DATABASE_URL", &database.url)))
        .envs(environment.iter().cloned())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// The program that a server in `directory` runs: its own, where a test has put one there.
fn program_in(directory: &Path) -> PathBuf {
    let own = directory.join(PROGRAM);
    if own.exists() {
        own
    } else {
        env!("CARGO_BIN_EXE_unibody").into()
    }
}
