//! Event streams end between two events, in order, and are taken up by the next process.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{How, setup};
use crate::support::grpc::Grpc;
use crate::support::http2::{Http2, piece};
use crate::support::raw::Raw;
use crate::support::server::PATIENCE;
use crate::support::tls_front::Authority;
use crate::support::upstream::{Connection, Upstream};

const HEAD: &str =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
/// Between two halves of an event.
const PACE: Duration = Duration::from_millis(3);

fn ask(last: u64) -> String {
    format!(
        "GET /events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\
         Last-Event-ID: {last}\r\n\r\n"
    )
}

fn chunk(connection: &mut Connection, text: &str) -> bool {
    connection.send(format!("{:x}\r\n{text}\r\n", text.len()))
}

/// Sends numbered events in halves, beginning after the `Last-Event-ID`, for as long as they are taken.
fn numbered() -> Upstream {
    Upstream::scripted(|connection| {
        let Some(head) = connection.head() else {
            return;
        };
        let head = head.to_lowercase();
        let last = head.split("last-event-id: ").nth(1).unwrap();
        let last: u64 = last.lines().next().unwrap().parse().unwrap();
        let mut is_taken = connection.send(HEAD);
        for number in last + 1.. {
            is_taken &= chunk(connection, &format!("id: {number}\nda"));
            thread::sleep(PACE);
            is_taken &= chunk(connection, &format!("ta: {number}\n\n: for the next one\n"));
            thread::sleep(PACE);
            if !is_taken {
                return;
            }
        }
    })
}

/// An event each, and then nothing more.
fn idle() -> Upstream {
    Upstream::scripted(|connection| {
        if connection.head().is_some() {
            connection.send(HEAD);
            chunk(connection, "id: 1\ndata: 1\n\n");
            connection.is_closed();
        }
    })
}

/// What a client has got over all its connections.
#[derive(Default)]
struct Got {
    ids: Vec<u64>,
    connections: usize,
}

impl Got {
    fn last(&self) -> u64 {
        self.ids.last().copied().unwrap_or(0)
    }

    /// A whole stream, as it came until its end.
    fn take(&mut self, stream: &str) {
        self.connections += 1;
        assert!(
            stream.is_empty()
                || stream.ends_with("\n\n")
                || stream.ends_with(": for the next one\n"),
            "cut in the middle of an event: {stream:?}"
        );
        for line in stream.lines() {
            if let Some(id) = line.strip_prefix("id: ") {
                self.ids.push(id.parse().unwrap());
            }
        }
    }

    fn assert_complete(&self, connections: usize) {
        let expected: Vec<_> = (1..=self.last()).collect();
        assert_eq!(self.ids, expected, "each once, in order");
        assert!(self.ids.len() > connections, "there were events");
        assert_eq!(self.connections, connections, "one for each process");
    }
}

/// Takes streams until one ends after `over`.
fn listen_http1(address: SocketAddr, over: &AtomicBool, begun: &Sender<()>) -> Got {
    let mut got = Got::default();
    while !over.load(Ordering::Relaxed) {
        let mut raw = Raw::connect(address);
        raw.send(ask(got.last()));
        assert_eq!(raw.head().status, 200);
        let mut stream = raw.chunk().expect("a first event");
        begun.send(()).unwrap();
        stream.extend(raw.chunks().expect("an end in order"));
        got.take(std::str::from_utf8(&stream).unwrap());
    }
    got
}

/// The same over HTTP/2.
async fn listen_http2(address: SocketAddr, over: &AtomicBool, begun: &Sender<()>) -> Got {
    let mut got = Got::default();
    while !over.load(Ordering::Relaxed) {
        let mut client = Http2::connect(address).await;
        let last = got.last().to_string();
        let headers = [("accept", "text/event-stream"), ("last-event-id", &last)];
        let mut body = client.get("/events", &headers).await.into_body();
        let mut stream = Vec::new();
        while let Some(bytes) = piece(&mut body).await {
            if stream.is_empty() {
                begun.send(()).unwrap();
            }
            stream.extend(bytes.expect("an end in order"));
        }
        got.take(std::str::from_utf8(&stream).unwrap());
    }
    got
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_event_is_lost_or_halved_from_one_process_to_the_next() {
    const UPGRADES: usize = 3;
    let upstream = numbered();
    let mut server = setup(&upstream.table("")).start();
    let (http, https) = (server.http.unwrap(), server.https.unwrap());
    let over = Arc::new(AtomicBool::new(false));
    let (begun, has_begun) = channel();
    let over_http1 = {
        let (over, begun) = (over.clone(), begun.clone());
        tokio::task::spawn_blocking(move || listen_http1(http, &over, &begun))
    };
    let over_http2 = {
        let over = over.clone();
        tokio::spawn(async move { listen_http2(https, &over, &begun).await })
    };
    tokio::task::block_in_place(|| {
        for number in 0..=UPGRADES {
            for _ in 0..2 {
                has_begun.recv_timeout(PATIENCE).expect("a stream each");
            }
            if number == UPGRADES {
                over.store(true, Ordering::Relaxed);
                How::Sigterm.end(&mut server).assert_in_order(&mut server);
            } else {
                How::Upgrade.end(&mut server).assert_in_order(&mut server);
            }
        }
    });
    over_http1.await.unwrap().assert_complete(UPGRADES + 1);
    over_http2.await.unwrap().assert_complete(UPGRADES + 1);
}

/// Nothing that comes from the upstream can be what ends them.
#[tokio::test(flavor = "multi_thread")]
async fn silent_streams_end_at_once_whatever_the_upstream_speaks() {
    let authority = Authority::new();
    let idle = idle();
    let target = idle.address.parse().unwrap();
    let grpc = Grpc::start();
    let [http1, http2] = [("http/1.1", target), ("h2", grpc.address)]
        .map(|(alpn, target)| authority.front(&["127.0.0.1"], &[alpn], target).address);
    for server in [
        format!("http://{target}"),
        format!("https://{http1}"),
        format!("h2c://{}", grpc.address),
        format!("h2://{http2}"),
    ] {
        let setup = setup(&format!(
            "[[upstream]]\nname = \"backend\"\nservers = [\"{server}\"]\n{}",
            if server.contains("s://") || server.starts_with("h2:") {
                "ca_file = \"ca.pem\"\n"
            } else {
                ""
            }
        ));
        authority.write(&setup.directory().join("ca.pem"));
        let mut running = setup.start();
        let mut raw = Raw::connect(running.http.unwrap());
        raw.send(ask(0));
        assert_eq!(raw.head().status, 200, "{server}");
        assert_eq!(raw.chunk().unwrap(), b"id: 1\ndata: 1\n\n", "{server}");
        let mut client = Http2::connect(running.https.unwrap()).await;
        let accept = [("accept", "text/event-stream"), ("last-event-id", "0")];
        let mut body = client.get("/events", &accept).await.into_body();
        assert_eq!(
            piece(&mut body).await.unwrap().unwrap(),
            "id: 1\ndata: 1\n\n"
        );

        let ending = How::Sigterm.end(&mut running);
        assert_eq!(raw.chunk().as_deref(), Some([].as_slice()), "{server}");
        assert!(piece(&mut body).await.is_none(), "{server}: END_STREAM");
        ending.assert_in_order(&mut running);
        let log = running.log();
        let lines = log.lines().filter(|line| line.contains("GET /events"));
        for line in lines {
            assert!(line.contains("\" 200 15 "), "{server}: {line}");
        }
    }
}

#[test]
fn an_event_that_has_begun_comes_to_its_end() {
    let (sender, pieces) = channel::<&str>();
    let pieces = Mutex::new(pieces);
    let upstream = Upstream::scripted(move |connection| {
        if connection.head().is_some_and(|head| head.contains("/idle")) {
            connection.send(HEAD);
            chunk(connection, ": nothing yet\n");
            connection.is_closed();
            return;
        }
        connection.send(HEAD);
        for piece in pieces.lock().unwrap().iter() {
            chunk(connection, piece);
        }
        connection.is_closed();
    });
    let mut server = setup(&upstream.table("")).start();
    let mut idle = Raw::connect(server.http.unwrap());
    idle.send(ask(0).replace("/events", "/idle"));
    assert_eq!(idle.head().status, 200);
    assert_eq!(idle.chunk().unwrap(), b": nothing yet\n");
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(ask(0));
    sender.send("id: 1\ndata: he").unwrap();
    assert_eq!(raw.head().status, 200);
    assert_eq!(raw.chunk().unwrap(), b"id: 1\ndata: he");

    let ending = How::Sigterm.end(&mut server);
    // By then everybody has been told who could be.
    assert_eq!(idle.chunk().as_deref(), Some([].as_slice()));
    sender.send("llo\n").unwrap();
    assert_eq!(raw.chunk().unwrap(), b"llo\n");
    // Its turn may be a millisecond after the other's, and then it goes on to the next end of an event.
    let next = "\n\nid: 2\ndata: an";
    loop {
        sender.send(next).unwrap();
        let piece = raw.chunk().unwrap();
        if piece != next.as_bytes() {
            assert_eq!(piece, b"\n\n", "the end of the event, and no more");
            break;
        }
    }
    assert_eq!(raw.chunk().as_deref(), Some([].as_slice()), "the end");
    drop(sender);
    ending.assert_in_order(&mut server);
}
