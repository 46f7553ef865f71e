//! Large files and clients that take their time.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, setsockopt, socket, sockopt,
};

use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};

const MIB: usize = 1024 * 1024;
/// What the pieces of all clients together may take, beyond a small one for each.
const PIECES: usize = 64 * MIB;
/// What a connection may cost: its buffers, its task (large in a build for debugging), and a small
/// piece.
const EACH: usize = 128 * 1024;
/// With two large pieces for each they would take 375 MiB.
const CLIENTS: usize = 1500;
const LENGTH: usize = 64 * MIB;

fn server() -> Server {
    let setup = Setup::new()
        .plain()
        .database("postgres://localhost:1/none")
        .server("max_connections_per_ip = 2000")
        .config(
            r#"
[server.timeouts]
write_idle = "5m"
[database]
wait = "0s"
[log]
access = "off"
[[route]]
path = "/"
files = "site"
"#,
        );
    let site = setup.directory().join("site");
    fs::create_dir(&site).unwrap();
    let file = File::create(site.join("large.bin")).unwrap();
    file.set_len(LENGTH as u64).unwrap();
    setup.start()
}

/// A connection whose buffers in the kernel stay small on both sides.
fn narrow(server: SocketAddr) -> TcpStream {
    let flags = SockFlag::SOCK_CLOEXEC;
    let socket = socket(AddressFamily::Inet, SockType::Stream, flags, None).unwrap();
    setsockopt(&socket, sockopt::TcpMaxSeg, &1400).unwrap();
    setsockopt(&socket, sockopt::RcvBuf, &(16 * 1024)).unwrap();
    connect(socket.as_raw_fd(), &SockaddrStorage::from(server)).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// A field of `/proc/PID/status`, in bytes.
fn memory(server: &Server, field: &str) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kibibytes: usize = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kibibytes * 1024
}

/// How often the server has the large file open.
fn open_files(server: &Server) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    descriptors
        .flatten()
        .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
        .filter(|path| path.ends_with("large.bin"))
        .count()
}

fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn slow_downloads_hold_little_and_those_that_are_given_up_nothing() {
    let server = server();
    let address = server.http.unwrap();
    let request = "GET /large.bin HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let before = memory(&server, "VmRSS:");
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = narrow(address);
            client.write_all(request.as_bytes()).unwrap();
            let mut start = [0; 1024];
            client.read_exact(&mut start).unwrap();
            assert!(start.starts_with(b"HTTP/1.1 200 "));
            client
        })
        .collect();
    assert_eq!(open_files(&server), CLIENTS, "all are under way");
    let peak = memory(&server, "VmHWM:") - before;
    assert!(
        peak < PIECES + CLIENTS * EACH,
        "{CLIENTS} slow downloads hold {} MiB",
        peak / MIB
    );

    // They hold the budget, and who is fast is served nevertheless.
    let mut fast = Raw::connect(address);
    fast.send(request);
    assert_eq!(fast.answer().body.len(), LENGTH);

    drop(clients);
    wait_until("files stay open for clients that have left", || {
        open_files(&server) == 0
    });
}
