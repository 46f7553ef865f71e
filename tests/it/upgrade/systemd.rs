//! What systemd sees and gives: notifications, and sockets that it has opened.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;

use nix::sys::signal::Signal;

use super::{setup, upgrade, upgrade_and_watch, wait_for_end};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, PROGRAM, Server, Setup, through};

/// What stands for systemd: the socket that it listens on.
fn manager(setup: &Setup) -> (UnixDatagram, String) {
    let path = setup.directory().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, path.to_str().unwrap().to_owned())
}

/// Reads until a notification has `part` in it; returns it.
fn told(manager: &UnixDatagram, part: &str) -> String {
    let mut bytes = [0; 4096];
    loop {
        let length = manager
            .recv(&mut bytes)
            .unwrap_or_else(|_| panic!("never told {part}"));
        let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if text.contains(part) {
            return text;
        }
    }
}

#[test]
fn systemd_is_told_who_serves() {
    let setup = setup("", "");
    let (manager, path) = manager(&setup);
    let setup = setup
        .environment("NOTIFY_SOCKET", &path)
        .environment("WATCHDOG_USEC", "200000");
    let mut server = setup.start();
    assert!(told(&manager, "READY=1").contains("STATUS="));
    told(&manager, "WATCHDOG=1");
    let old = server.pid();
    let new = upgrade(&mut server);
    told(&manager, &format!("MAINPID={new}"));
    wait_for_end(old);
    // More than the socket can hold for the old one, which has gone: so they are the new one's.
    for _ in 0..20 {
        told(&manager, "WATCHDOG=1");
    }
    server.stop();
    told(&manager, "STOPPING=1");
}

#[test]
fn systemd_is_told_of_each_reload_and_of_an_upgrade_that_failed() {
    let setup = setup("", "");
    let (manager, path) = manager(&setup);
    let server = setup.environment("NOTIFY_SOCKET", &path).start();
    told(&manager, "READY=1");
    let config = server.path("config.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    for (text, why) in [
        (good.clone(), "the same again"),
        (good.replace("[tls]", "[tsl]"), "a mistake"),
    ] {
        std::fs::write(&config, text).unwrap();
        server.signal(Signal::SIGHUP);
        let begun = told(&manager, "RELOADING=1");
        assert!(begun.contains("MONOTONIC_USEC="), "{why}: {begun}");
        told(&manager, "READY=1");
    }
    std::fs::write(&config, good).unwrap();
    std::fs::remove_file(server.path(PROGRAM)).unwrap();
    server.signal(Signal::SIGQUIT);
    told(&manager, "STATUS=serving; the last upgrade failed");
}

#[test]
fn a_reload_during_an_upgrade_is_answered() {
    let setup = setup("", "");
    let (manager, path) = manager(&setup);
    let mut server = setup.environment("NOTIFY_SOCKET", &path).start();
    told(&manager, "READY=1");
    let (asking, new) = upgrade_and_watch(&mut server, "5s");
    // What `systemctl reload` does; it waits for the answer of the main process, and hears no other.
    server.signal(Signal::SIGHUP);
    told(&manager, "RELOADING=1");
    told(&manager, "READY=1");
    told(&manager, &format!("MAINPID={new}"));
    // And then from the new one, which may have read the file before it was changed.
    server.line_with("the configuration was reloaded");
    told(&manager, "RELOADING=1");
    told(&manager, "READY=1");
    assert!(asking.wait_with_output().unwrap().status.success());
    server.is_succeeded_by(new);
}

#[test]
fn sockets_of_systemd_are_taken_and_handed_on() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let setup = Setup::new().admin().config(&format!(
        "[server]\nhttp = [\"{address}\"]\nhttps = []\n[tls]\nmode = \"off\"\n"
    ));
    // A client that comes before there is a process waits in the socket's queue.
    let mut client = Raw::connect(address);
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");

    let mut server = activated(setup, socket);
    server.wait_until_ready();
    assert_eq!(server.http, Some(address));
    assert_eq!(client.answer().status, 200);
    let old = server.pid();
    drop(client);
    upgrade(&mut server);
    wait_for_end(old);
    let mut client = Raw::connect(address);
    client.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer().status, 200);
}

#[test]
fn a_socket_of_systemd_that_nobody_wants_is_a_mistake() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let mut server = activated(Setup::new(), socket);
    assert_eq!(server.wait().code(), Some(1));
    let line = server.line_with("systemd passes a socket");
    assert!(line.contains(&address.to_string()), "{line}");
    assert!(line.contains("ListenStream="), "{line}");
}

/// Starts the server as systemd does, with `socket` as descriptor 3.
fn activated(setup: Setup, socket: TcpListener) -> Server {
    setup.spawn_as(|command| {
        let script = "exec 3<&0 0</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
        let mut activated = through("/bin/sh", &["-c", script, "sh"], &command);
        activated.stdin(OwnedFd::from(socket));
        activated
    })
}
