//! CAs that serve known customers only (RFC 8555, section 7.3.4).

use super::{BOTH, NAME, SERVED, ledger, seen_without_verifying};
use crate::support::pebble::Pebble;
use crate::support::server::Setup;

const KID: &str = "customer-7";
const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
const FOREIGN_KEY: &str = "bm90LXRoZS1yaWdodC1rZXktYnV0LW9uZS1vZi10aGUtc2FtZS1sZW5ndGg";

async fn strict_ca() -> Pebble {
    Pebble::setup().customer(KID, KEY).start().await
}

fn customer(ca: &Pebble, kid: &str, key: &str) -> Setup {
    let keys = format!("eab_kid = \"{kid}\"\neab_hmac_key = \"{key}\"");
    ca.server_at(ca.address, &[NAME], &BOTH, &keys)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_customer_is_served() {
    let ca = strict_ca().await;
    let mut server = customer(&ca, KID, KEY).start();
    server.line_with(SERVED);
    ca.handshake(NAME).await.unwrap();
    assert_eq!(ca.proxy.count("/sign-me-up"), 1);
    let bound = &ca.proxy.passed("/sign-me-up")[0].payload["externalAccountBinding"];
    assert!(bound["signature"].is_string(), "{bound}");
    assert!(
        !server.log().contains(KEY),
        "the key is a secret:\n{}",
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_customer_is_told_which_keys_to_set() {
    let ca = strict_ca().await;
    let table = [
        (
            ca.server(&[NAME], &BOTH),
            "set acme.eab_kid and acme.eab_hmac_key",
            "nothing given",
        ),
        (
            customer(&ca, KID, FOREIGN_KEY),
            "does not accept acme.eab_kid with acme.eab_hmac_key",
            "another key",
        ),
        (
            customer(&ca, "customer-8", KEY),
            "does not accept acme.eab_kid with acme.eab_hmac_key",
            "another customer",
        ),
    ];
    for (setup, words, why) in table {
        let mut server = setup.start();
        let line = server.line_with("the next attempt is at");
        assert!(line.contains(words), "{why}: {line}");
        assert!(line.contains("WARN"), "{why}: {line}");
        let log = server.log();
        assert!(!log.contains(KEY) && !log.contains(FOREIGN_KEY), "{log}");
        assert!(seen_without_verifying(&ca).await, "{why}");

        // Another start asks no sooner.
        let server = server.restart();
        assert!(seen_without_verifying(&ca).await);
        let ledger = ledger(&server);
        assert_eq!(ledger["failures"], 1, "{why}: {ledger}");
        assert!(!ledger["next_attempt"].is_null(), "{why}: {ledger}");
    }
    assert_eq!(ca.proxy.count("/sign-me-up"), 0);
    assert_eq!(ca.proxy.count("/order-plz"), 0);
}
