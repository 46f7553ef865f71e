//! The ends of processes: what is kept before it is needed, and told before it is too late.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::{NAME, SERVED};
use crate::support::pebble::Pebble;
use crate::support::server::{PATIENCE, Server};

#[tokio::test(flavor = "multi_thread")]
async fn a_registration_that_was_cut_short_is_finished_with_the_same_key() {
    let ca = Pebble::setup().start().await;
    ca.proxy.hang("/sign-me-up");
    let mut server = ca.server(&[NAME], &["http-01"]).start();
    ca.proxy.seen("/sign-me-up", 1).await;
    server.signal(Signal::SIGKILL);
    server.wait();
    let before = account(&server);
    assert!(before["unregistered_key"].is_string(), "{before}");

    ca.proxy.heal();
    let mut server = server.restart();
    server.line_with(SERVED);
    assert_eq!(account(&server)["key_pkcs8"], before["unregistered_key"]);
}

/// What is kept of the account.
fn account(server: &Server) -> Value {
    let mut directories = fs::read_dir(server.path("certs/acme")).unwrap();
    let directory = directories.next().unwrap().unwrap().path();
    serde_json::from_slice(&fs::read(directory.join("account-nobody.json")).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_still_to_be_told_at_the_stop_is_told() {
    let ca = Pebble::setup().start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hook = format!("webhook = \"http://{}/\"", listener.local_addr().unwrap());
    let mut server = ca
        .server_at(ca.address, &[NAME], &["http-01"], &hook)
        .start();
    server.line_with(SERVED);
    // Refused once, it is told again a second later, when the server has been asked to stop.
    let first = answer(&listener, "503 Service Unavailable").await;
    server.signal(Signal::SIGTERM);
    let second = answer(&listener, "204 No Content").await;
    assert_eq!(first, second);
    assert_eq!(first["event"], "issued");
    assert!(server.wait().success());
    assert!(!server.log().contains("not told"), "{}", server.log());
}

/// Takes one request and answers it with `status`; gives back its body.
async fn answer(listener: &TcpListener, status: &str) -> Value {
    let accepted = timeout(PATIENCE, listener.accept()).await;
    let (mut socket, _) = accepted.expect("somebody is told").unwrap();
    let mut request = Vec::new();
    let body = loop {
        assert_ne!(socket.read_buf(&mut request).await.unwrap(), 0);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        if let Some(json) = body.and_then(|body| serde_json::from_str(body).ok()) {
            break json;
        }
    };
    let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    socket.write_all(answer.as_bytes()).await.unwrap();
    body
}
