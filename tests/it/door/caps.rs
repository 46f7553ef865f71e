//! How many connections there may be.

use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::TcpSocket;

use super::{address, connect, edge, get};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server};

/// Open connections that the server has counted: each has been answered.
fn crowd(server: &Server, count: usize) -> Vec<Raw> {
    let mut crowd: Vec<Raw> = (0..count).map(|_| connect(server)).collect();
    for client in &mut crowd {
        assert_eq!(client.send(get("/word/one")).answer().text(), "one");
    }
    crowd
}

/// Comes back until there is a place again.
fn served_at_last(server: &Server) -> bool {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        if connect(server).send(get("/word/two")).answer().status == 200 {
            return true;
        }
    }
    false
}

#[test]
fn connections_are_capped_in_all() {
    let mut server = edge("max_connections = 3");
    let mut crowd = crowd(&server, 3);
    assert_eq!(connect(&server).send(get("/word/two")).read_to_end(), b"");
    server.wait_for_line("server.max_connections is reached");
    for client in &mut crowd {
        assert_eq!(client.send(get("/word/one")).answer().text(), "one");
    }
    drop(crowd.pop());
    assert!(
        served_at_last(&server),
        "a place that is left is free again"
    );
}

#[test]
fn connections_are_capped_for_each_address() {
    let server = edge("max_connections_per_ip = 2");
    let mut crowd = crowd(&server, 2);
    assert_eq!(connect(&server).send(get("/word/two")).read_to_end(), b"");
    let mut neighbour = connect_from("127.0.0.2:0", address(&server));
    assert_eq!(neighbour.send(get("/word/two")).answer().text(), "two");
    drop(crowd.pop());
    assert!(
        served_at_last(&server),
        "a place that is left is free again"
    );
}

#[test]
fn proxies_speak_for_many() {
    let server = edge("max_connections_per_ip = 1\ntrusted_proxies = [\"127.0.0.1\"]");
    crowd(&server, 5);
}

fn connect_from(source: &str, target: SocketAddr) -> Raw {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let stream = runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(source.parse().unwrap()).unwrap();
        socket.connect(target).await.unwrap().into_std().unwrap()
    });
    stream.set_nonblocking(false).unwrap();
    Raw::over(stream)
}
