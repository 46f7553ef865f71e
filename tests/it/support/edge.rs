//! The edge in this process, in front of a router of the test's own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use unibody::certificates::Certificates;
use unibody::certificates::resumption::Tickets;
use unibody::config::{self, Environment};
use unibody::edge::bound::AtHand;
use unibody::edge::{self, Figures, Running, Sockets};
use unibody::telemetry::Output;

use super::server::PATIENCE;

/// An edge that serves until it is dropped, on a runtime of its own, so that tests may block.
pub struct Edge {
    runtime: Option<Runtime>,
    running: Option<Running>,
    _directory: TempDir,
    /// Its plain listener.
    pub http: SocketAddr,
    /// Its TLS listener.
    pub https: SocketAddr,
}

impl Edge {
    /// Serves `app` on every path; plain HTTP is not redirected.
    pub fn serve(app: Router) -> Self {
        Self::with("", app)
    }

    /// The same, with further tables of `config.toml`.
    pub fn with(tables: &str, app: Router) -> Self {
        Self::with_server("", tables, app)
    }

    /// The same, with further keys of `[server]`.
    pub fn with_server(server: &str, tables: &str, app: Router) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let text = format!(
            r#"
            [server]
            http = ["127.0.0.1:0"]
            https = ["127.0.0.1:0"]
            {server}
            [tls]
            redirect = false
            [log]
            access = "off"
            [[route]]
            path = "/"
            app = true
            {tables}
            "#
        );
        let config =
            Arc::new(config::parse(&text, directory.path(), &Environment::empty()).unwrap());
        let runtime = Runtime::new().unwrap();
        let entered = runtime.enter();
        let certificates = Certificates::load(&config).unwrap();
        let sockets = Sockets::bind(&config, &mut AtHand::nothing()).unwrap();
        let (http, https) = (sockets.http[0].address, sockets.https[0].address);
        let tickets = Tickets::new().unwrap();
        let tls = Some(Arc::new(certificates.server_config(&tickets).unwrap()));
        let output = Output::stdout().unwrap();
        let tls = tls.map(|config| edge::Tls {
            config,
            challenges: None,
        });
        let running = edge::prepare(&config, sockets, tls, app, &output).unwrap();
        let running = running.serve();
        drop(entered);
        Self {
            runtime: Some(runtime),
            running: Some(running),
            _directory: directory,
            http,
            https,
        }
    }

    /// Leaves its clients to another process.
    pub fn hand_over(&mut self) {
        let running = self.running.take().expect("it serves");
        let runtime = self.runtime.as_ref().expect("it is not dropped");
        runtime.spawn(running.hand_over(PATIENCE));
    }

    /// Stops it; returns how many connections were cut after `drain`. Its runtime goes on.
    pub fn stop(&mut self, drain: Duration) -> usize {
        let running = self.running.take().expect("it serves");
        let runtime = self.runtime.as_ref().expect("it is not dropped");
        runtime.block_on(running.stop(drain))
    }

    /// What it counts.
    pub fn figures(&self) -> Figures {
        self.running.as_ref().expect("it serves").figures()
    }

    /// The URL of `path` on the TLS listener.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.https.port())
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // What still runs is what the test has left running.
            runtime.shutdown_background();
        }
    }
}
