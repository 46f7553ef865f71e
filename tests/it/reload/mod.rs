//! Another configuration while requests run.

mod carried;
mod certificates;
mod checks;
mod command;
mod database;
mod growth;
mod listeners;
mod load;
mod ways;

use std::process::Output;

use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{Server, Setup};

/// A server without a database, with an admin listener, and with `tables` beside its listeners.
fn site(server: &str, tables: &str) -> Server {
    prepared(server, tables).start()
}

fn prepared(server: &str, tables: &str) -> Setup {
    let config = format!(
        r#"
        [server]
        http = ["127.0.0.1:0"]
        https = ["127.0.0.1:0"]
        hosts = ["localhost"]
        {server}
        [tls]
        redirect = false
        [database]
        wait = "1ms"
        {tables}
        "#
    );
    // As it is searched for.
    let config = config.replace("\n        ", "\n");
    let nobody = "postgres://nobody@127.0.0.1:1/none";
    Setup::new().database(nobody).admin().config(&config)
}

/// A route that answers `body`.
fn says(path: &str, body: &str) -> String {
    format!("[[route]]\npath = \"{path}\"\nrespond = {{ body = \"{body}\" }}\n")
}

impl Server {
    /// Puts `to` in the place of `from` in `config.toml`, and another file in the place of that.
    fn rewrite(&self, from: &str, to: &str) {
        let path = self.path("config.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from:?} is not in\n{text}");
        std::fs::write(self.path("new"), text.replacen(from, to, 1)).unwrap();
        std::fs::rename(self.path("new"), path).unwrap();
    }

    /// `unibody reload`, which must go well; what it says.
    fn reload(&self) -> String {
        let output = self.ask(&["reload"]);
        assert!(output.status.success(), "{}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `GET path` answers on a new connection to the plain listener.
    fn get(&self, path: &str) -> RawAnswer {
        get(&mut Raw::connect(self.http.unwrap()), path)
    }

    fn status(&self) -> serde_json::Value {
        let output = self.ask(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn get(connection: &mut Raw, path: &str) -> RawAnswer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    connection.send(request).answer()
}

fn words(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!(
        "{}: {}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    )
}
