//! `tls.mode = "acme"` against a real CA.

mod boot;
mod clock;
mod eab;
mod endings;
mod identifiers;
mod kept;
mod limits;
mod pgbouncer;
mod proofs;
mod renewal;
mod shared;
mod webhook;

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::http;
use crate::support::pebble::Pebble;
use crate::support::server::{PATIENCE, Server};

const NAME: &str = "notes.test";
const BOTH: [&str; 2] = ["tls-alpn-01", "http-01"];
/// The line that says a certificate is stored, served, and seen to be served.
const SERVED: &str = "a handshake with this server got the stored certificate";
/// The line that says an order begins.
const ORDERS: &str = "ordering a certificate";

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
