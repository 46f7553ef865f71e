//! An upstream that says what a test wants, path by path, and remembers what it was asked.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex};

use axum::Router;

use crate::support::edge::Edge;
use crate::support::server::PATIENCE;
use crate::support::upstream::{Connection, Upstream};

/// The upstream. What was not told what to say says 404.
pub struct Origin {
    /// Its `[[upstream]]`.
    table: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    answers: Mutex<HashMap<String, VecDeque<Answer>>>,
    heads: Mutex<Vec<String>>,
    asked: Condvar,
}

/// One answer.
#[derive(Clone)]
pub struct Answer {
    bytes: Vec<u8>,
    gate: Option<Gate>,
    closes: bool,
}

/// Holds answers back until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Answer {
    /// `head` is the status and lines of headers, such as `200\r\nX: y`; the length is added.
    pub fn new(head: &str, body: &str) -> Self {
        let (status, fields) = head.split_once("\r\n").unwrap_or((head, ""));
        let fields = if fields.is_empty() {
            String::new()
        } else {
            format!("{fields}\r\n")
        };
        let length = if status == "304" {
            String::new()
        } else {
            format!("Content-Length: {}\r\n", body.len())
        };
        Self::raw(format!("HTTP/1.1 {status} X\r\n{fields}{length}\r\n{body}"))
    }

    /// These bytes.
    pub fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            gate: None,
            closes: false,
        }
    }

    /// The same, once `gate` is open.
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.gate = Some(gate.clone());
        self
    }

    /// The same, and the end of the connection.
    pub fn and_close(mut self) -> Self {
        self.closes = true;
        self
    }
}

impl Gate {
    /// Lets all through, now and later.
    pub fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    /// Waits until it is open.
    pub fn pass(&self) {
        let closed = self.0.0.lock().unwrap();
        let passed = self.0.1.wait_timeout_while(closed, PATIENCE, |open| !*open);
        assert!(!passed.unwrap().1.timed_out(), "nobody opens the gate");
    }
}

impl Origin {
    pub fn start() -> Self {
        let state = Arc::new(State::default());
        let script = state.clone();
        let upstream = Upstream::scripted(move |connection| script.converse(connection));
        let table = upstream.table("");
        Self { table, state }
    }

    /// Has it say these to `path`, one after the other, and the last of them from then on.
    pub fn say(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut all = self.state.answers.lock().unwrap();
        all.insert(path.to_owned(), answers.into_iter().collect());
    }

    /// The heads of the requests for `path` so far.
    pub fn asked(&self, path: &str) -> Vec<String> {
        let heads = self.state.heads.lock().unwrap();
        let heads = heads.iter().filter(|head| path_of(head) == path);
        heads.cloned().collect()
    }

    /// Waits for the request number `count` for `path`, and returns their heads.
    pub fn wait_for(&self, path: &str, count: usize) -> Vec<String> {
        let heads = self.state.heads.lock().unwrap();
        let is_early = |heads: &mut Vec<String>| {
            heads.iter().filter(|head| path_of(head) == path).count() < count
        };
        let waited = self
            .state
            .asked
            .wait_timeout_while(heads, PATIENCE, is_early);
        let (heads, timeout) = waited.unwrap();
        assert!(!timeout.timed_out(), "{path} was not asked {count} times");
        let heads = heads.iter().filter(|head| path_of(head) == path);
        heads.cloned().collect()
    }

    /// An edge with the routes `/c/` (a cache with nothing of its own), `/t/` (`ttl = "1m"`) and `/i/`
    /// (the same, cookies ignored) to it, and further keys of `[server]` and tables.
    pub fn edge(&self, server: &str, tables: &str) -> Edge {
        let route = |path: &str, cache: &str| {
            format!("[[route]]\npath = \"{path}\"\nupstream = \"backend\"\ncache = {{ {cache} }}\n")
        };
        let tables = [
            self.table.clone(),
            route("/c/", ""),
            route("/t/", "ttl = \"1m\", max_size = \"4KiB\""),
            route("/i/", "ttl = \"1m\", ignore_cookies = true"),
            tables.to_owned(),
        ];
        Edge::with_server(server, &tables.concat(), Router::new())
    }
}

impl State {
    fn converse(&self, connection: &mut Connection) {
        while let Some(head) = connection.head() {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("Content-Length: "));
            let body = length.map(|length| connection.read(length.parse().unwrap()));
            assert!(body.is_none_or(|body| body.is_some()), "half a body");
            let answer = self.answer(path_of(&head));
            self.heads.lock().unwrap().push(head);
            self.asked.notify_all();
            if let Some(gate) = &answer.gate {
                gate.pass();
            }
            if !connection.send(&answer.bytes) || answer.closes {
                return;
            }
        }
    }

    fn answer(&self, path: &str) -> Answer {
        let mut all = self.answers.lock().unwrap();
        match all.get_mut(path) {
            Some(answers) if answers.len() > 1 => answers.pop_front().unwrap(),
            Some(answers) => answers[0].clone(),
            None => Answer::new("404", "nobody"),
        }
    }
}

fn path_of(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}
