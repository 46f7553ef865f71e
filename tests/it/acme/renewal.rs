//! Renewals: in time, when the CA likes it, and without a visitor noticing.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{BOTH, NAME, SERVED, ledger, ledger_file, place, stopped};
use crate::support::pebble::{self, Pebble};
use crate::support::server::Server;

#[tokio::test(flavor = "multi_thread")]
async fn renewals_lose_no_handshake_and_each_new_certificate_is_served() {
    // Half of 24 seconds, and no certificate of a test is ever near its end.
    let validity = Duration::from_secs(24);
    let ca = Pebble::setup().validity(validity).start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.line_with(SERVED);
    let client = ca.client().await;
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop, address) = (fresh(&client), stop.clone(), ca.https());
            tokio::spawn(async move {
                let mut serials = Vec::new();
                let mut handshakes = 0;
                while !stop.load(Ordering::Relaxed) {
                    let seen = pebble::handshake(&client, address, NAME).await.unwrap();
                    handshakes += 1;
                    if serials.last() != Some(&seen.serial) {
                        serials.push(seen.serial);
                    }
                }
                (handshakes, serials)
            })
        })
        .collect();
    let mut keys = HashSet::from([key(&server)]);
    for _ in 0..3 {
        server.wait_for_line(SERVED);
        assert!(keys.insert(key(&server)), "each has a key of its own");
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        let (handshakes, serials) = client.await.unwrap();
        assert!(handshakes > 100, "{handshakes}");
        assert!(serials.len() >= 3, "{serials:?}");
    }
    // The last one may have come after the last handshake of a client.
    let last = ca.handshake(NAME).await.unwrap();
    let issued: Vec<_> = ledger(&server)["attempts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| attempt["serial"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(issued.len(), 4);
    assert_eq!(issued.last(), Some(&last.serial));
    let reasons = server
        .log()
        .matches("(the last one has lived long enough)")
        .count();
    assert_eq!(reasons, 3, "{}", server.log());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ca_says_when_to_renew() {
    let ca = Pebble::setup().start().await;
    let shown = |after: i64| {
        let at = OffsetDateTime::now_utc() + time::Duration::seconds(after);
        at.replace_nanosecond(0).unwrap().format(&Rfc3339).unwrap()
    };
    ca.proxy
        .suggest(&shown(5_000_000), &shown(5_000_001), "https://ca.test/calm");
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.line_with(SERVED);
    let before = ca.handshake(NAME).await.unwrap();
    // What the CA suggests is asked for, and written down, a moment after the handshake.
    while ledger(&server)["suggestion"].is_null() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let server = stopped(server);
    // The answer's Retry-After has passed meanwhile.
    let file = ledger_file(&server);
    let mut ledger: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(ledger["suggestion"]["window"]["start"], ca_window(&ca));
    ledger["suggestion"]["ask_again"] = json!("2020-01-01T00:00:00Z");
    std::fs::write(&file, ledger.to_string()).unwrap();
    ca.proxy
        .suggest(&shown(-20), &shown(-10), "https://ca.test/incident");

    let mut server = server.restart();
    let moved = server.wait_for_line("the CA has moved the time of renewal");
    assert!(moved.contains("https://ca.test/incident"), "{moved}");
    server.wait_for_line("(the CA suggests it)");
    ca.proxy
        .suggest(&shown(5_000_000), &shown(5_000_001), "https://ca.test/calm");
    server.wait_for_line("got a certificate");
    server.wait_for_line(SERVED);
    assert_ne!(ca.handshake(NAME).await.unwrap(), before);
    let orders = ca.proxy.passed("/order-plz");
    assert_eq!(
        orders[0].payload["replaces"],
        Value::Null,
        "the first replaces nothing"
    );
    let replaces = orders[1].payload["replaces"].as_str().unwrap();
    assert_eq!(replaces.split('.').count(), 2, "{replaces}");
}

/// The start of the window in the CA's last suggestion.
fn ca_window(ca: &Pebble) -> Value {
    ca.proxy.suggestion()["suggestedWindow"]["start"].clone()
}

/// The private key in use, as PEM.
fn key(server: &Server) -> String {
    let pair = std::fs::read_to_string(place(server).join("pair.pem")).unwrap();
    let begin = pair.find("-----BEGIN PRIVATE KEY-----").unwrap();
    pair[begin..].to_owned()
}

/// A client that resumes no session: each handshake shows a certificate.
fn fresh(client: &ClientConfig) -> Arc<ClientConfig> {
    let mut client = client.clone();
    client.resumption = rustls::client::Resumption::disabled();
    Arc::new(client)
}
