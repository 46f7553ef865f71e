//! Servers are asked for their health in one way: that of the configuration in force.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::site;
use crate::support::raw::Raw;
use crate::support::server::PATIENCE;
use crate::support::upstream::Upstream;

#[test]
fn checks_of_a_configuration_that_is_gone_end_though_its_requests_go_on() {
    let (tells, checks) = channel();
    let upstream = Upstream::scripted(move |connection| {
        while let Some(head) = connection.head() {
            if head.starts_with("GET /socket ") {
                connection
                    .send("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
                connection.is_closed();
                return;
            }
            let path = head.split(' ').nth(1).unwrap().to_owned();
            let status = if path == "/right" { 204 } else { 404 };
            // The test may have seen enough.
            let _ = tells.send(path);
            connection.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let health = "[upstream.health]\npath = \"/wrong\"\ninterval = \"50ms\"";
    let route = "[[route]]\npath = \"/\"\nupstream = \"backend\"\n";
    let mut server = site("", &format!("{}{route}", upstream.table(health)));
    server.line_with("unhealthy");
    let mut socket = Raw::connect(server.http.unwrap());
    socket.send(
        "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    assert_eq!(socket.head().status, 101);
    server.rewrite("/wrong", "/right");
    server.reload();
    server.wait_for_line("healthy again");
    // What was asked before that.
    while checks.try_recv().is_ok() {}
    for _ in 0..10 {
        assert_eq!(checks.recv_timeout(PATIENCE).unwrap(), "/right");
    }
    assert!(socket.is_silent_for(Duration::from_millis(1)), "it lives");
}
