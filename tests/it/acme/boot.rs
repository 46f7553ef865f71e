//! The start waits for nobody: neither for the CA nor for a place to write.

use std::time::Duration;

use super::{BOTH, NAME, SERVED, ledger, ledger_file, seen_without_verifying, stopped};
use crate::support::handshake::Handshakes;
use crate::support::pebble::Pebble;

/// The pause after a first failure is a minute and a quarter at most; the order comes after it.
const FIRST_PAUSE: Duration = Duration::from_secs(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_listens_only_later_is_found_without_a_restart() {
    let ca = Pebble::setup().start().await;
    ca.proxy.close().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    let line = server.line_with("the next attempt is at");
    assert!(line.contains("gave no answer"), "{line}");
    assert!(line.contains("Connection refused"), "{line}");
    let throwaway = Handshakes::new(&["h2"]).connect(ca.https(), NAME).await;
    let throwaway = throwaway.unwrap().certificate();
    let named = throwaway
        .windows(NAME.len())
        .any(|part| part == NAME.as_bytes());
    assert!(named, "clients may insist on the name, if on nothing else");

    ca.proxy.open();
    server.wait_longer_for_line(SERVED, FIRST_PAUSE);
    ca.handshake(NAME).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_away_at_boot_keeps_nothing_waiting() {
    let ca = Pebble::setup().start().await;
    ca.proxy.refuse("/", 503, None, usize::MAX);
    let mut server = ca.server(&[NAME], &BOTH).start();
    let line = server.line_with("the next attempt is at");
    assert!(line.contains("has trouble of its own"), "{line}");
    assert!(seen_without_verifying(&ca).await);

    // Another start does not storm the CA: the ledger remembers.
    let server = server.restart();
    assert!(seen_without_verifying(&ca).await);
    assert_eq!(ledger(&server)["attempts"].as_array().unwrap().len(), 1);

    // Somebody who knows better may make it forget.
    ca.proxy.heal();
    let file = ledger_file(&server);
    let mut server = stopped(server);
    std::fs::remove_file(file).unwrap();
    server = server.restart();
    server.line_with(SERVED);
    ca.handshake(NAME).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_place_to_write_nothing_is_ordered() {
    let ca = Pebble::setup().start().await;
    let setup = ca.server(&[NAME], &BOTH);
    // Root may write everywhere, but not below a file.
    std::fs::create_dir(setup.directory().join("certs")).unwrap();
    std::fs::write(setup.directory().join("certs/acme"), "in the way").unwrap();
    let mut server = setup.start();
    // Of the first look; what the start itself found begins otherwise.
    let line = server.line_with(&format!("{NAME}: /"));
    assert!(line.contains("certs/acme"), "{line}");
    assert!(
        line.contains("a file stands where a directory is needed"),
        "{line}"
    );
    assert!(seen_without_verifying(&ca).await);
    assert_eq!(
        ca.proxy.count("/order-plz") + ca.proxy.count("/sign-me-up"),
        0
    );
}
