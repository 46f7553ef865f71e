//! The door: every HTTP/1.1 connection, one request after the other.
//!
//! 1. Wait for a head: an idle connection for `keepalive`, a begun head for `header` in all.
//! 2. Read it strictly ([`head`]); what is ambiguous is refused here and ends the connection.
//! 3. Lend the connection ([`wire`]) to Pingora, which runs the request through `edge::proxy`.
//! 4. If it comes back, go on; at shutdown an idle connection ends at once, and a busy one says
//!    `Connection: close` with its answer.

mod head;
mod refusal;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::{Shutdown, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::time::{Instant, timeout, timeout_at};

use self::head::{Head, Reading, Refusal};
pub(super) use self::wire::Wire;
use super::Edge;
use super::connection::Peer;
use super::proxy::Proxy;

/// Judges the method and target of a request that came another way by the door's measure.
///
/// # Errors
/// The status it is to be refused with.
pub(super) fn check_request_line(method: &str, target: &str) -> Result<(), StatusCode> {
    head::check_method(method.as_bytes())
        .and_then(|()| head::check_target(method, target))
        .map_or_else(|refusal| Err(refusal.status), |_| Ok(()))
}

/// Serves HTTP/1.1 on `stream` until either side closes it.
pub(super) async fn serve(
    edge: &Edge,
    proxy: &Arc<HttpProxy<Proxy>>,
    stream: Stream,
    peer: &Peer,
    shutdown: &ShutdownWatch,
) {
    let mut shutdown = shutdown.clone();
    let mut wire = Box::new(Wire::new(stream, edge.timeouts().write_idle));
    loop {
        match next_head(&mut wire, edge, &mut shutdown).await {
            Next::Head(head) => match lend(wire, head, proxy, &shutdown).await {
                Some(back) => wire = back,
                None => return,
            },
            Next::Refuse(refusal) => {
                refusal::answer(&mut wire, edge, peer, refusal).await;
                wire.close_and_listen().await;
                return;
            }
            Next::Close => {
                wire.shutdown().await;
                return;
            }
        }
    }
}

enum Next {
    Head(Head),
    Refuse(Refusal),
    /// Nothing more will come, or nothing more is wanted.
    Close,
}

async fn next_head(wire: &mut Wire, edge: &Edge, shutdown: &mut ShutdownWatch) -> Next {
    let timeouts = edge.timeouts();
    if wire.ahead().is_empty() {
        let first_bytes = tokio::select! {
            biased;
            read = timeout(timeouts.keepalive, wire.read_more()) => read,
            () = super::closing(shutdown) => return Next::Close,
        };
        if !matches!(first_bytes, Ok(Ok(true))) {
            return Next::Close;
        }
    }
    match timeout_at(Instant::now() + timeouts.header, whole_head(wire)).await {
        Ok(next) => next,
        // A stray line end was all that came: no request, so nothing to answer.
        Err(_) if wire.ahead().is_empty() => Next::Close,
        Err(_) => Next::Refuse(Refusal {
            status: StatusCode::REQUEST_TIMEOUT,
            reason: "the request head took too long",
        }),
    }
}

async fn whole_head(wire: &mut Wire) -> Next {
    let stray = loop {
        if let Some(stray) = head::leading_line_end(wire.ahead()) {
            break stray;
        }
        if !matches!(wire.read_more().await, Ok(true)) {
            return Next::Close;
        }
    };
    wire.skip(stray);
    let mut read = 0;
    loop {
        match head::read(wire.ahead(), read) {
            Reading::Complete(head) => return Next::Head(head),
            Reading::Refused(refusal) => return Next::Refuse(refusal),
            Reading::Incomplete => read = wire.ahead().len(),
        }
        if !matches!(wire.read_more().await, Ok(true)) {
            return Next::Close;
        }
    }
}

/// Lends the connection to Pingora for one request; `None` when it was closed with the answer.
async fn lend(
    mut wire: Box<Wire>,
    head: Head,
    proxy: &Arc<HttpProxy<Proxy>>,
    shutdown: &ShutdownWatch,
) -> Option<Box<Wire>> {
    let bytes = wire.begin(head.length, head.body);
    let mut session = ServerSession::new_http1(wire);
    session.set_keepalive(Some(KEEPALIVE.as_secs()));
    session.set_pipelined_prefix(bytes);
    let (stream, _) = proxy.process_new_http(session, shutdown).await?.consume();
    let mut wire = stream.into_any().downcast::<Wire>().ok()?;
    wire.end();
    Some(wire)
}

/// Only tells Pingora that the connection may live on: the door reads all heads, so Pingora never
/// waits for one.
const KEEPALIVE: Duration = Duration::from_mins(1);
