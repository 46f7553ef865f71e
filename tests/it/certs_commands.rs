//! `unibody certs`: the certificates as stored and as served, and new ones at once.

use std::process::Output;
use std::time::Instant;

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
    let begin = Instant::now();
    let after = loop {
        assert!(begin.elapsed() < PATIENCE, "the error is told nowhere");
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

#[test]
fn a_wish_needs_a_running_server() {
    let mut server = Setup::new().admin().start();
    server.stop();
    for wish in [&["localhost"][..], &["localhost", "--force"]] {
        let output = server.ask(&[&["certs", "renew"], wish].concat());
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = said(&output);
        assert!(said.contains("is the server running"), "{said}");
        assert!(said.contains("server.admin"), "{said}");
    }
    let server = Setup::new().start();
    let output = server.ask(&["certs", "renew", "localhost"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said(&output).contains("switched off"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_wishes_at_once_are_both_answered() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &["http-01"]).admin().start();
    server.line_with(SERVED);
    let before = ca.proxy.count("/order-plz");
    let admin = server.admin.unwrap().to_string();
    // Names are the same in any case.
    let wishes = [NAME, "NOTES.Test"].map(|name| {
        let mut command = server.command(&["certs", "renew", name]);
        command.env("ADMIN", &admin).spawn().unwrap()
    });
    for wish in wishes {
        let output = wish.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(said(&output).contains("a new certificate is in service"));
    }
    let ordered = ca.proxy.count("/order-plz") - before;
    assert!((1..=2).contains(&ordered), "{ordered}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_comes_at_once_until_the_limit_and_beyond_it_by_force() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &["http-01"]).admin().start();
    server.line_with(SERVED);
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
    server.line_with("the next attempt is at");
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
