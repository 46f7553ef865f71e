//! How the CA comes to see that a name leads here.

use std::sync::Arc;

use rustls::ClientConfig;

use super::{BOTH, NAME, SERVED, ledger, seen_without_verifying};
use crate::support::http;
use crate::support::pebble::{self, Pebble};

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_proven_over_http() {
    a_name_is_proven_by("http-01").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_proven_over_tls() {
    a_name_is_proven_by("tls-alpn-01").await;
}

async fn a_name_is_proven_by(challenge: &str) {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME, "two.test"], &[challenge]).start();
    for _ in [NAME, "two.test"] {
        server.wait_for_line(SERVED);
    }
    for name in [NAME, "two.test"] {
        ca.handshake(name).await.unwrap();
    }
    assert_eq!(ca.proxy.count("/order-plz"), 2, "one certificate a name");
    assert_eq!(ca.proxy.count("/sign-me-up"), 1, "one account");
    let unknown = ca.handshake("three.test").await.unwrap_err();
    assert!(
        unknown.contains("Unrecognized") || unknown.contains("AccessDenied"),
        "{unknown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_challenge_takes_over() {
    for deaf_to in BOTH {
        let ca = Pebble::setup().deaf_to(deaf_to).start().await;
        let challenges = [
            deaf_to,
            BOTH.into_iter().find(|other| *other != deaf_to).unwrap(),
        ];
        let mut server = ca.server(&[NAME], &challenges).start();
        server.line_with(SERVED);
        ca.handshake(NAME).await.unwrap();
        let ledger = ledger(&server);
        assert_eq!(ledger["proven_by"], challenges[1]);
        assert_eq!(
            ledger["attempts"][0]["failed_validations"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_is_told_in_words() {
    let ca = Pebble::setup().deaf_to("http-01").start().await;
    let mut server = ca.server(&[NAME], &["http-01"]).start();
    let line = server.line_with("the next attempt is at");
    assert!(
        line.contains("could not connect to port 80 of notes.test"),
        "{line}"
    );
    assert!(line.contains("let that port through firewall"), "{line}");
    assert_eq!(ca.proxy.count("/order-plz"), 1);
    // Clients that verify nothing get something all the same.
    let answer = http::client().get(server.url("/healthz")).send().await;
    assert!(
        answer.is_err(),
        "localhost is no name of this server: {answer:?}"
    );
    assert!(
        seen_without_verifying(&ca).await,
        "the throwaway certificate is served"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plain_listener_answers_cas_before_anything_else() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &["http-01"]).start();
    server.line_with(SERVED);
    let client = http::client();
    let table = [
        ("/.well-known/acme-challenge/unknown", NAME, 404),
        ("/.well-known/acme-challenge/unknown", "elsewhere.test", 404),
        ("/", NAME, 301),
        ("/", "elsewhere.test", 421),
    ];
    for (path, host, status) in table {
        let url = ca.plain_url(path);
        let answer = client.get(url).header("Host", host).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path} of {host}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_ca_gets_a_proof_and_nothing_else_on_its_connection() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.line_with(SERVED);
    let with = async |protocols: &[&[u8]]| {
        let mut client = ClientConfig::clone(&*ca.client().await);
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        pebble::handshake(&Arc::new(client), ca.https(), NAME).await
    };
    assert!(
        with(&[b"acme-tls/1"]).await.is_err(),
        "no proof is on offer"
    );
    assert!(
        with(&[b"h2", b"acme-tls/1"]).await.is_ok(),
        "a client that wants a site"
    );
    assert!(with(&[b"h2"]).await.is_ok());
}
