//! `unibody certs`: the certificates as stored and as served, and new ones at once.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::support::pebble::Pebble;
use crate::support::server::{PATIENCE, Server, Setup};

const NAME: &str = "notes.test";
const SERVED: &str = "a handshake with this server got the stored certificate";

fn list(server: &Server) -> Value {
    let output = server.ask(&["certs", "list", "--json"]);
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

#[test]
fn what_is_stored_shows_with_and_without_a_server() {
    let mut server = Setup::new().admin().start();
    let running = list(&server);
    assert_eq!(running["running"], true);
    let stored = running["certificates"][0]["stored"].clone();
    assert!(!stored.is_null(), "{running}");

    server.stop();
    let stopped = list(&server);
    assert_eq!(stopped["running"], false);
    assert_eq!(stopped["certificates"][0]["stored"], stored);
    assert_eq!(stopped["certificates"][0]["served"], Value::Null);
    let people = said(&server.ask(&["certs", "list"]));
    assert!(people.starts_with("not running: "), "{people}");
    let serial = stored["serial"].as_str().unwrap();
    assert!(people.contains(&serial[serial.len() - 8..]), "{people}");
}

#[test]
fn a_file_that_has_become_unusable_is_told_and_the_old_pair_stays() {
    let setup = Setup::new().admin();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let cert = setup.directory().join("cert.pem");
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(
        setup.directory().join("key.pem"),
        made.signing_key.serialize_pem(),
    )
    .unwrap();
    let mut server = setup
        .config("[tls]\nmode = \"files\"\n[[tls.files]]\ncert = \"cert.pem\"\nkey = \"key.pem\"")
        .start();
    let before = list(&server)["certificates"][0].clone();
    assert_eq!(before["last_error"], Value::Null);

    std::fs::write(&cert, "").unwrap();
    server.wait_for_line("is empty");
    // The line comes a moment before the fact.
    let after = loop {
        let after = list(&server)["certificates"][0].clone();
        if !after["last_error"].is_null() {
            break after;
        }
    };
    assert_eq!(after["stored"], before["stored"]);
    let people = said(&server.ask(&["certs", "list"]));
    assert!(people.contains("! localhost: "), "{people}");

    let renewed = server.ask(&["certs", "renew", "localhost"]);
    assert_eq!(renewed.status.code(), Some(1));
    assert!(said(&renewed).contains("replace that file"), "{renewed:?}");
}

#[test]
fn a_renewal_that_makes_no_sense_says_why() {
    let server = Setup::new().admin().start();
    let table = [
        ("localhost", "self-signed"),
        ("elsewhere.test", "name it in server.hosts"),
    ];
    for (host, words) in table {
        let output = server.ask(&["certs", "renew", host]);
        assert_eq!(output.status.code(), Some(1), "{host}");
        assert!(said(&output).contains(words), "{host}: {output:?}");
    }
    assert_eq!(server.ask(&["certs", "renew"]).status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_comes_at_once_until_the_limit_and_beyond_it_by_force() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &["http-01"]).admin().start();
    server.wait_for_line(SERVED);
    let serial = |server: &Server| list(server)["certificates"][0]["served"]["serial"].clone();
    for _ in 0..3 {
        let before = serial(&server);
        let output = server.ask(&["certs", "renew", NAME]);
        assert!(output.status.success(), "{output:?}");
        assert!(said(&output).contains("a new certificate is in service"));
        assert_ne!(serial(&server), before);
    }
    let before = serial(&server);
    let refused = server.ask(&["certs", "renew", NAME]);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert!(said(&refused).contains("--force"), "{refused:?}");
    assert_eq!(serial(&server), before);

    let forced = server.ask(&["certs", "renew", NAME, "--force"]);
    assert!(forced.status.success(), "{forced:?}");
    assert_ne!(serial(&server), before);

    let last = list(&server)["certificates"][0]["stored"].clone();
    server.stop();
    let stopped = list(&server);
    assert_eq!(stopped["running"], false);
    assert_eq!(stopped["certificates"][0]["stored"], last);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_fails_tells_what_the_ca_said() {
    let ca = Pebble::setup().deaf_to("http-01").start().await;
    let mut server = ca.server(&[NAME], &["http-01"]).admin().start();
    server.wait_for_line("the next attempt is at");
    let output = server.ask(&["certs", "renew", NAME]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        said(&output).contains("port 80 of notes.test"),
        "{output:?}"
    );
    let certificate = &list(&server)["certificates"][0];
    assert_eq!(certificate["stored"], Value::Null);
    assert!(!certificate["next_attempt"].is_null(), "{certificate}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_webhook_is_told_of_issuance_and_failure() {
    for (deaf, event, key) in [
        (None, "issued", "serial"),
        (Some("http-01"), "failed", "error"),
    ] {
        let (url, told) = receiver();
        let setup = Pebble::setup();
        let setup = match deaf {
            Some(challenge) => setup.deaf_to(challenge),
            None => setup,
        };
        let ca = setup.start().await;
        let _server = ca
            .server(&[NAME], &["http-01"])
            .config(&format!("webhook = \"{url}\""))
            .start();
        let message = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(message["event"], event, "{message}");
        assert_eq!(message["name"], NAME);
        assert!(message[key].is_string(), "{message}");
    }
}

/// Somebody who is told by HTTP, and what was said.
fn receiver() -> (String, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, told) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            // The test may have ended.
            let _ = sender.send(read_message(socket));
        }
    });
    (url, told)
}

/// Reads one request's JSON and answers it.
fn read_message(mut socket: TcpStream) -> Value {
    let mut request = Vec::new();
    loop {
        let mut some = [0; 4096];
        let read = socket.read(&mut some).unwrap();
        request.extend_from_slice(&some[..read]);
        let text = String::from_utf8_lossy(&request);
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        if let Ok(json) = serde_json::from_str(body) {
            let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
            socket.write_all(answer).unwrap();
            return json;
        }
        assert_ne!(read, 0, "{text}");
    }
}
