//! What the server tells its owner of itself: a small listener of its own, beside those for visitors.
//!
//! 1. [`bind`] takes `server.admin` before anything is started, [`serve`] answers there until the end.
//! 2. [`guard`] lets through what no web page of somebody else can have sent.
//! 3. [`status`] is everything as JSON with what is wrong in front ([`troubles`]), [`metrics`] the
//!    figures for Prometheus, [`dashboard`] all of it for the eye, with the last ten minutes that the
//!    [`sampler`] remembers; [`renew`], [`reload`], [`upgrade`],
//!    [`log`] and [`purge`] are what can be asked for.
//!
//! Whoever reaches the listener may use it: it is for this machine or a private network.

mod dashboard;
mod guard;
pub mod log;
mod metrics;
pub mod purge;
pub mod reload;
pub mod renew;
mod sampler;
pub mod status;
pub mod troubles;
pub mod upgrade;

pub use self::sampler::traffic;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRef};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use time::OffsetDateTime;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt;

use self::dashboard::Teller;
use self::reload::Reloads;
use self::sampler::Sampler;
use crate::backup::task::Keeper;
use crate::certificates::Certificates;
use crate::config::Config;
use crate::database::Database;
use crate::edge::Figures;
use crate::edge::bound::{self, AtHand, Bound};
use crate::telemetry::{Logging, Output, Tally};

/// Connections at once: a scraper or two, and people.
const CONNECTIONS: usize = 64;
/// For a whole head, and as long may an idle connection stay.
const HEAD: Duration = Duration::from_secs(30);
/// For a body, all of it.
const BODY: Duration = Duration::from_secs(10);
/// Bytes of the largest body.
const MAX_BODY: usize = 16 * 1024;
/// Between two attempts to accept, when the system has no more sockets.
const BREATH: Duration = Duration::from_millis(100);
/// For the last words of streams, at the end.
const FAREWELL: Duration = Duration::from_secs(1);
/// How long what was sent may stay unacknowledged: a laptop that was closed leaves no connection behind.
#[cfg(target_os = "linux")]
const UNHEARD: Duration = Duration::from_secs(30);

/// One client that waits is ten of them a second.
static UNACCEPTED: Tally = Tally::new("attempts of the admin listener to accept failed", 1);

/// What there is to tell of.
#[derive(Clone)]
pub struct Subject {
    /// The configuration in force.
    pub config: Arc<Config>,
    /// What is logged, which can be changed here.
    pub logging: Logging,
    /// Where it goes.
    pub output: Output,
    /// Since when the process runs.
    pub started: OffsetDateTime,
    /// Where visitors are served.
    pub listeners: Listeners,
    /// What they are shown.
    pub certificates: Arc<Certificates>,
    /// Where the notes are; none where nothing needs it.
    pub database: Option<Database>,
    /// Its backups.
    pub backups: Option<Arc<Keeper>>,
    /// What the visitors' listeners count.
    pub edge: Figures,
    /// How the configuration is read again.
    pub reloads: Arc<Reloads>,
    /// Where a new process is asked for.
    pub upgrades: upgrade::Desk,
}

/// The addresses really bound.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listeners {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Vec<SocketAddr>,
    /// The listener that tells of it.
    pub admin: SocketAddr,
}

/// What those who answer share. What there is to tell of may change; each request is answered from one
/// [`Subject`].
#[derive(Clone)]
struct Shared {
    subject: Arc<ArcSwap<Subject>>,
    sampler: Arc<Sampler>,
    teller: Arc<Teller>,
    stopped: watch::Receiver<bool>,
}

impl FromRef<Shared> for Arc<Subject> {
    fn from_ref(shared: &Shared) -> Self {
        shared.subject.load_full()
    }
}

/// Binds `server.admin`, unless it is at hand; `None` where that is switched off.
///
/// # Errors
/// One line naming the address, the configuration key and the remedy.
pub fn bind(config: &Config, at_hand: &mut AtHand) -> anyhow::Result<Option<Bound>> {
    let address = config.server.admin.as_slice();
    let bound = bound::bind("server.admin", address, at_hand)?;
    Ok(bound.into_iter().next())
}

/// Answers on `bound` until `stopped` turns true, or its sender is gone: of what `subject` holds at each
/// moment. What is being answered then has a moment to get through; await what is returned for that.
///
/// # Errors
/// A socket that cannot be prepared.
pub fn serve(
    bound: Bound,
    subject: Arc<ArcSwap<Subject>>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<tokio::task::JoinHandle<()>> {
    let address = bound.address;
    let listener = bound
        .into_tokio()
        .with_context(|| format!("cannot prepare the socket of {address}"))?;
    let shared = Shared {
        sampler: Arc::new(Sampler::new(Arc::clone(&subject))),
        teller: Arc::new(Teller::new()),
        subject,
        stopped: stopped.clone(),
    };
    let router = router(shared.clone(), address);
    Ok(tokio::spawn(async move {
        tokio::join!(
            accept(listener, router, stopped.clone()),
            shared.sampler.keep_sampling(stopped.clone()),
            shared.teller.keep_telling(&shared, stopped),
        );
    }))
}

fn router(shared: Shared, address: SocketAddr) -> Router {
    dashboard::routes()
        .route("/status", get(status::answer))
        .route("/metrics", get(metrics::answer))
        .route(renew::PATH, post(renew::answer))
        .route(reload::PATH, post(reload::answer))
        .route(log::PATH, get(log::answer).post(log::change))
        .route(purge::PATH, post(purge::answer))
        .route(upgrade::PATH, post(upgrade::answer))
        .fallback(|| async {
            let words = "not here; GET /, GET /status and GET /metrics are\n";
            (StatusCode::NOT_FOUND, words)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(move |request, next| {
            guard::pass(address, request, next)
        }))
        .with_state(shared)
}

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            next = next => next,
            _ = stopped.wait_for(|stop| *stop) => break,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((socket, _)) => {
                give_up_on_the_silent(&socket);
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(async move {
                    converse(socket, router, stopped).await;
                    drop(permit);
                });
            }
            Err(error) => {
                if UNACCEPTED.count(|| error.to_string()) {
                    tracing::warn!(%error, "the admin listener cannot accept");
                }
                tokio::time::sleep(BREATH).await;
            }
        }
    }
    // A successor may be waiting for the address.
    drop(listener);
    // Each ends with the answer it is giving: one of them says how an upgrade went. What takes longer is
    // dropped, and asked again.
    let _ = timeout(FAREWELL, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// Otherwise the system waits a quarter of an hour for a peer that is gone.
fn give_up_on_the_silent(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    {
        let patience = u32::try_from(UNHEARD.as_millis()).unwrap_or(u32::MAX);
        let option = nix::sys::socket::sockopt::TcpUserTimeout;
        if let Err(error) = nix::sys::socket::setsockopt(socket, option, &patience) {
            tracing::debug!(%error, "a connection to the admin listener keeps the system's patience");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

async fn converse(socket: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let has_asked = AtomicBool::new(false);
    let service = hyper::service::service_fn(|request| {
        has_asked.store(true, Ordering::Relaxed);
        respond(router.clone(), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(socket), service);
    let mut connection = pin!(connection);
    // How a client's connection ended is the client's business.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stopped.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
    }
    // Who has asked nothing yet is not waited for: half a head may stay half.
    if has_asked.load(Ordering::Relaxed) {
        let _ = connection.await;
    }
}

/// Reads the body first, so that nothing below waits for a client.
async fn respond(
    router: Router,
    request: Request<Incoming>,
) -> Result<Response<axum::body::Body>, Infallible> {
    let (head, body) = request.into_parts();
    let limited = http_body_util::Limited::new(body, MAX_BODY).collect();
    let body: Bytes = match timeout(BODY, limited).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Ok(refusal(StatusCode::PAYLOAD_TOO_LARGE)),
        Err(_) => return Ok(refusal(StatusCode::REQUEST_TIMEOUT)),
    };
    let request = Request::from_parts(head, axum::body::Body::from(body));
    router.oneshot(request).await
}

fn refusal(status: StatusCode) -> Response<axum::body::Body> {
    let mut response = Response::new(axum::body::Body::empty());
    *response.status_mut() = status;
    response
}
