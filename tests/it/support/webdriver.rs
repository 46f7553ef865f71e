//! The wire to Chromium: a chromedriver of one's own, spoken to in the W3C's `WebDriver`, JSON over HTTP.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::command::free_port;
use super::server::PATIENCE;

const HOW_TO_INSTALL: &str = "`script/install test` installs Chromium and its chromedriver";

/// Keeps Chromium to itself and to this machine, and spares the tests its animations.
const ARGUMENTS: &[&str] = &[
    "--headless",
    // Chromium's own sandbox refuses to run as root; the pages are ours.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--force-prefers-reduced-motion",
    // A headless Chromium has no mouse, and would show what touch screens get.
    "--blink-settings=primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,availablePointerTypes=4",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost",
];

/// A chromedriver and the session in which it drives a Chromium. Both, with a profile and a home of
/// their own, are watched by a shell that ends them when this process is gone, however it went.
pub struct WebDriver {
    driver: Child,
    watcher: Child,
    port: u16,
    session: String,
    /// Kept open, lest its next line end chromedriver.
    _output: ChildStdout,
}

impl WebDriver {
    /// Starts both.
    pub fn start() -> Self {
        let home = tempfile::Builder::new()
            .prefix("unibody-browser-")
            .tempdir()
            .unwrap();
        let mut driver = Command::new("chromedriver")
            // Given 0, it takes a port without saying which where there is no IPv6.
            .arg(format!("--port={}", free_port()))
            // Chromium stays in this group, so the group is what has to end.
            .process_group(0)
            .env("HOME", home.path())
            .env("TMPDIR", home.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("chromedriver: {error}; {HOW_TO_INSTALL}"));
        let home = home.keep();
        let watcher = watch(driver.id(), &home);
        let mut output = driver.stdout.take().unwrap();
        let mut started = Self {
            port: port_in(&mut output),
            driver,
            watcher,
            session: String::new(),
            _output: output,
        };
        started.session = started.new_session(&home.join("profile"));
        started
    }

    fn new_session(&self, profile: &Path) -> String {
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true,
            "timeouts": { "implicit": PATIENCE.as_millis(), "script": PATIENCE.as_millis() },
            "goog:loggingPrefs": { "browser": "ALL" },
            "goog:chromeOptions": { "args": arguments },
        }}});
        let session = self
            .exchange("POST", "/session", &capabilities)
            .unwrap_or_else(|error| panic!("no browser: {error}; {HOW_TO_INSTALL}"));
        session["sessionId"].as_str().unwrap().to_owned()
    }

    /// One command of the session, such as POST `/url`: its value, or what went wrong.
    pub fn command(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let path = format!("/session/{}{path}", self.session);
        self.exchange(method, &path, body)
    }

    /// A request and its answer, on a connection of its own.
    fn exchange(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        // The driver keeps to PATIENCE itself and then says what it waited for.
        stream.set_read_timeout(Some(PATIENCE * 2)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        let mut answer = body_of(BufReader::new(stream));
        let value = answer["value"].take();
        match value["error"].as_str() {
            // Every error has these two, and no value of ours.
            Some(error) if value["stacktrace"].is_string() => {
                let message = value["message"].as_str().unwrap_or_default();
                Err(format!("{error}: {message}"))
            }
            _ => Ok(value),
        }
    }
}

impl Drop for WebDriver {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
        let _ = self.driver.wait();
    }
}

/// The body of an HTTP answer, after which chromedriver keeps the connection open.
fn body_of(mut answer: impl BufRead) -> Value {
    let mut length = 0;
    for line in answer.by_ref().lines() {
        let line = line.unwrap().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body).unwrap();
    serde_json::from_slice(&body).unwrap()
}

/// Ends the process group `group` and removes `home` as soon as its standard input is closed.
fn watch(group: u32, home: &Path) -> Child {
    let script = r#"
        read -r _
        kill -s KILL -- "-$0"
        # A process may write a last file while it dies.
        until rm -rf "$1"; do sleep 0.1; done
    "#;
    Command::new("sh")
        .args(["-c", script])
        .arg(group.to_string())
        .arg(home)
        // Ctrl-C in a terminal is for the tests; this one follows them.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// The port that chromedriver listens on, once it says so.
fn port_in(output: &mut ChildStdout) -> u16 {
    let mut said = Vec::new();
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if let Some((_, rest)) = line.split_once("started successfully on port ") {
            return rest.trim_end_matches('.').parse().unwrap();
        }
        said.push(line);
    }
    panic!("chromedriver did not start: {}", said.join("\n"));
}
