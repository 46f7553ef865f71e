//! What every kind of connection sees when the server stops: whoever waits for nothing is let go at once,
//! whoever waits for something has until `server.drain` is over, and nobody holds the process up longer.

use std::future::pending;
use std::io::{Read, Write};
use std::sync::mpsc;
use std::thread::{JoinHandle, sleep, spawn};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use nix::sys::signal::Signal;
use tokio::runtime::Runtime;

use crate::http2::{self, Client};
use crate::support::edge::Edge;
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::upstream::Upstream;

const DRAIN: Duration = Duration::from_secs(4);
/// What the end of the process may take after that, on a busy machine.
const EXIT: Duration = Duration::from_secs(5);
/// The end of a connection that waits for nothing: clearly before the drain is over.
const AT_ONCE: Duration = Duration::from_millis(2500);
const LARGE: usize = 64 * 1024 * 1024;

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREEMENT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// What a client sees after the signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sees {
    /// The end, at once, and nothing before it.
    TheEndAtOnce,
    /// The answer it waited for, and then the end.
    ItsAnswer,
    /// The end when time is over, and not all that it waited for.
    TheEndInTime,
}

/// A client that is in the middle of something; it goes on until its connection has ended.
type Held = JoinHandle<Saw>;

/// What one client saw.
struct Saw {
    /// When the connection ended.
    ended: Instant,
    /// What came after the signal.
    bytes: Vec<u8>,
}

impl Saw {
    fn now(bytes: Vec<u8>) -> Self {
        Self {
            ended: Instant::now(),
            bytes,
        }
    }
}

/// Reads to the end.
fn listen(mut raw: Raw) -> Held {
    spawn(move || Saw::now(raw.read_to_end()))
}

fn plain(server: &Server) -> Raw {
    Raw::connect(server.http.unwrap())
}

fn kept_alive(mut raw: Raw) -> Held {
    assert_eq!(raw.send(GET).answer().status, 200);
    listen(raw)
}

fn sent(mut raw: Raw, bytes: &[u8]) -> Held {
    raw.send(bytes);
    listen(raw)
}

/// A request whose handler waits for so many bytes.
fn begin_post(server: &Server, length: usize) -> Raw {
    let mut raw = plain(server);
    raw.send(format!(
        "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    ));
    assert_eq!(raw.head().status, 100);
    raw
}

fn finished_in_time(server: &Server) -> Held {
    let mut raw = begin_post(server, 2);
    raw.send("[");
    spawn(move || {
        sleep(DRAIN / 2);
        Saw::now(raw.send("]").read_to_end())
    })
}

/// A byte every now and then, for as long as they are taken.
fn slow_upload(server: &Server) -> Held {
    let mut raw = begin_post(server, 100_000);
    spawn(move || {
        while raw.0.write_all(b" ").is_ok() {
            sleep(Duration::from_millis(50));
        }
        Saw::now(raw.read_to_end())
    })
}

/// A piece every now and then until the server has gone, and then what the kernel holds.
fn slow_download(server: &Server) -> Held {
    let mut raw = plain(server);
    raw.send("GET /files/large HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().status, 200);
    spawn(move || {
        let begin = Instant::now();
        let (mut bytes, mut piece) = (Vec::new(), [0; 1024]);
        while begin.elapsed() < DRAIN + Duration::from_secs(1) {
            match raw.0.read(&mut piece) {
                Ok(1..) => bytes.extend_from_slice(&piece),
                _ => break,
            }
            sleep(Duration::from_millis(20));
        }
        bytes.extend(raw.read_to_end());
        Saw::now(bytes)
    })
}

fn events(server: &Server) -> Held {
    let mut raw = plain(server);
    raw.send("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().status, 200);
    assert_eq!(raw.chunk().unwrap(), b"data: 1\n\n");
    listen(raw)
}

fn websocket(server: &Server) -> Held {
    let mut raw = plain(server);
    assert_eq!(raw.send(UPGRADE).head().status, 101);
    raw.send("hello");
    let mut echoed = [0; 5];
    raw.0.read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"hello");
    listen(raw)
}

/// A connection with an answered request on it, and one that is not, if `busy`.
fn over_http2(server: &Server, busy: bool) -> Held {
    let runtime = Runtime::new().unwrap();
    let (client, upload) = runtime.block_on(async {
        let mut client = Client::connect(server).await;
        assert_eq!(client.get("/healthz").await.status, 200);
        let upload = if busy {
            let mut upload = client.post().await;
            upload.send("[", false);
            Some(upload)
        } else {
            None
        };
        (client, upload)
    });
    spawn(move || {
        // An end in order (GOAWAY) or a broken one: the table is about when.
        let _ = runtime.block_on(client.end());
        drop(upload);
        Saw::now(Vec::new())
    })
}

fn silent_http2(server: &Server) -> Held {
    let runtime = Runtime::new().unwrap();
    let mut silent = runtime.block_on(http2::connect_silent(server));
    spawn(move || {
        runtime.block_on(silent.until_end());
        Saw::now(Vec::new())
    })
}

/// Never ends `/events`, echoes on `/chat`.
fn upstream() -> Upstream {
    Upstream::scripted(|connection| {
        let Some(head) = connection.head() else {
            return;
        };
        if head.starts_with("GET /events") {
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
                 Transfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n",
            );
        } else {
            connection.send(AGREEMENT);
            while let Some(bytes) = connection.read(5) {
                connection.send(bytes);
            }
        }
        connection.is_closed();
    })
}

fn server(upstream: &Upstream, keys: &str) -> Server {
    let setup = Setup::new().admin();
    let files = setup.directory().join("files");
    std::fs::create_dir(&files).unwrap();
    let large = std::fs::File::create(files.join("large")).unwrap();
    large.set_len(LARGE as u64).unwrap();
    setup
        .database("postgres://nobody@127.0.0.1:1/none")
        .server(&format!("drain = \"{}s\"\n{keys}", DRAIN.as_secs()))
        .config(&format!(
            r#"
            [tls]
            redirect = false
            [database]
            wait = "1ms"
            {}
            [[route]]
            path = "/"
            app = true
            [[route]]
            path = "/files/"
            files = "files"
            [[route]]
            path = "=/events"
            upstream = "backend"
            [[route]]
            path = "=/chat"
            upstream = "backend"
            "#,
            upstream.table("")
        ))
        .start()
}

#[test]
fn everyone_is_let_go_when_they_wait_for_nothing_and_at_the_latest_when_time_is_over() {
    type Open = fn(&Server) -> Held;
    let table: &[(&str, Open, Sees)] = &[
        (
            "nothing sent yet",
            |server| listen(plain(server)),
            Sees::TheEndAtOnce,
        ),
        (
            "HTTP/1.1, kept alive",
            |server| kept_alive(plain(server)),
            Sees::TheEndAtOnce,
        ),
        (
            "TLS, no handshake yet",
            |server| listen(Raw::connect(server.https.unwrap())),
            Sees::TheEndAtOnce,
        ),
        (
            "TLS, half a handshake",
            |server| sent(Raw::connect(server.https.unwrap()), b"\x16\x03\x01\x02\x00"),
            Sees::TheEndAtOnce,
        ),
        ("HTTP/2, no preface yet", silent_http2, Sees::TheEndAtOnce),
        (
            "HTTP/2, idle",
            |server| over_http2(server, false),
            Sees::TheEndAtOnce,
        ),
        (
            "admin, kept alive",
            |server| {
                let mut raw = Raw::connect(server.admin.unwrap());
                raw.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
                assert_eq!(raw.answer().status, 404);
                listen(raw)
            },
            Sees::TheEndAtOnce,
        ),
        (
            "admin, half a head",
            |server| sent(Raw::connect(server.admin.unwrap()), b"GET /metrics HT"),
            Sees::TheEndAtOnce,
        ),
        (
            "a body that ends in time",
            finished_in_time,
            Sees::ItsAnswer,
        ),
        (
            "half a head",
            |server| sent(plain(server), b"GET / HT"),
            Sees::TheEndInTime,
        ),
        (
            "half a body",
            |server| sent(begin_post(server, 2), b"["),
            Sees::TheEndInTime,
        ),
        ("a slow upload", slow_upload, Sees::TheEndInTime),
        ("a slow download", slow_download, Sees::TheEndInTime),
        ("events, not asked for as such", events, Sees::TheEndInTime),
        ("a WebSocket without frames", websocket, Sees::TheEndInTime),
        (
            "HTTP/2, half a body",
            |server| over_http2(server, true),
            Sees::TheEndInTime,
        ),
    ];
    let upstream = upstream();
    let mut server = server(&upstream, "");
    let held: Vec<_> = table.iter().map(|(_, open, _)| open(&server)).collect();

    let signalled = Instant::now();
    server.signal(Signal::SIGTERM);
    let status = server.wait();
    let took = signalled.elapsed();
    assert_eq!(status.code(), Some(0));
    assert!(took < DRAIN + EXIT, "{took:?}");
    assert!(took >= DRAIN, "somebody was waiting: {took:?}");
    for ((name, _, expected), held) in table.iter().zip(held) {
        let saw = held.join().unwrap();
        let after = saw.ended.duration_since(signalled);
        match expected {
            Sees::TheEndAtOnce => {
                assert!(after < AT_ONCE, "{name}: {after:?}");
                assert_eq!(saw.bytes, b"", "{name}");
            }
            Sees::ItsAnswer => {
                let text = String::from_utf8(saw.bytes).unwrap().to_lowercase();
                assert!(text.contains("connection: close"), "{name}: {text}");
                assert!(text.starts_with("http/1.1 422"), "{name}: {text}");
                assert!(after < DRAIN, "{name}: {after:?}");
            }
            Sees::TheEndInTime => {
                assert!(saw.bytes.len() < LARGE, "{name}");
                assert!(!saw.bytes.ends_with(b"0\r\n\r\n"), "{name}: a clean end");
            }
        }
    }
    let log = server.log();
    assert!(log.contains("server.drain is over"), "{log}");
}

#[test]
fn whoever_is_still_there_is_cut_when_time_is_over_and_not_when_the_process_ends() {
    let (begins, begun) = mpsc::channel();
    let never = move || {
        begins.send(()).unwrap();
        pending::<()>()
    };
    let mut edge = Edge::serve(Router::new().route("/", get(never)));
    let mut client = Raw::connect(edge.http);
    client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    begun.recv_timeout(PATIENCE).unwrap();
    assert_eq!(edge.stop(Duration::from_millis(100)), 1);
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn whoever_has_not_said_whom_it_speaks_for_is_let_go_at_once() {
    let upstream = upstream();
    let keys = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";
    let mut server = server(&upstream, keys);
    let table: [(&str, &[u8]); 3] = [
        ("nothing yet", b""),
        ("half a line", b"PROXY TCP4 203.0.113.9"),
        ("half a binary header", b"\r\n\r\n\0\r\nQUIT\n\x21\x11"),
    ];
    let held = table.map(|(_, bytes)| sent(plain(&server), bytes));
    let signalled = Instant::now();
    server.signal(Signal::SIGTERM);
    assert!(server.wait().success());
    assert!(signalled.elapsed() < AT_ONCE, "{:?}", signalled.elapsed());
    for ((name, _), held) in table.iter().zip(held) {
        assert_eq!(held.join().unwrap().bytes, b"", "{name}");
    }
}
