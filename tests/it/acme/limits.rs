//! What the CA asks for, and what it would refuse.

use std::time::Duration;

use serde_json::Value;

use super::{BOTH, NAME, SERVED, ledger_file, place, seen_without_verifying, stopped};
use crate::support::pebble::Pebble;

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ca_asks_for_in_retry_after_is_obeyed() {
    for status in [500, 429] {
        let ca = Pebble::setup().start().await;
        ca.proxy.refuse("/order-plz", status, Some(3), 1);
        let mut server = ca.server(&[NAME], &BOTH).start();
        server.line_with("the next attempt is at");
        let refused = std::time::Instant::now();
        server.wait_for_line(SERVED);
        let ordered = ca.proxy.passed("/order-plz")[0].at;
        // The line comes a moment after the refusal itself.
        assert!(ordered - refused > Duration::from_secs(2), "{status}");
        ca.handshake(NAME).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifth_certificate_in_seven_days_is_refused_with_the_reason() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.line_with(SERVED);
    let server = stopped(server);
    // As if the certificates had been lost three times.
    let file = ledger_file(&server);
    let mut ledger: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let attempts = ledger["attempts"].as_array_mut().unwrap();
    let first = attempts[0].clone();
    attempts.extend([first.clone(), first.clone(), first]);
    std::fs::write(&file, ledger.to_string()).unwrap();
    std::fs::remove_file(place(&server).join("pair.pem")).unwrap();
    let mut server = server.restart();
    let line = server.line_with("certificate number 5");
    assert!(line.contains("--force"), "{line}");
    assert!(seen_without_verifying(&ca).await);
    assert_eq!(ca.proxy.count("/order-plz"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_failed_order_leaves_pending_is_taken_back() {
    let ca = Pebble::setup().start().await;
    // CAs limit how many may be pending.
    ca.proxy.refuse("/chalZ/", 403, None, 1);
    let mut server = ca.server(&[NAME], &["http-01"]).start();
    let line = server.line_with("the next attempt is at");
    assert!(line.contains("broken on purpose"), "{line}");
    let asked = ca.proxy.passed("/authZ/");
    let taken_back = asked
        .iter()
        .filter(|request| request.payload["status"] == "deactivated");
    assert_eq!(taken_back.count(), 1, "{asked:?}");
    assert!(!place(&server).join("order.json").exists());
}
