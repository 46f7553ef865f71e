//! Questions to the running server, at `server.admin`, which is all that is read to ask them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::time::timeout;

use crate::admin::status::Status;

/// For what the server knows by heart.
const PATIENCE: Duration = Duration::from_secs(10);
/// A server with a thousand names tells less than this.
const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// Why there is no answer.
pub(super) enum Silence {
    /// `server.admin` is switched off.
    SwitchedOff,
    /// Nobody listens there.
    NotRunning(SocketAddr),
    /// Somebody does, but what comes from there is no answer.
    Other(anyhow::Error),
}

/// What the server says of itself.
pub(super) async fn status(admin: Option<SocketAddr>) -> Result<Status, Silence> {
    let (status, body) = get(admin, "/status", PATIENCE).await?;
    if status != StatusCode::OK {
        let words = String::from_utf8_lossy(&body);
        let error = anyhow!("/status answered {status}: {}", words.trim());
        return Err(Silence::Other(error));
    }
    let parsed = serde_json::from_slice(&body)
        .context("/status answered something else; is another program at server.admin?");
    parsed.map_err(Silence::Other)
}

/// GETs `path` and waits for the answer for at most `patience`.
pub(super) async fn get(
    admin: Option<SocketAddr>,
    path: &str,
    patience: Duration,
) -> Result<(StatusCode, Bytes), Silence> {
    ask(admin, Request::get(path).body(Bytes::new()), patience).await
}

/// POSTs JSON to `path` and waits for the answer for at most `patience`.
pub(super) async fn post(
    admin: Option<SocketAddr>,
    path: &str,
    body: &impl serde::Serialize,
    patience: Duration,
) -> Result<(StatusCode, Bytes), Silence> {
    let body = serde_json::to_vec(body).map_err(|error| Silence::Other(error.into()))?;
    let request = Request::post(path).header(CONTENT_TYPE, "application/json");
    ask(admin, request.body(body.into()), patience).await
}

async fn ask(
    admin: Option<SocketAddr>,
    request: Result<Request<Bytes>, http::Error>,
    patience: Duration,
) -> Result<(StatusCode, Bytes), Silence> {
    let address = reachable(admin.ok_or(Silence::SwitchedOff)?);
    let exchange = async {
        let (mut head, body) = request?.into_parts();
        head.uri = format!("http://{address}{}", head.uri).parse()?;
        let request = Request::from_parts(head, Full::new(body));
        let client = Client::builder(TokioExecutor::new()).build_http();
        let (head, body) = client.request(request).await?.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| anyhow!(error))?.to_bytes();
        anyhow::Ok((head.status, body))
    };
    match timeout(patience, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) if is_refused(&error) => Err(Silence::NotRunning(address)),
        Ok(Err(error)) => Err(Silence::Other(
            error.context(format!("no answer from {address} (server.admin)")),
        )),
        Err(_) => Err(Silence::Other(anyhow!(
            "no answer from {address} (server.admin) within {} s; is the server still starting?",
            patience.as_secs()
        ))),
    }
}

fn is_refused(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::ConnectionRefused)
    })
}

/// A listener on every address is reached by the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(four) if four.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(six) if six.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

impl Silence {
    /// What to do, for what `signal` (as `HUP`) asks for as well: that needs no address.
    pub(super) fn or_by(self, signal: &str) -> anyhow::Error {
        let instead = format!(
            "send SIG{signal} to its process instead (kill -{signal} PID), and look into its log"
        );
        match self {
            Self::SwitchedOff => {
                anyhow!("server.admin is switched off, so the server cannot be asked; {instead}")
            }
            Self::NotRunning(address) => anyhow!(
                "nobody listens at {address} (server.admin): is the server running? If server.admin was changed since it started, {instead}"
            ),
            Self::Other(error) => error,
        }
    }
}

impl From<Silence> for anyhow::Error {
    fn from(silence: Silence) -> Self {
        match silence {
            Silence::SwitchedOff => anyhow!(
                "server.admin is switched off, so the server cannot be asked; set it to \"127.0.0.1:9180\" and restart"
            ),
            Silence::NotRunning(address) => anyhow!(
                "nobody listens at {address} (server.admin): is the server running? If server.admin was changed since it started, it still listens at the old address"
            ),
            Silence::Other(error) => error,
        }
    }
}
