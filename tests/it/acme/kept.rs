//! What is kept in `tls.certs_dir` outlives the process, and damage to it costs little.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{BOTH, NAME, ORDERS, SERVED, place, stopped};
use crate::support::pebble::Pebble;

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
    server.line_with(SERVED);
    let before = ca.handshake(NAME).await.unwrap();
    let requests = ca.proxy.count("/order-plz");
    // Not even the CA's absence is noticed.
    ca.proxy.refuse("/", 503, None, usize::MAX);
    let mut server = server.restart();
    server.line_with(SERVED);
    assert_eq!(ca.handshake(NAME).await.unwrap(), before);
    assert_eq!(ca.proxy.count("/order-plz"), requests);
    assert!(
        !server.log().contains("serving a new certificate"),
        "it is in service from the first handshake on"
    );
    assert!(!server.log().contains("ordering a certificate"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_cut_off_costs_no_order_while_there_is_a_certificate() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).admin().start();
    server.line_with(SERVED);
    let first = ca.handshake(NAME).await.unwrap();
    assert!(server.ask(&["certs", "renew", NAME]).status.success());
    let second = ca.handshake(NAME).await.unwrap();
    assert_ne!(first, second);
    let place = place(&server);
    let table = [
        ("pair.pem", &first, "the one before takes its place"),
        ("certificate.pem", &second, "a copy"),
        ("previous/pair.pem", &second, "not in use"),
        ("previous/certificate.pem", &second, "a copy"),
        ("ledger.json", &second, "begun anew"),
        ("../account-nobody.json", &second, "not needed now"),
        ("lock", &second, "empty anyway"),
    ];
    for (file, expected, why) in table {
        for cut in [0, 2] {
            server = stopped(server);
            let path = place.join(file);
            let whole = std::fs::read(&path).unwrap();
            let rest = whole.len().checked_div(cut).unwrap_or_default();
            std::fs::write(&path, &whole[..rest]).unwrap();
            server = server.restart();
            server.line_with(SERVED);
            let shown = ca.handshake(NAME).await.unwrap();
            assert_eq!(&shown, expected, "{file}: {why}");
            assert!(!server.log().contains(ORDERS), "{}", server.log());
            std::fs::write(&path, whole).unwrap();
        }
    }
    assert_eq!(ca.proxy.count("/order-plz"), 2);
    assert_eq!(ca.proxy.count("/sign-me-up"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_were_cut_off_are_set_aside_and_made_anew() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.line_with(SERVED);
    let before = ca.handshake(NAME).await.unwrap();
    let server = stopped(server);
    let place = place(&server);
    let account = place.parent().unwrap().join("account-nobody.json");
    let files = [place.join("pair.pem"), place.join("ledger.json"), account];
    for file in &files {
        let text = std::fs::read(file).unwrap();
        std::fs::write(file, &text[..text.len() / 2]).unwrap();
    }
    let mut server = server.restart();
    server.line_with(SERVED);
    assert_ne!(ca.handshake(NAME).await.unwrap(), before);
    assert_eq!(ca.proxy.count("/sign-me-up"), 2);
    // A damaged account is worth nothing, and the next one is written over it.
    for file in ["pair.pem", "ledger.json"] {
        let aside = format!("{file}.damaged-");
        assert!(server.log().contains(&aside), "{}", server.log());
    }
    for file in files {
        assert_ne!(std::fs::metadata(file).unwrap().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_whose_file_was_cut_off_is_made_again() {
    let ca = Pebble::setup().start().await;
    ca.proxy.hang("/finalize-order/");
    let mut server = ca.server(&[NAME], &BOTH).start();
    ca.proxy.seen("/finalize-order/", 1).await;
    server.kill();
    ca.proxy.heal();
    let order = place(&server).join("order.json");
    let text = std::fs::read(&order).unwrap();
    std::fs::write(&order, &text[..text.len() / 2]).unwrap();
    let mut server = server.restart();
    server.line_with("order.json.damaged-");
    server.wait_for_line(SERVED);
    ca.handshake(NAME).await.unwrap();
    assert_eq!(ca.proxy.count("/order-plz"), 2, "another order");
    assert!(!order.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_any_more_is_still_served() {
    let ca = Pebble::setup().start().await;
    let setup = ca.server(&[NAME], &BOTH).admin();
    // Out of reach, too, for one who may do nothing.
    let mut server = setup.config("[database]\nwait = \"0s\"").start();
    server.line_with(SERVED);
    let before = ca.handshake(NAME).await.unwrap();
    let server = stopped(server);
    let certs = server.path("certs");
    set_modes(&certs, 0o500, 0o400);

    let mut server = server.restart_powerless();
    server.line_with(SERVED);
    assert_eq!(ca.handshake(NAME).await.unwrap(), before);
    let output = server.ask(&["certs", "renew", NAME]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("Permission denied"), "{said}");
    assert!(said.contains("certs/acme/"), "{said}");
    assert_eq!(ca.handshake(NAME).await.unwrap(), before);
    assert_eq!(
        ca.proxy.count("/order-plz"),
        1,
        "nothing is ordered in vain"
    );

    set_modes(&certs, 0o700, 0o600);
    assert!(server.ask(&["certs", "renew", NAME]).status.success());
    assert_ne!(ca.handshake(NAME).await.unwrap(), before);
}

/// Sets the modes of all directories and files from `path` down.
fn set_modes(path: &Path, directories: u32, files: u32) {
    let mode = |mode| std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    if !path.is_dir() {
        return mode(files);
    }
    mode(0o700);
    for entry in std::fs::read_dir(path).unwrap() {
        set_modes(&entry.unwrap().path(), directories, files);
    }
    mode(directories);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_the_ca_has_forgotten_is_registered_again() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&[NAME], &BOTH).start();
    server.line_with(SERVED);
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
    server.line_with("registered an account");
    server.wait_for_line(SERVED);
    ca.handshake(NAME).await.unwrap();
    assert_eq!(ca.proxy.count("/sign-me-up"), 2);
}
