//! The clock of the server is wrong, the CA's is right: neither an order after the other nor silence.

use time::Duration;

use super::{BOTH, NAME, SERVED, ledger, stopped};
use crate::support::clock::Clock;
use crate::support::pebble::Pebble;

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_ahead_costs_a_few_certificates_and_none_once_it_is_right() {
    let ca = Pebble::setup().start().await;
    let mut clock = Clock::new();
    let mut server = clock.for_server(ca.server(&[NAME], &BOTH)).start();
    server.line_with(SERVED);
    let first = ca.handshake(NAME).await.unwrap();

    // Each certificate that the CA gives is as good as over, and it suggests to renew it at once.
    clock.set(Duration::days(80));
    let mut server = stopped(server).restart();
    let line = server.line_with("certificate number 5");
    assert!(line.contains("--force"), "{line}");
    let orders = ca.proxy.count("/order-plz");
    assert!((2..=6).contains(&orders), "{orders} orders");
    let last = ca.handshake(NAME).await.unwrap();
    assert_ne!(last, first);

    // Put right: what the wrong clock has noted is in the future, and hinders nothing.
    clock.set(Duration::ZERO);
    let mut server = stopped(server).restart();
    server.line_with(SERVED);
    assert_eq!(ca.handshake(NAME).await.unwrap(), last);
    assert_eq!(ca.proxy.count("/order-plz"), orders, "it is a fresh one");
    assert!(ledger(&server)["attempts"].as_array().unwrap().len() >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_behind_is_renewed_by_when_it_is_right() {
    let ca = Pebble::setup().start().await;
    let mut clock = Clock::new();
    // Nothing of the CA's is valid yet, by this clock.
    clock.set(Duration::days(-400));
    let mut server = clock.for_server(ca.server(&[NAME], &BOTH)).start();
    server.line_with(SERVED);
    let first = ca.handshake(NAME).await.unwrap();
    clock.set(Duration::ZERO);
    let mut server = stopped(server).restart();
    server.line_with(SERVED);
    assert_eq!(ca.handshake(NAME).await.unwrap(), first);
    assert_eq!(ca.proxy.count("/order-plz"), 1);
}
