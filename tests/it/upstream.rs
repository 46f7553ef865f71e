//! Forwarding to servers of the user's own.

mod bodies;
mod failures;
mod faults;
mod grpc;
mod headers;
mod http10;
mod names;
mod nginx;
mod servers;
mod several;
mod slow_clients;
mod streams;
mod targets;
mod tls;
mod unsafe_requests;
mod upgrades;

use crate::support::raw::RawAnswer;
use crate::support::server::{Server, Setup};

/// A server that forwards everything to "backend", over plain HTTP and HTTPS; `upstream` is its
/// table.
fn forwarding_to(upstream: &str) -> Server {
    forwarding_with("", upstream)
}

/// The same, with further keys of `[server]`.
fn forwarding_with(server: &str, upstream: &str) -> Server {
    Setup::new()
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n{server}\n\
             [tls]\nredirect = false\n{upstream}\n\
             [[route]]\npath = \"/\"\nupstream = \"backend\"\n"
        ))
        .start()
}

/// The line of this answer in the access log.
fn access_line(server: &mut Server, answer: &RawAnswer) -> String {
    let id = answer.header("x-request-id").unwrap();
    // Other lines say `request_id=`.
    server.wait_for_line(&format!(" id={id}"))
}
