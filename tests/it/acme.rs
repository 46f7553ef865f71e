//! `tls.mode = "acme"` against a real CA.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use rustls::ClientConfig;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::support::http;
use crate::support::pebble::{self, Pebble};
use crate::support::server::{PATIENCE, Server};

const NAME: &str = "notes.test";
const BOTH: [&str; 2] = ["tls-alpn-01", "http-01"];
/// The line that says a certificate is stored, served, and seen to be served.
const SERVED: &str = "a handshake with this server got the stored certificate";

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
        server.wait_for_line(SERVED);
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
    let line = server.wait_for_line("the next attempt is at");
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
    server.wait_for_line(SERVED);
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
    server.wait_for_line(SERVED);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_that_is_away_at_boot_keeps_nothing_waiting() {
    let ca = Pebble::setup().start().await;
    ca.proxy.refuse("/", 503, None, usize::MAX);
    let mut server = ca.server(&[NAME], &BOTH).start();
    let line = server.wait_for_line("the next attempt is at");
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
    server.wait_for_line(SERVED);
    ca.handshake(NAME).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ca_asks_for_in_retry_after_is_obeyed() {
    for status in [500, 429] {
        let ca = Pebble::setup().start().await;
        ca.proxy.refuse("/order-plz", status, Some(3), 1);
        let mut server = ca.server(&[NAME], &BOTH).start();
        server.wait_for_line("the next attempt is at");
        let refused = std::time::Instant::now();
        server.wait_for_line(SERVED);
        let ordered = ca.proxy.passed("/order-plz")[0].at;
        // The line comes a moment after the refusal itself.
        assert!(ordered - refused > Duration::from_secs(2), "{status}");
        ca.handshake(NAME).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_survives_the_death_of_its_process() {
    let ca = Pebble::setup().start().await;
    ca.proxy.hang("/finalize-order/");
    let mut server = ca.server(&[NAME], &BOTH).start();
    ca.proxy.seen("/finalize-order/", 1).await;
    server.signal(Signal::SIGKILL);
    server.wait();
    ca.proxy.heal();
    let mut server = server.restart();
    server.line_with("taking up the order that was left unfinished");
    server.wait_for_line(SERVED);
    ca.handshake(NAME).await.unwrap();
    assert_eq!(ca.proxy.count("/order-plz"), 1, "the same order");
    assert!(!place(&server).join("order.json").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_certificates_are_served_after_a_restart_without_an_order() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.wait_for_line(SERVED);
    let before = ca.handshake(NAME).await.unwrap();
    let requests = ca.proxy.count("/order-plz");
    // Not even the CA's absence is noticed.
    ca.proxy.refuse("/", 503, None, usize::MAX);
    let mut server = server.restart();
    server.wait_for_line(SERVED);
    assert_eq!(ca.handshake(NAME).await.unwrap(), before);
    assert_eq!(ca.proxy.count("/order-plz"), requests);
    assert!(!server.log().contains("ordering a certificate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn truncated_files_are_set_aside_and_made_anew() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.wait_for_line(SERVED);
    let before = ca.handshake(NAME).await.unwrap();
    let server = stopped(server);
    let place = place(&server);
    let account = place.parent().unwrap().join("account-nobody.json");
    for file in [place.join("pair.pem"), place.join("ledger.json"), account] {
        let text = std::fs::read(&file).unwrap();
        std::fs::write(&file, &text[..text.len() / 2]).unwrap();
    }
    let mut server = server.restart();
    server.wait_for_line(SERVED);
    assert_ne!(ca.handshake(NAME).await.unwrap(), before);
    assert!(
        server.log().contains("pair.pem.damaged-"),
        "{}",
        server.log()
    );
    assert!(
        server.log().contains("ledger.json.damaged-"),
        "{}",
        server.log()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_ca_has_forgotten_is_registered_again() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.wait_for_line(SERVED);
    let server = stopped(server);
    let place = place(&server);
    let file = place.parent().unwrap().join("account-nobody.json");
    let mut account: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let id = account["id"].as_str().unwrap();
    account["id"] = json!(format!(
        "{}/no-such-account",
        id.rsplit_once('/').unwrap().0
    ));
    std::fs::write(&file, account.to_string()).unwrap();
    std::fs::remove_file(place.join("pair.pem")).unwrap();
    let mut server = server.restart();
    server.wait_for_line("registered an account");
    server.wait_for_line(SERVED);
    ca.handshake(NAME).await.unwrap();
    assert_eq!(ca.proxy.count("/sign-me-up"), 2);
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

#[tokio::test(flavor = "multi_thread")]
async fn the_fifth_certificate_in_seven_days_is_refused_with_the_reason() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.wait_for_line(SERVED);
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
async fn renewals_lose_no_handshake_and_each_new_certificate_is_served() {
    // Half of 24 seconds, and no certificate of a test is ever near its end.
    let validity = Duration::from_secs(24);
    let ca = Pebble::setup().validity(validity).start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.wait_for_line(SERVED);
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
    for _ in 0..3 {
        server.wait_for_line(SERVED);
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
    server.wait_for_line(SERVED);
    let before = ca.handshake(NAME).await.unwrap();
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

/// A client that resumes no session: each handshake shows a certificate.
fn fresh(client: &ClientConfig) -> Arc<ClientConfig> {
    let mut client = client.clone();
    client.resumption = rustls::client::Resumption::disabled();
    Arc::new(client)
}

/// Whether a client that verifies nothing is served at all.
async fn seen_without_verifying(ca: &Pebble) -> bool {
    let address = ca.https();
    let client = http::builder().resolve(NAME, address).build().unwrap();
    let url = format!("https://{NAME}:{}/healthz", address.port());
    let answer = client.get(url).timeout(PATIENCE).send().await;
    answer.is_ok_and(|answer| answer.status() == 200)
}

fn stopped(mut server: Server) -> Server {
    server.stop();
    server
}

fn ledger(server: &Server) -> Value {
    serde_json::from_slice(&std::fs::read(ledger_file(server)).unwrap()).unwrap()
}

fn ledger_file(server: &Server) -> PathBuf {
    place(server).join("ledger.json")
}

/// Where everything of the name lies.
fn place(server: &Server) -> PathBuf {
    let acme = server.path("certs/acme");
    let directory = only_entry(&acme);
    directory.join(NAME)
}

fn only_entry(directory: &Path) -> PathBuf {
    let entries: Vec<_> = std::fs::read_dir(directory).unwrap().collect();
    assert_eq!(entries.len(), 1);
    entries.into_iter().next().unwrap().unwrap().path()
}
