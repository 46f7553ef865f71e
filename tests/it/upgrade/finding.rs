//! A new process that somebody else starts (`serve --take-over`), and SIGQUIT.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{pid_in, setup, wait_for_end};
use crate::support::raw::Raw;
use crate::support::server::Server;

fn get(server: &Server) -> u16 {
    let mut client = Raw::connect(server.http.unwrap());
    client.send("GET /api/notes HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client.last_answer().status
}

#[test]
fn sigquit_hands_over_to_a_new_process() {
    let mut server = setup("", "").start();
    let old = server.pid();
    server.signal(Signal::SIGQUIT);
    let new = pid_in(&server.wait_for_line("another process has taken over"));
    server.is_succeeded_by(new);
    wait_for_end(old);
    assert_eq!(get(&server), 200);
    server.line_with("every request was finished");
}

#[test]
fn a_process_started_beside_it_takes_over_when_asked_to() {
    let mut server = setup("", "").start();
    let old = server.pid();
    let place = server.path("data/upgrade.sock");
    let mode = place.metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let mut new = server.command(&["serve", "--take-over"]).spawn().unwrap();
    let mut said = BufReader::new(new.stdout.take().unwrap()).lines();
    server.wait_for_line("another process has taken over");
    wait_for_end(old);
    assert_eq!(get(&server), 200);
    // It learns that it is alone when the old one does, and can be found a moment later.
    let is_alone = said.any(|line| line.unwrap().contains("ready"));
    assert!(is_alone, "it says so");
    assert!(place.exists(), "the new one can be found in turn");
    kill(Pid::from_raw(new.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(new.wait().unwrap().success());
    assert!(!place.exists());

    // With nobody to take over from it is an ordinary start.
    let server = server.restart();
    assert_eq!(get(&server), 200);
}

#[test]
fn a_stop_while_the_next_one_is_watched_leaves_that_one_alone() {
    let mut server = setup("", "").embedded().start();
    let old = server.pid();
    let mut new = server.command(&["serve", "--take-over"]);
    let mut new = new.stdout(Stdio::inherit()).spawn().unwrap();
    server.wait_for_line("the new process serves, and this one as well");
    server.signal(Signal::SIGTERM);
    wait_for_end(old);
    for _ in 0..20 {
        assert_eq!(get(&server), 200, "the database is the new one's");
    }
    kill(Pid::from_raw(new.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert!(new.wait().unwrap().success());
    let postmaster = server.path("data/postgres/postmaster.pid");
    assert!(!postmaster.exists(), "who has kept it has stopped it");
}

#[test]
fn a_process_that_fails_to_take_over_says_so_and_the_other_goes_on() {
    let server = setup("", "").start();
    let config = server.path("config.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let bad = good.replace("http = [", &format!("http = [\"{taken}\", "));
    std::fs::write(&config, bad).unwrap();
    let new = server.command(&["serve", "--take-over"]).output().unwrap();
    assert_eq!(new.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&new.stderr);
    assert!(complaint.contains("is in use"), "{complaint}");
    assert_eq!(get(&server), 200);
}

#[test]
fn nobody_takes_over_by_accident() {
    let mut server = setup("", "").start();
    server.keep_ports();
    let second = server.command(&["serve"]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let complaint = String::from_utf8_lossy(&second.stderr);
    assert!(complaint.contains("is in use"), "{complaint}");
    assert_eq!(get(&server), 200);
    assert!(server.stop().success());
}
