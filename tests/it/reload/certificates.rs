//! New names get certificates, and no handshake is refused meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use super::{says, site};
use crate::support::handshake::{Handshake, Handshakes};
use crate::support::pebble::Pebble;

fn covers(handshake: &Handshake, name: &str) -> bool {
    let der = handshake.certificate();
    let (_, certificate) = X509Certificate::from_der(&der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let mut names = names.value.general_names.iter();
    names.any(|known| matches!(known, GeneralName::DNSName(known) if *known == name))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_in_the_self_signed_certificate_at_once() {
    let server = site("", &says("/", "here"));
    let https = server.https.unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let client = tokio::spawn({
        let is_over = is_over.clone();
        async move {
            let tls = Handshakes::new(&["h2", "http/1.1"]);
            let mut count = 0;
            while !is_over.load(Ordering::Relaxed) {
                tls.connect(https, "localhost").await.unwrap();
                count += 1;
            }
            count
        }
    });
    let tls = Handshakes::new(&["http/1.1"]);
    let before = tls.connect(https, "localhost").await.unwrap();
    assert!(!covers(&before, "new.test"));
    let mut hosts = "hosts = [\"localhost\"]".to_owned();
    for number in 0..5 {
        let name = format!("new-{number}.test");
        let more = hosts.replace(']', &format!(", \"{name}\"]"));
        server.rewrite(&hosts, &more);
        hosts = more;
        server.reload();
        let after = Handshakes::new(&["http/1.1"]);
        let after = after.connect(https, &name).await.unwrap();
        assert!(covers(&after, &name) && covers(&after, "localhost"));
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(client.await.unwrap() > 0);
}

/// Asks something, for the tickets of TLS 1.3 come with the first bytes.
async fn is_resumed(client: &Handshakes, https: SocketAddr) -> bool {
    let mut handshake = client.connect(https, "localhost").await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    handshake.stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    handshake.stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{answer:?}");
    handshake.is_resumed()
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_resumed_across_reloads_and_new_certificates() {
    let server = site("", &says("/", "here"));
    let https = server.https.unwrap();
    let clients = [
        (Handshakes::new(&["http/1.1"]), "1.3"),
        (Handshakes::tls12(), "1.2"),
    ];
    for (client, version) in &clients {
        assert!(!is_resumed(client, https).await, "the first of {version}");
    }
    let table = [
        (
            "hosts = [\"localhost\"]",
            "hosts = [\"localhost\", \"new.test\"]",
            "another certificate",
        ),
        (
            "redirect = false",
            "redirect = false\nhsts = \"1 day\"",
            "another table [tls]",
        ),
        ("\"here\"", "\"there\"", "nothing of TLS"),
    ];
    for (from, to, why) in table {
        server.rewrite(from, to);
        server.reload();
        for (client, version) in &clients {
            assert!(is_resumed(client, https).await, "{why}, {version}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_ordered_and_the_others_go_on() {
    const NAMES: [&str; 2] = ["one.test", "two.test"];
    const SERVED: &str = "a handshake with this server got the stored certificate";
    let ca = Pebble::setup().start().await;
    let setup = ca.server(&NAMES[..1], &["tls-alpn-01"]);
    let mut server = setup.admin().start();
    server.line_with(SERVED);
    let first = ca.handshake(NAMES[0]).await.unwrap();
    server.rewrite(
        "hosts = [\"one.test\"]",
        "hosts = [\"one.test\", \"two.test\"]",
    );
    server.reload();
    // The one that is there goes on being served, before anything is ordered.
    assert_eq!(ca.handshake(NAMES[0]).await.unwrap(), first);
    loop {
        if server.wait_for_line(SERVED).contains(NAMES[1]) {
            break;
        }
    }
    ca.handshake(NAMES[1]).await.unwrap();
    assert_eq!(ca.handshake(NAMES[0]).await.unwrap(), first);
    assert_eq!(
        ca.proxy.passed("/order-plz").len(),
        2,
        "one order for each name"
    );
}
