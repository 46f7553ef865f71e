//! `kill -9` in the middle of concurrent writes: what was acknowledged is there once, what was not
//! is there once or not at all.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::http;
use crate::support::server::{PATIENCE, Server, Setup};

const WRITERS: usize = 8;
/// Acknowledged notes after which the server is killed.
const ENOUGH: usize = 200;

#[tokio::test]
async fn acknowledged_notes_survive_a_killed_server() {
    let mut server = Setup::new().plain().start();
    let written = write_until_killed(&mut server, || {});
    assert_each_is_there_once(&server.restart(), &written).await;
}

#[tokio::test]
async fn acknowledged_notes_survive_when_the_embedded_database_is_orphaned() {
    let mut server = Setup::new().plain().embedded().start();
    let written = write_until_killed(&mut server, || {});
    let mut server = server.restart();
    server.line_with("taking over the running PostgreSQL");
    assert_each_is_there_once(&server, &written).await;
}

#[tokio::test]
async fn acknowledged_notes_survive_when_the_embedded_database_is_killed_too() {
    let mut server = Setup::new().plain().embedded().start();
    let postmaster = postmaster(&server);
    let written = write_until_killed(&mut server, || kill(postmaster, Signal::SIGKILL).unwrap());
    assert_each_is_there_once(&server.restart(), &written).await;
}

/// The titles that writers have sent, and whether each was acknowledged.
type Written = HashMap<String, bool>;

/// Lets writers write until enough notes are acknowledged, then kills the server under them.
fn write_until_killed(server: &mut Server, kill_more: impl FnOnce()) -> Written {
    let address = server.http.unwrap();
    let acknowledged = AtomicUsize::new(0);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let acknowledged = &acknowledged;
                scope.spawn(move || write(address, writer, acknowledged))
            })
            .collect();
        while acknowledged.load(Ordering::Relaxed) < ENOUGH {
            assert!(!writers.iter().any(thread::ScopedJoinHandle::is_finished));
            thread::yield_now();
        }
        server.signal(Signal::SIGKILL);
        kill_more();
        server.wait();
        let written: Written = writers
            .into_iter()
            .flat_map(|writer| writer.join().unwrap())
            .collect();
        assert!(
            written.values().any(|acknowledged| !acknowledged),
            "it was killed in the middle"
        );
        written
    })
}

/// Posts one note after the other over one connection, each once, until that breaks.
fn write(address: SocketAddr, writer: usize, acknowledged: &AtomicUsize) -> Vec<(String, bool)> {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answers = BufReader::new(connection.try_clone().unwrap());
    let mut written = Vec::new();
    for number in 0.. {
        let title = format!("writer {writer} note {number}");
        let document = format!("{{\"title\":\"{title}\"}}");
        let request = format!(
            "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{document}",
            document.len()
        );
        let answer = connection
            .write_all(request.as_bytes())
            .ok()
            .and_then(|()| status_of_answer(&mut answers));
        written.push((title, answer == Some(201)));
        match answer {
            Some(201) => acknowledged.fetch_add(1, Ordering::Relaxed),
            // A server that loses its database before it is killed itself says so.
            Some(503) | None => break,
            Some(other) => panic!("answered {other}"),
        };
    }
    written
}

/// Reads one answer; `None` when the connection ends before its head has.
fn status_of_answer(answers: &mut impl BufRead) -> Option<u16> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if answers.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1)?.lines().next()?;
    // The note was acknowledged with the head, whether or not the rest still comes.
    let _ = answers
        .take(length.parse().unwrap())
        .read_to_end(&mut Vec::new());
    head.split(' ').nth(1)?.parse().ok()
}

async fn assert_each_is_there_once(server: &Server, written: &Written) {
    let mut found: HashMap<String, usize> = HashMap::new();
    let client = http::client();
    let mut path = "/api/notes?limit=200".to_owned();
    loop {
        let page = client.get(server.plain_url(&path)).send().await.unwrap();
        assert_eq!(page.status(), 200);
        let next = page.headers().get("link").map(|link| {
            let link = link.to_str().unwrap();
            link[1..link.find('>').unwrap()].to_owned()
        });
        for note in page.json::<Vec<Value>>().await.unwrap() {
            *found
                .entry(note["title"].as_str().unwrap().to_owned())
                .or_default() += 1;
        }
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    for (title, is_acknowledged) in written {
        let times = found.remove(title).unwrap_or_default();
        if *is_acknowledged {
            assert_eq!(times, 1, "{title} was acknowledged");
        } else {
            assert!(times <= 1, "{title} is there {times} times");
        }
    }
    assert!(found.is_empty(), "never written: {found:?}");
}

fn postmaster(server: &Server) -> Pid {
    let file = std::fs::read_to_string(server.path("data/postgres/postmaster.pid")).unwrap();
    Pid::from_raw(file.lines().next().unwrap().parse().unwrap())
}
