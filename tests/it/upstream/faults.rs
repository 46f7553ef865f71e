//! Faults on the wire to an upstream, before its answer and in the middle of it, whatever is spoken.
//!
//! | fault | before the answer | in the middle |
//! |---|---|---|
//! | refused | 502 | |
//! | reset, cut, half closed | 502 | broken for the client too |
//! | stalled | 504 | the same, after the patience for it |
//! | delayed | none: it comes | none: it goes on |

use std::io::Read as _;
use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::timeout;

use crate::support::breakable::{Break, Breakable, Target};
use crate::support::grpc::Grpc;
use crate::support::http2::{Http2, piece, read_to_end};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::upstream::Upstream;

const GET: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
const EVENTS: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
const UPGRADE: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const AGREEMENT: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const EVENT_HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
const GRPC: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

/// What stands on each side of a delay.
const MOMENT: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Refused,
    Ended(Break),
    Stalled,
    Delayed,
}

use Fault::{Delayed, Ended, Refused, Stalled};

const ENDS: [Fault; 3] = [
    Ended(Break::Reset),
    Ended(Break::Cut),
    Ended(Break::HalfClose),
];

impl Fault {
    fn begin(self, wire: &Breakable) {
        match self {
            Refused => wire.refuse(),
            Ended(how) => wire.end(how),
            Stalled | Delayed => wire.stall(),
        }
    }
}

/// A server that forwards to `scheme` on that wire, and has no app to wait for.
fn forwarding(scheme: &str, wire: &Breakable) -> Server {
    forwarding_to(&format!("{scheme}{}", wire.address()))
}

fn forwarding_to(server: &str) -> Server {
    Setup::new()
        .database("postgres://localhost:1/none")
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n[tls]\nredirect = false\n\
             [database]\nwait = \"0s\"\n\
             [[upstream]]\nname = \"backend\"\nservers = [\"{server}\"]\n\
             read_timeout = \"1s\"\nstream_timeout = \"1s\"\n\
             [[route]]\npath = \"/\"\nupstream = \"backend\""
        ))
        .start()
}

fn before(upstream: &Upstream) -> Breakable {
    Breakable::before(Target::Tcp(upstream.address.parse().unwrap()))
}

/// Sends `piece` whenever it is told to.
fn piece_by_piece(head: &'static str) -> (Upstream, Sender<&'static str>) {
    let (sender, pieces) = channel::<&'static str>();
    let pieces = Mutex::new(pieces);
    let upstream = Upstream::scripted(move |connection| {
        if connection.request().is_none() {
            return;
        }
        connection.send(head);
        for piece in pieces.lock().unwrap().iter() {
            connection.send(piece);
        }
    });
    (upstream, sender)
}

#[test]
fn before_an_answer_each_fault_has_its_status() {
    for (request, answer, good) in [
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200),
        (EVENTS, EVENT_HEAD, 200),
        (UPGRADE, AGREEMENT, 101),
    ] {
        let faults = [(Refused, 502), (Stalled, 504), (Delayed, good)];
        let ends = ENDS.map(|end| (end, 502));
        for (fault, status) in faults.into_iter().chain(ends) {
            let upstream = Upstream::scripted(move |connection| {
                if connection.request().is_some() && fault == Delayed {
                    connection.send(answer);
                }
                connection.is_closed();
            });
            let wire = before(&upstream);
            let server = forwarding("", &wire);
            let mut raw = Raw::connect(server.http.unwrap());
            match fault {
                Refused | Stalled => {
                    fault.begin(&wire);
                    raw.send(request);
                }
                Ended(_) => {
                    raw.send(request);
                    upstream.request();
                    fault.begin(&wire);
                }
                Delayed => {
                    fault.begin(&wire);
                    raw.send(request);
                    assert!(raw.is_silent_for(MOMENT), "{request}");
                    wire.forward();
                }
            }
            assert_eq!(raw.head().status, status, "{fault:?}: {request}");
        }
    }
}

#[test]
fn a_body_that_breaks_is_broken_for_the_client_too() {
    for request in [GET, EVENTS] {
        for fault in ENDS.into_iter().chain([Stalled, Delayed]) {
            let (upstream, sender) = piece_by_piece(EVENT_HEAD);
            let wire = before(&upstream);
            let server = forwarding("", &wire);
            let mut raw = Raw::connect(server.http.unwrap());
            raw.send(request);
            assert_eq!(raw.head().status, 200);
            sender.send("5\r\nhello\r\n").unwrap();
            assert_eq!(raw.chunk().as_deref(), Some(&b"hello"[..]), "{fault:?}");
            fault.begin(&wire);
            if fault == Delayed {
                sender.send("3\r\nend\r\n0\r\n\r\n").unwrap();
                assert!(raw.is_silent_for(MOMENT));
                wire.forward();
                assert_eq!(raw.chunks().as_deref(), Some(&b"end"[..]), "{request}");
            } else {
                assert_eq!(raw.chunks(), None, "{fault:?}: {request}");
            }
        }
    }
}

#[test]
fn a_websocket_ends_with_its_wire_and_waits_for_a_slow_one() {
    for fault in ENDS.into_iter().chain([Stalled, Delayed]) {
        let upstream = Upstream::scripted(|connection| {
            if connection.request().is_none() {
                return;
            }
            connection.send(AGREEMENT);
            while let Some(bytes) = connection.read(5) {
                connection.send(bytes);
            }
        });
        let wire = before(&upstream);
        let server = forwarding("", &wire);
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(UPGRADE);
        assert_eq!(raw.head().status, 101);
        let mut echoed = [0; 5];
        raw.send("hello");
        raw.0.read_exact(&mut echoed).unwrap();
        fault.begin(&wire);
        if fault == Delayed {
            raw.send("later");
            assert!(raw.is_silent_for(MOMENT));
            wire.forward();
            raw.0.read_exact(&mut echoed).unwrap();
            assert_eq!(&echoed, b"later");
        } else {
            let began = Instant::now();
            assert_eq!(raw.read_to_end(), b"", "{fault:?}");
            assert!(began.elapsed() < PATIENCE / 2, "{fault:?}: it never ended");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_an_answer_each_fault_of_a_grpc_wire_has_its_status() {
    let faults = [(Refused, 502), (Stalled, 504), (Delayed, 200)];
    let ends = ENDS.map(|end| (end, 502));
    for (fault, status) in faults.into_iter().chain(ends) {
        let grpc = Grpc::start();
        let wire = Breakable::before(Target::Tcp(grpc.address));
        let server = forwarding("h2c://", &wire);
        let mut client = Http2::connect(server.https.unwrap()).await;
        if !matches!(fault, Ended(_)) {
            tokio::task::block_in_place(|| fault.begin(&wire));
        }
        let path = if fault == Delayed { "/fail" } else { "/wait" };
        let (mut answer, _) = client.begin("POST", path, &GRPC, true).await;
        match fault {
            Ended(_) => tokio::task::block_in_place(|| {
                grpc.request();
                fault.begin(&wire);
            }),
            Delayed => {
                let early = timeout(MOMENT, &mut answer).await;
                early.expect_err("it is delayed");
                tokio::task::block_in_place(|| wire.forward());
            }
            Refused | Stalled => {}
        }
        let answer = timeout(PATIENCE, answer).await.unwrap().unwrap();
        assert_eq!(answer.status(), status, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grpc_stream_ends_with_its_wire_and_waits_for_a_slow_one() {
    for fault in ENDS.into_iter().chain([Stalled, Delayed]) {
        let grpc = Grpc::start();
        let wire = Breakable::before(Target::Tcp(grpc.address));
        let server = forwarding("h2c://", &wire);
        let mut client = Http2::connect(server.https.unwrap()).await;
        let (answer, mut upload) = client.begin("POST", "/echo", &GRPC, false).await;
        let mut body = answer.await.unwrap().into_body();
        upload.send(b"hello", false).await;
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), "hello");
        tokio::task::block_in_place(|| fault.begin(&wire));
        if fault == Delayed {
            upload.send(b"later", false).await;
            let early = timeout(MOMENT, body.data()).await;
            early.expect_err("it is delayed");
            tokio::task::block_in_place(|| wire.forward());
            assert_eq!(piece(&mut body).await.unwrap().unwrap(), "later");
            upload.0.send_data(Bytes::new(), true).unwrap();
            assert!(piece(&mut body).await.is_none());
            let trailers = body.trailers().await.unwrap().expect("trailers");
            assert_eq!(trailers["grpc-status"], "0");
        } else {
            let read = read_to_end(&mut body).await;
            read.expect_err("never a clean end");
        }
    }
}

/// There is no wire to a socket in a file: it is the server that does it.
#[test]
fn a_unix_socket_has_the_same_faults() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";
    type Script = fn(&mut crate::support::upstream::Connection);
    let faults: [(&str, Script, u16, Option<&str>); 6] = [
        (
            "it closes, and has not read the request (a reset)",
            |_| {},
            502,
            None,
        ),
        (
            "it closes without a word",
            |connection| {
                connection.request();
            },
            502,
            None,
        ),
        (
            "it says nothing",
            |connection| {
                connection.request();
                connection.is_closed();
            },
            504,
            None,
        ),
        (
            "it closes in the middle",
            |connection| {
                connection.request();
                connection.send(HEAD);
                connection.send("hello");
            },
            200,
            None,
        ),
        (
            "it goes silent in the middle",
            |connection| {
                connection.request();
                connection.send(HEAD);
                connection.send("hello");
                connection.is_closed();
            },
            200,
            None,
        ),
        (
            "it takes its time",
            |connection| {
                connection.request();
                std::thread::sleep(MOMENT);
                connection.send(HEAD);
                connection.send("hello");
                std::thread::sleep(MOMENT);
                connection.send("world");
            },
            200,
            Some("helloworld"),
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    for (place, (fault, script, status, whole)) in faults.into_iter().enumerate() {
        let path = directory.path().join(place.to_string());
        let upstream = Upstream::scripted_on(&path, script);
        let server = forwarding_to(&upstream.address);
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(GET);
        let head = raw.head();
        assert_eq!(head.status, status, "{fault}");
        if status != 200 {
            continue;
        }
        assert_eq!(head.header("content-length"), Some("10"), "{fault}");
        let mut body = [0; 10];
        if let Some(whole) = whole {
            raw.0.read_exact(&mut body).unwrap();
            assert_eq!(body, whole.as_bytes(), "{fault}");
        } else {
            let began = Instant::now();
            assert_eq!(raw.read_to_end(), b"hello", "{fault}");
            assert!(began.elapsed() < PATIENCE / 2, "{fault}: it never ended");
        }
    }
    // Nobody listens where somebody did.
    let path = directory.path().join("left");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let server = forwarding_to(&format!("unix:{}", path.display()));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(GET);
    assert_eq!(raw.head().status, 502);
}
