//! Addresses instead of names (RFC 8738), and kinds of certificates (draft-ietf-acme-profiles).

use super::{BOTH, NAME, SERVED};
use crate::support::pebble::Pebble;

#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_proven_by_either_challenge() {
    for challenge in BOTH {
        let ca = Pebble::setup().start().await;
        let address = ca.address.to_string();
        let mut server = ca.server(&[&address], &[challenge]).start();
        server.line_with(SERVED);
        // A client that asks for an address sends no name, and verifies the address.
        ca.handshake(&address).await.unwrap();
        let order = &ca.proxy.passed("/order-plz")[0].payload;
        assert_eq!(order["identifiers"][0]["type"], "ip", "{order}");
        assert_eq!(order["identifiers"][0]["value"], address, "{order}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_among_names_has_its_own_certificate() {
    let ca = Pebble::setup().start().await;
    let address = ca.address.to_string();
    let mut server = ca.server(&[NAME, &address], &BOTH).start();
    for _ in 0..2 {
        server.wait_for_line(SERVED);
    }
    let by_name = ca.handshake(NAME).await.unwrap();
    let by_address = ca.handshake(&address).await.unwrap();
    assert_ne!(by_name, by_address);
    let log = server.log();
    assert!(!log.contains("report this as a mistake"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_profile_that_is_asked_for_is_ordered() {
    let ca = Pebble::setup().start().await;
    let offered = [("classic", "90 days"), ("shortlived", "160 hours")];
    ca.proxy.offer_profiles(&offered);
    let profile = "profile = \"shortlived\"";
    let mut server = ca.server_at(ca.address, &[NAME], &BOTH, profile).start();
    server.line_with(SERVED);
    let orders = ca.proxy.passed("/order-plz");
    assert_eq!(orders[0].payload["profile"], "shortlived");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_profile_that_is_not_offered_is_told_with_those_that_are() {
    let table = [
        (
            &[("classic", "90 days"), ("shortlived", "160 hours")][..],
            "it offers classic, shortlived",
        ),
        (&[], "it offers no profiles; remove acme.profile"),
    ];
    for (offered, words) in table {
        let ca = Pebble::setup().start().await;
        ca.proxy.offer_profiles(offered);
        let profile = "profile = \"longlived\"";
        let mut server = ca.server_at(ca.address, &[NAME], &BOTH, profile).start();
        let line = server.line_with("the next attempt is at");
        assert!(line.contains("no profile \"longlived\""), "{line}");
        assert!(line.contains(words), "{line}");
        assert_eq!(ca.proxy.count("/order-plz"), 0);
    }
}
