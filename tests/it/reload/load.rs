//! Not one request is lost, and none gets half of each configuration.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{get, says, site};
use crate::support::http2::{Http2, read_to_end};
use crate::support::raw::Raw;
use crate::support::upstream::Upstream;

const RELOADS: usize = 20;
const OLD: &str = "of the old configuration";
const NEW: &str = "of the new configuration";

/// What clients have seen.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    old: AtomicUsize,
    new: AtomicUsize,
    failures: std::sync::Mutex<Vec<String>>,
}

impl Seen {
    /// Notes an answer: its status, header and body belong to one of the configurations, and together.
    fn note(&self, path: &str, status: u16, header: Option<&str>, body: &[u8]) {
        let expected = |word: &str| match path {
            "/said" => body == word.as_bytes() && status == 200,
            // Only the new configuration has it.
            "/only-new" if word == OLD => status == 404,
            _ => status == 200,
        };
        let count = match header {
            Some(OLD) if expected(OLD) => &self.old,
            Some(NEW) if expected(NEW) => &self.new,
            _ => {
                let body = String::from_utf8_lossy(body);
                return self.fail(format!("{path}: {status}, {header:?}, {body}"));
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn fail(&self, what: String) {
        self.failures.lock().unwrap().push(what);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

const PATHS: [&str; 4] = ["/said", "/index.html", "/up", "/only-new"];

/// Asks on one connection, which has to live until the end.
fn ask_http1(address: SocketAddr, seen: &Seen) {
    let mut connection = Raw::connect(address);
    for path in PATHS.iter().cycle() {
        if seen.is_over() {
            return;
        }
        let answer = get(&mut connection, path);
        let header = answer.header("x-configuration");
        seen.note(path, answer.status, header, &answer.body);
        if answer.status == 0 || answer.header("connection") == Some("close") {
            return seen.fail(format!("the connection has ended: {}", answer.head));
        }
    }
}

async fn ask_http2(address: SocketAddr, seen: Arc<Seen>) {
    let mut connection = Http2::connect(address).await;
    for path in PATHS.iter().cycle() {
        if seen.is_over() {
            return;
        }
        let (head, mut body) = match connection.try_get(path, &[]).await {
            Ok(answer) => answer.into_parts(),
            Err(error) => return seen.fail(format!("{path}: {error}")),
        };
        let body = match read_to_end(&mut body).await {
            Ok(body) => body,
            Err(error) => return seen.fail(format!("{path}: {error}")),
        };
        let header = head.headers.get("x-configuration");
        let header = header.map(|value| value.to_str().unwrap());
        seen.note(path, head.status.as_u16(), header, &body);
    }
}

/// Asks on a new connection each time.
fn ask_anew(address: SocketAddr, seen: &Seen) {
    for path in PATHS.iter().cycle() {
        if seen.is_over() {
            return;
        }
        let answer = get(&mut Raw::connect(address), path);
        let header = answer.header("x-configuration");
        seen.note(path, answer.status, header, &answer.body);
    }
}

#[test]
fn no_request_is_lost_while_routes_change() {
    let upstream = Upstream::saying("up");
    let old = format!(
        "{}[[route]]\npath = \"/up\"\nupstream = \"backend\"\n[[route]]\npath = \"/\"\nfiles = \"public\"\n",
        says("/said", OLD)
    );
    let new = format!("{}{}", old.replace(OLD, NEW), says("/only-new", NEW));
    let tables = |word: &str, routes: &str| {
        let upstream = upstream.table("");
        format!("{upstream}[headers]\n\"X-Configuration\" = \"{word}\"\n{routes}")
    };
    let server = site("", &tables(OLD, &old));
    let text = std::fs::read_to_string(server.path("config.toml")).unwrap();
    let start = text.find("[[upstream]]").unwrap();
    let texts = [
        text.clone(),
        format!("{}{}", &text[..start], tables(NEW, &new)),
    ];

    let seen = Arc::new(Seen::default());
    let (http, https) = (server.http.unwrap(), server.https.unwrap());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut clients = Vec::new();
    for client in 0..3 {
        let seen = seen.clone();
        clients.push(thread::spawn(move || match client {
            0 => ask_anew(http, &seen),
            _ => ask_http1(http, &seen),
        }));
    }
    let streams: Vec<_> = (0..2)
        .map(|_| runtime.spawn(ask_http2(https, seen.clone())))
        .collect();
    let count = || seen.old.load(Ordering::Relaxed) + seen.new.load(Ordering::Relaxed);
    for reload in 1..=RELOADS {
        // Every configuration is asked something.
        let before = count();
        while count() < before + 20 && seen.failures.lock().unwrap().is_empty() {
            thread::sleep(Duration::from_millis(1));
        }
        std::fs::write(server.path("config.toml"), &texts[reload % 2]).unwrap();
        server.reload();
        let answer = server.get("/said");
        let expected = [OLD, NEW][reload % 2];
        assert_eq!(answer.text(), expected, "in force when the command ends");
    }
    seen.is_over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    for stream in streams {
        runtime.block_on(stream).unwrap();
    }
    let failures = seen.failures.lock().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} failed: {failures:#?}",
        failures.len(),
        count()
    );
    for answers in [&seen.old, &seen.new] {
        assert!(answers.load(Ordering::Relaxed) >= 20 * (RELOADS / 2 - 1));
    }
    let history = &server.status()["configuration"];
    assert_eq!(
        (&history["reloads"], &history["failed"]),
        (&20.into(), &0.into())
    );
}
