//! HTTP/1.1 connections, byte by byte.

mod bodies;
mod caps;
mod connections;
mod deadlines;
mod refusals;

use std::net::SocketAddr;

use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};

/// A server on a plain port, without a database; `server` are further keys of `[server]`.
///
/// `/word/…` answers with text of its own, `/files/` from its directory, everything else is the app's.
fn edge(server: &str) -> Server {
    edge_with(server, Setup::new())
}

fn edge_with(server: &str, setup: Setup) -> Server {
    std::fs::create_dir_all(setup.directory().join("files")).unwrap();
    setup
        .database("postgres://nobody@127.0.0.1:1/none")
        .config(&format!(
            r#"
            [server]
            http = ["127.0.0.1:0"]
            https = []
            hosts = ["localhost", "127.0.0.1"]
            {server}
            [tls]
            mode = "off"
            [database]
            wait = "1ms"
            [[route]]
            path = "/"
            app = true
            [[route]]
            path = "/files/"
            files = "files"
            [[route]]
            path = "/word/one"
            respond = {{ status = 200, body = "one" }}
            [[route]]
            path = "/word/two"
            respond = {{ status = 200, body = "two" }}
            [[route]]
            path = "/word/three"
            respond = {{ status = 200, body = "three" }}
            "#
        ))
        .start()
}

fn address(server: &Server) -> SocketAddr {
    server.http.unwrap()
}

fn connect(server: &Server) -> Raw {
    Raw::connect(address(server))
}

/// A GET without further headers.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The head of a POST to the notes with further `fields`, each ending in CRLF.
fn post(fields: &str) -> String {
    format!(
        "POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{fields}\r\n"
    )
}
