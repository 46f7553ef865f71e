//! HTTP/2 connections: Pingora's sessions under our bounds.
//!
//! A request whose answer is [`ready`](super::ready) is given it where it is read ([`replay`]); each
//! other has a task of its own, in which Pingora runs it through `edge::proxy`.
//!
//! The client has `timeouts.header` for its preface and `timeouts.keepalive` to be idle in; the
//! streams, header list and malformed streams of one connection are bounded. When its listener goes the client
//! is told (GOAWAY), and what it has begun is finished.

mod linger;
mod replay;

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::StatusCode;
use pingora_core::apps::HttpServerApp;
use pingora_core::protocols::http::ServerSession;
use pingora_core::protocols::http::v2::server::{H2Accept, H2Options, HttpSession, handshake};
use pingora_core::protocols::raw_connect::ProxyDigest;
use pingora_core::protocols::{Digest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::HttpProxy;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

pub(super) use self::linger::linger;
use self::replay::Outcome;
use super::Edge;
use super::connection::Peer;
use super::door::Wire;
use super::farewell::{Farewell, Stage};
use super::proxy::Proxy;
use crate::telemetry::request;

/// Streams one client may have open at once.
const MAX_STREAMS: u32 = 100;
/// Bytes of one request's header list (RFC 9113, section 6.5.2).
const MAX_HEADER_LIST: u32 = 32 * 1024;
/// Malformed requests after which the connection ends.
const MAX_MALFORMED: u32 = 32;
/// Bytes a client may send ahead on one stream: enough for an upload over a long way.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Bytes a client may send ahead on all streams together.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of answers held per stream while the client is slow to take them.
const SEND_BUFFER: usize = 256 * 1024;
/// How long an idle client has to go after it was told to.
const FAREWELL: Duration = Duration::from_secs(2);

/// Serves HTTP/2 on `stream` until either side closes it.
pub(super) async fn serve(
    edge: &Arc<Edge>,
    proxy: &Arc<HttpProxy<Proxy>>,
    stream: Stream,
    peer: &Peer,
    shutdown: &ShutdownWatch,
) {
    let digest = Arc::new(Digest {
        ssl_digest: stream.get_ssl_digest(),
        timing_digest: stream.get_timing_digest(),
        proxy_digest: Some(Arc::new(ours(peer))),
        socket_digest: stream.get_socket_digest(),
    });
    let timeouts = edge.timeouts();
    // A client that still sends (acknowledges, opens windows) when we close would be answered with a
    // reset, and what it hasn't read yet would be lost.
    let farewell = peer.farewell.clone();
    let stream = Wire::of_another_protocol(stream, timeouts.write_idle, farewell);
    let backlog = stream.backlog();
    let stream: Stream = Box::new(stream);
    let preface = timeout(timeouts.header, handshake(stream, Some(options())));
    let mut connection = tokio::select! {
        biased;
        connection = preface => match connection {
            Ok(Ok(connection)) => connection,
            Ok(Err(_)) | Err(_) => return,
        },
        // Nothing has been asked yet, so nothing is lost.
        () = peer.farewell.reached(Stage::Leaving) => return,
    };
    let mut last = pin!(peer.farewell.reached(Stage::LastAnswer));

    let running = Running::none();
    let mut malformed = 0;
    let mut going_away = false;
    loop {
        let accepted = tokio::select! {
            biased;
            () = last.as_mut(), if !going_away => {
                connection.graceful_shutdown();
                going_away = true;
                continue;
            }
            accepted = HttpSession::from_h2_conn(&mut connection, digest.clone()) => accepted,
            () = running.idle(timeouts.keepalive), if !going_away => {
                connection.graceful_shutdown();
                going_away = true;
                continue;
            }
            // One that was told to go and has nothing left to wait for doesn't stay.
            // While it is slow to take the last answers the wire sees to it that it takes something.
            () = running.idle(FAREWELL), if going_away => {
                if backlog.load(Ordering::Relaxed) {
                    continue;
                }
                break;
            }
        };
        match accepted {
            Ok(Some(H2Accept::Session(session))) => match replay::answer(edge, peer, session) {
                Outcome::Answered => {}
                Outcome::Underway(rest) => running.spawn(rest),
                Outcome::NotReady(session) => {
                    let (edge, proxy, shutdown) = (edge.clone(), proxy.clone(), shutdown.clone());
                    running.spawn(async move {
                        let session = ServerSession::new_http2(session);
                        let answered = proxy.process_new_http(session, &shutdown);
                        request::scope(edge.panics.lend(answered)).await;
                    });
                }
            },
            Ok(Some(H2Accept::Rejected)) if malformed < MAX_MALFORMED => {
                malformed += 1;
                edge.measures.refused(StatusCode::BAD_REQUEST);
            }
            Ok(_) | Err(_) => break,
        }
    }
    // Streams notice that it is gone. Each still has its line to write, and counts as open until then.
    drop(connection);
    running.ended().await;
}

/// The one thing of ours that each of Pingora's sessions carries along; there is no proxy that has
/// answered anything.
fn ours(peer: &Peer) -> ProxyDigest {
    let (nothing, ()) = http::Response::new(()).into_parts();
    let farewell = Box::new(peer.farewell.clone());
    ProxyDigest::new(Box::new(nothing.into()), Some(farewell))
}

/// How the connection with this digest comes to its end.
pub(super) fn farewell_of(digest: &Digest) -> Option<&Arc<Farewell>> {
    let ours = digest.proxy_digest.as_ref()?.user_data.as_ref()?;
    ours.downcast_ref()
}

fn options() -> H2Options {
    let mut options = H2Options::new();
    options
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER);
    options
}

/// How many streams are open that have a task of their own.
struct Running(Arc<watch::Sender<usize>>);

impl Running {
    fn none() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Runs a stream in a task of its own.
    fn spawn(&self, stream: impl Future<Output = ()> + Send + 'static) {
        let open = Open::count(&self.0);
        tokio::spawn(async move {
            stream.await;
            drop(open);
        });
    }

    /// Resolves when no stream has been open for `time`.
    async fn idle(&self, time: Duration) {
        self.ended().await;
        sleep(time).await;
    }

    /// Resolves when no stream is open.
    async fn ended(&self) {
        let mut watched = self.0.subscribe();
        // The sender is borrowed, so it can't be gone.
        let _ = watched.wait_for(|running| *running == 0).await;
    }
}

/// Counts one open stream while it lives.
struct Open(Arc<watch::Sender<usize>>);

impl Open {
    fn count(running: &Arc<watch::Sender<usize>>) -> Self {
        running.send_modify(|running| *running += 1);
        Self(running.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}
