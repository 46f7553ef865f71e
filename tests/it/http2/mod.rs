//! HTTP/2 connections: requests as a client sends them, and frames as none should.

mod bounds;
mod client;
mod deadlines;
mod frames;
mod requests;
mod smuggling;

pub use client::{Client, read, to};

use std::fs;

use crate::support::server::{Server, Setup};

/// A server on a TLS port, without a database; `server` are further keys of `[server]`.
///
/// `/word` answers with text of its own, `/files/large` is a file of 4 MiB, everything else is the
/// app's.
pub fn edge(server: &str) -> Server {
    let setup = Setup::new();
    let directory = setup.directory().join("files");
    fs::create_dir(&directory).unwrap();
    let large = fs::File::create(directory.join("large")).unwrap();
    large.set_len(4 * 1024 * 1024).unwrap();
    setup
        .database("postgres://nobody@127.0.0.1:1/none")
        .config(&format!(
            r#"
            [server]
            http = []
            https = ["127.0.0.1:0"]
            hosts = ["localhost", "127.0.0.1"]
            {server}
            [database]
            wait = "1ms"
            [[route]]
            path = "/"
            app = true
            [[route]]
            path = "/files/"
            files = "files"
            [[route]]
            path = "/word"
            respond = {{ status = 200, body = "word" }}
            "#
        ))
        .start()
}

/// A connection that has agreed on HTTP/2 and says nothing.
pub async fn connect_silent(server: &Server) -> frames::Frames {
    frames::Frames::connect_silent(server).await
}
