//! The disk is full: nobody waits for it, what was there stays in use, and room is all that is needed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;
use time::Duration as Span;

use crate::support::api::Api;
use crate::support::clock::Clock;
use crate::support::disk::Disk;
use crate::support::process;
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};

/// A server whose output goes to a file.
struct Logging(Child);

impl Logging {
    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.0.id()).unwrap())
    }
}

impl Drop for Logging {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < PATIENCE, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn contains(log: &Path, text: &str) -> bool {
    count(log, text) > 0
}

fn count(log: &Path, text: &str) -> usize {
    std::fs::read_to_string(log).unwrap().matches(text).count()
}

/// What `unibody status --json` says of lines that were lost.
fn lost(server: &Server) -> serde_json::Value {
    let asked = server.ask(&["status", "--json"]);
    let status: serde_json::Value = serde_json::from_slice(&asked.stdout).unwrap();
    status["log"].clone()
}

/// How many are told of at the admin listener.
fn lost_by_metrics(server: &Server, reason: &str) -> u64 {
    let mut client = Raw::connect(server.admin.unwrap());
    client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let text = String::from_utf8(client.last_answer().body).unwrap();
    let sample = format!("unibody_log_lines_lost_total{{reason=\"{reason}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&sample));
    line.unwrap().parse().unwrap()
}

#[test]
fn nobody_waits_for_log_lines_that_cannot_be_written() {
    let mut server = Setup::new().plain().admin().own_ports().start();
    server.stop();
    let log = server.path("log");
    // A signal that is ignored stays ignored; by default this one ends the process.
    let mut command = server.command_through("sh", &["-c", "trap '' XFSZ; exec \"$0\" \"$@\""]);
    command.stdout(File::create(&log).unwrap());
    let running = Logging(command.spawn().unwrap());
    let address = server.http.unwrap();
    until("it serves", || contains(&log, " ready "));

    let size = std::fs::metadata(&log).unwrap().len();
    process::allow_file_size(running.pid(), Some(size));
    let mut client = Raw::connect(address);
    let mut slowest = Duration::ZERO;
    for number in 0..300 {
        let begin = Instant::now();
        client.send(format!(
            "GET /healthz?full={number} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        ));
        assert_eq!(client.answer().status, 200, "{number}");
        slowest = slowest.max(begin.elapsed());
    }
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let grown = std::fs::metadata(&log).unwrap().len() - size;
    assert_eq!(grown, 0, "nothing could be written");
    // The server may have had something to say of its own.
    until("every line is counted", || {
        lost_by_metrics(&server, "unwritten") >= 300
    });
    assert_eq!(lost_by_metrics(&server, "unread"), 0);
    let told = String::from_utf8(server.ask(&["status"]).stdout).unwrap();
    assert!(
        told.contains("the log cannot be written (File too large"),
        "{told}"
    );

    process::allow_file_size(running.pid(), None);
    until("it writes again", || {
        client.send("GET /healthz?room HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.answer().status == 200 && contains(&log, "/healthz?room ")
    });
    until("it says how many", || contains(&log, " since_start="));
    let in_all = lost_by_metrics(&server, "unwritten");
    let told = format!("lost={in_all} since_start={in_all}");
    assert!(contains(&log, &told), "{told}");
    assert_eq!(lost(&server)["unwritten"], in_all);
    assert_eq!(count(&log, "log lines were lost"), 1);
    assert_eq!(lost(&server)["failing"], serde_json::Value::Null);
    kill(running.pid(), Signal::SIGTERM).unwrap();
    until("it stops", || TcpStream::connect(address).is_err());
    until("its last words are there", || contains(&log, "stopped"));
}

#[test]
fn a_reader_of_the_log_that_is_gone_costs_lines_and_no_request() {
    let mut server = Setup::new().plain().admin().own_ports().start();
    server.stop();
    let mut command = server.command(&["serve"]);
    let mut running = Logging(command.stderr(Stdio::inherit()).spawn().unwrap());
    let mut reader = BufReader::new(running.0.stdout.take().unwrap());
    let mut line = String::new();
    while !line.contains(" ready ") {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0, "it ended");
    }
    drop(reader);
    let mut client = Raw::connect(server.http.unwrap());
    for number in 0..20 {
        client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer().status, 200, "{number}");
    }
    until("every line is counted", || {
        lost_by_metrics(&server, "unwritten") >= 20
    });
    assert!(
        lost(&server)["failing"]
            .as_str()
            .unwrap()
            .contains("Broken pipe")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_cannot_be_replaced_stays_in_service() {
    let mut clock = Clock::new();
    let setup = clock.for_server(Setup::new());
    let Some(disk) = Disk::mount(&setup.directory().join("certs"), 1) else {
        return;
    };
    let server = setup.start();
    disk.fill();
    clock.set(Span::days(340));
    let mut server = server.restart();
    let line = server.line_with("stays in service");
    assert!(line.contains("No space left on device"), "{line}");
    assert!(line.contains("free some space"), "{line}");
    assert_eq!(Api::http2(&server).get("/").await.status, 200);
    disk.free();
    let mut server = server.restart();
    server.line_with("about to expire");
    assert!(
        !server.log().contains("stays in service"),
        "{}",
        server.log()
    );
    server.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_database_without_room_is_503_until_there_is_some() {
    let setup = Setup::new().embedded();
    let Some(disk) = Disk::mount(&setup.directory().join("data"), 160) else {
        return;
    };
    let mut server = setup.start();
    let api = Api::http2(&server);
    api.create_note("before").await;
    disk.fill();
    let body = "x".repeat(1024 * 1024);
    let document = json!({ "title": "large", "body": body });
    // Some still fit into what PostgreSQL had taken before.
    let mut refused = None;
    for _ in 0..64 {
        let answer = api.send_json("POST", "/api/notes", &document).await;
        if answer.status != 201 {
            refused = Some(answer);
            break;
        }
    }
    refused.expect("the disk is full").assert_unavailable();
    for path in ["/", "/healthz"] {
        assert_eq!(api.get(path).await.status, 200, "{path}");
    }
    let refused = api.send_json("POST", "/api/notes", &document).await;
    refused.assert_unavailable();

    disk.free();
    let begin = Instant::now();
    loop {
        let answer = api.send_json("POST", "/api/notes", &document).await;
        match answer.status {
            201 => break,
            503 => assert!(begin.elapsed() < PATIENCE, "{}", server.log()),
            _ => panic!("{answer:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(api.get("/api/notes?limit=200").await.status == 200);
    assert!(server.stop().success());
}
