//! What is asked for while both processes serve.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{setup, upgrade_and_watch, wait_for_end};
use crate::support::raw::Raw;

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
    kill(new, Signal::SIGTERM).unwrap();
    asking.wait().unwrap();
    wait_for_end(new);
}
