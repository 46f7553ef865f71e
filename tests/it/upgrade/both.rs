//! What is asked for while both processes serve: what either has begun is finished.

use std::net::Shutdown;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{assert_refused, is_running, setup, upgrade, upgrade_and_watch, wait_for_end};
use crate::support::raw::Raw;
use crate::support::server::Server;

const GET: &str = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
const NOTE: &str = "{\"title\":\"begun\",\"body\":\"\"}";

/// A server and its next process, which serves as well and is watched, with clients of the new one.
struct Both {
    server: Server,
    old: Pid,
    new: Pid,
    asking: Child,
    /// Has sent all of a note but its last byte.
    under_way: Raw,
    /// Has had an answer, and waits for nothing.
    kept: Raw,
}

fn both() -> Both {
    let mut server = setup("drain = \"30s\"", "").embedded().start();
    let old = server.pid();
    let (asking, new) = upgrade_and_watch(&mut server, "5m");
    let (under_way, kept) = while_asleep(old, || (begin_note(&server), keep(&server)));
    Both {
        server,
        old,
        new,
        asking,
        under_way,
        kept,
    }
}

/// What is done while one process sleeps is for the other one.
fn while_asleep<T>(pid: Pid, act: impl FnOnce() -> T) -> T {
    kill(pid, Signal::SIGSTOP).unwrap();
    while !is_asleep(pid) {
        std::thread::yield_now();
    }
    let done = act();
    kill(pid, Signal::SIGCONT).unwrap();
    done
}

/// Whether each of its threads has heard the signal.
fn is_asleep(pid: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.flatten().all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat"));
        stat.is_ok_and(|stat| stat.contains(") T"))
    })
}

fn begin_note(server: &Server) -> Raw {
    let mut client = Raw::connect(server.http.unwrap());
    let length = NOTE.len();
    client.send(format!(
        "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
    ));
    assert_eq!(client.head().status, 100, "the handler waits for the body");
    client.send(&NOTE[..length - 1]);
    client
}

fn keep(server: &Server) -> Raw {
    let mut client = Raw::connect(server.http.unwrap());
    assert_eq!(client.send(GET).answer().status, 200);
    client
}

fn finish_note(client: &mut Raw) {
    let answer = client.send(&NOTE[NOTE.len() - 1..]).answer();
    assert_eq!(answer.status, 201, "{}", answer.text());
}

impl Both {
    fn assert_both_end(mut self) {
        wait_for_end(self.new);
        assert!(self.server.wait().success());
        self.asking.wait().unwrap();
        let log = self.server.log();
        for complaint in ["second signal", "connections cut", "killed"] {
            assert!(!log.contains(complaint), "{complaint}: {log}");
        }
    }
}

#[test]
fn a_new_process_that_is_stopped_finishes_what_it_has_begun() {
    let mut both = both();
    kill(both.new, Signal::SIGTERM).unwrap();
    both.server
        .wait_for_line("stopping, as the process before this one goes on");
    // Its clients lose nothing, for another process has the same queues: each hears of it with an answer.
    let told = (0..1_000).any(|_| {
        let answer = both.kept.send(GET).answer();
        assert_eq!(answer.status, 200);
        answer.header("connection") == Some("close")
    });
    assert!(told, "its connection is to end");
    let asked = both.asking.wait_with_output().unwrap();
    assert_refused(&asked, both.old, &["it was asked to stop"]);
    finish_note(&mut both.under_way);
    wait_for_end(both.new);
    assert!(!both.server.log().contains("second signal"));
    upgrade(&mut both.server);
}

#[test]
fn a_stop_of_the_old_process_waits_for_what_the_new_one_has_begun() {
    let mut both = both();
    both.server.signal(Signal::SIGTERM);
    both.server.wait_for_line("stopping");
    // Nothing tells that it does not end.
    sleep(Duration::from_secs(1));
    assert!(is_running(both.old), "it waits, and so does its database");
    assert_eq!(
        both.kept.read_to_end(),
        b"",
        "who waits for nothing is let go"
    );
    finish_note(&mut both.under_way);
    both.assert_both_end();
}

#[test]
fn one_signal_for_both_cuts_nothing() {
    let mut both = both();
    // As Ctrl-C does.
    kill(both.old, Signal::SIGINT).unwrap();
    kill(both.new, Signal::SIGINT).unwrap();
    for _ in 0..2 {
        both.server.wait_for_line("stopping");
    }
    finish_note(&mut both.under_way);
    // The new one can't know that the old one stops as well, and lets nobody go without an answer.
    both.kept.0.shutdown(Shutdown::Both).unwrap();
    both.assert_both_end();
}

#[test]
fn a_stop_of_a_process_that_was_relieved_waits_for_what_it_has_begun() {
    let mut server = setup("drain = \"30s\"", "").start();
    let old = server.pid();
    let mut under_way = begin_note(&server);
    upgrade(&mut server);
    kill(old, Signal::SIGTERM).unwrap();
    server.wait_for_line("stopping already");
    finish_note(&mut under_way);
    wait_for_end(old);
    let log = server.log();
    assert!(!log.contains("second signal"), "{log}");
}

#[test]
fn a_reload_that_is_asked_for_meanwhile_is_passed_on() {
    let mut server = setup("", "").start();
    let old = server.pid();
    let under_way = begin_note(&server);
    let (asking, new) = upgrade_and_watch(&mut server, "5s");
    let reloaded = server.ask(&["reload"]);
    let said = String::from_utf8_lossy(&reloaded.stderr);
    assert_eq!(reloaded.status.code(), Some(1), "{said}");
    assert!(said.contains("an upgrade is under way"), "{said}");
    assert!(is_running(old) && is_running(new), "it is told at once");
    server.wait_for_line("the configuration was reloaded");
    assert!(asking.wait_with_output().unwrap().status.success());
    // Whoever has the old number still in mind is heard, too.
    assert!(is_running(old));
    kill(old, Signal::SIGHUP).unwrap();
    server.wait_for_line("the configuration was reloaded");
    drop(under_way);
    server.is_succeeded_by(new);
}

#[test]
fn the_old_process_answers_commands_until_it_is_relieved() {
    let mut server = setup("", "").start();
    let old = server.pid();
    let (mut asking, new) = upgrade_and_watch(&mut server, "5m");
    let mut client = while_asleep(old, || {
        let mut client = Raw::connect(server.admin.unwrap());
        client.send("GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        assert!(
            client.is_silent_for(Duration::from_millis(300)),
            "the new one says nothing"
        );
        client
    });
    assert_eq!(client.head().status, 200);
    let second = server.ask(&["upgrade"]);
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(
        said.contains("not upgraded: this server is being upgraded already"),
        "{said}"
    );
    kill(new, Signal::SIGTERM).unwrap();
    asking.wait().unwrap();
    wait_for_end(new);
}
