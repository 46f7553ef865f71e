//! What routes ask of their clients before anything answers.

mod basic_auth;
mod cors;
mod networks;
mod outgoing;
mod proxy_protocol;
mod rate_limits;

use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

/// A plain server behind a trusted proxy, this machine, with these tables; its upstream "backend"
/// is `upstream`.
fn server(upstream: &Upstream, tables: &str) -> Server {
    Setup::new()
        .config(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\ntrusted_proxies = [\"127.0.0.1\"]\n\
             [tls]\nmode = \"off\"\n",
        )
        .config(&upstream.table(""))
        .config(tables)
        .start()
}

/// The answer to a request with these header lines, on a connection of its own.
fn ask(server: &Server, line: &str, headers: &str) -> RawAnswer {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!(
        "{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
    ));
    raw.last_answer()
}

/// The header line of a client behind the trusted proxy.
fn from(client: &str) -> String {
    format!("X-Forwarded-For: {client}\r\n")
}
