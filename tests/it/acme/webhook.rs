//! `acme.webhook`: what its receiver is told, and how it is trusted.

use std::time::Duration;

use serde_json::Value;

use super::{NAME, SERVED, ledger};
use crate::support::pebble::Pebble;
use crate::support::server::Setup;
use crate::support::told::Told;

fn telling(ca: &Pebble, url: &str) -> Setup {
    ca.server_at(
        ca.address,
        &[NAME],
        &["http-01"],
        &format!("webhook = \"{url}\""),
    )
}

/// A message of this kind about our name, at a time.
#[track_caller]
fn check(message: &Value, event: &str) {
    assert_eq!(message["event"], event, "{message}");
    assert_eq!(message["name"], NAME, "{message}");
    assert!(message["at"].as_str().unwrap().ends_with('Z'), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_told() {
    for secure in [false, true] {
        let ca = Pebble::setup().start().await;
        let told = if secure {
            Told::securely(&ca).await
        } else {
            Told::plainly().await
        };
        assert_eq!(told.url.starts_with("https://"), secure);
        let mut server = telling(&ca, &told.url).start();
        server.line_with(SERVED);
        let message = told.next();
        check(&message, "issued");
        let serial = ca.handshake(NAME).await.unwrap().serial;
        assert_eq!(message["serial"], serial);
        assert!(message["issuer"].as_str().unwrap().contains("Pebble"));
        assert!(message["not_after"].is_string(), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_is_told_with_the_next_attempt() {
    let ca = Pebble::setup().deaf_to("http-01").start().await;
    let told = Told::plainly().await;
    let mut server = telling(&ca, &told.url).start();
    server.line_with("the next attempt is at");
    let message = told.next();
    check(&message, "failed");
    let error = message["error"].as_str().unwrap();
    assert!(error.contains("port 80 of notes.test"), "{message}");
    assert_eq!(message["not_after"], Value::Null, "{message}");
    let next = ledger(&server)["next_attempt"].clone();
    assert_eq!(message["next_attempt"], next);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_that_comes_near_is_told_once() {
    // Renewed at half of it; a third is left two seconds later.
    let validity = Duration::from_secs(12);
    let ca = Pebble::setup().validity(validity).start().await;
    let told = Told::securely(&ca).await;
    let mut server = telling(&ca, &told.url).start();
    server.line_with(SERVED);
    let issued = told.next();
    check(&issued, "issued");
    ca.proxy.refuse("/", 503, None, usize::MAX);

    let mut events = Vec::new();
    loop {
        let message = told.next();
        let event = message["event"].as_str().unwrap().to_owned();
        if event == "expiring" {
            assert_eq!(message["serial"], issued["serial"], "{message}");
            assert_eq!(message["not_after"], issued["not_after"], "{message}");
            let error = message["error"].as_str().unwrap();
            assert!(error.contains("trouble of its own"), "{message}");
        } else {
            check(&message, "failed");
        }
        events.push(event);
        // An attempt after the message, with the certificate out of date.
        if message["not_after"] == Value::Null {
            break;
        }
    }
    assert_eq!(events[0], "failed", "{events:?}");
    let expiring = events.iter().filter(|event| *event == "expiring");
    assert_eq!(expiring.count(), 1, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_nobody_vouches_for_is_told_nothing() {
    let (ca, foreign) = (Pebble::setup().start().await, Pebble::setup().start().await);
    let told = Told::securely(&foreign).await;
    let mut server = telling(&ca, &told.url).start();
    server.line_with(SERVED);
    let line = server.wait_for_line("could not be told (acme.webhook)");
    assert!(line.contains("certificate"), "{line}");
    assert!(
        !line.contains("/hook"),
        "a secret may be in the path: {line}"
    );
    assert!(told.is_silent());
}
