//! `unibody healthcheck`: for a container's HEALTHCHECK, where no curl is at hand.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::{Failure, Outcome};
use crate::certificates::acme::observing_client;
use crate::config::{Environment, HostPattern, Reach};

pub(super) const HELP: &str = "\
Reads only where the server listens: a mistake elsewhere in the file changes nothing about one that runs.

Examples:
  unibody healthcheck              does the process serve?
  unibody healthcheck --ready      and does the database answer?";

/// How long the server may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The answer's head and small body fit in this many bytes.
const MAX_ANSWER: u64 = 16 * 1024;

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Ask /readyz (database and schema) instead of /healthz
    #[arg(long)]
    ready: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    // What is wrong with the rest of the file is not wrong with the server that runs.
    let reach = crate::config::load_reach(config, &Environment::process())
        .map_err(|mistakes| Failure::Config(mistakes.to_string()))?;
    let endpoint = if arguments.ready {
        "/readyz"
    } else {
        "/healthz"
    };
    let asked = async { timeout(PATIENCE, ask(&reach, endpoint)).await };
    let status = match super::small_runtime()?.block_on(asked) {
        Ok(answered) => answered?,
        Err(_) => Err(anyhow::anyhow!(
            "the server did not answer within {} s",
            PATIENCE.as_secs()
        ))?,
    };
    if status != 200 {
        Err(anyhow::anyhow!("{endpoint} answered {status}"))?;
    }
    println!("ok");
    Ok(())
}

async fn ask(reach: &Reach, endpoint: &str) -> anyhow::Result<u16> {
    let (listener, tls) = match (reach.https.first(), reach.http.first()) {
        (Some(listener), _) => (listener, true),
        (_, Some(listener)) => (listener, false),
        _ => bail!("the configuration has no listener to ask"),
    };
    let answer = exchange(reach, *listener, tls, endpoint).await?;
    parse_status(&answer).context("the server's answer is not HTTP")
}

/// What `listener` answers to a GET of `endpoint`, as it came over the wire.
pub(super) async fn exchange(
    reach: &Reach,
    listener: SocketAddr,
    tls: bool,
    endpoint: &str,
) -> anyhow::Result<Vec<u8>> {
    let address = loopback(listener);
    let host = host(reach);
    let mut socket = TcpStream::connect(address)
        .await
        .with_context(|| format!("cannot connect to {address}: is the server running?"))?;
    let greeting = reach.greeting(address.ip());
    socket.write_all(greeting).await?;
    if !tls {
        return request(socket, &host, endpoint).await;
    }
    let name = ServerName::try_from(host.clone()).context("the host has no valid name")?;
    let stream = TlsConnector::from(Arc::new(observing_client()?))
        .connect(name, socket)
        .await
        .context("the TLS handshake with the server failed")?;
    request(stream, &host, endpoint).await
}

async fn request<S>(mut stream: S, host: &str, endpoint: &str) -> anyhow::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let head = format!(
        "GET {endpoint} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: unibody-healthcheck\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut answer = Vec::new();
    let read = stream.take(MAX_ANSWER).read_to_end(&mut answer).await;
    match read {
        // A peer that has answered may end its connection as it likes.
        Err(error) if answer.is_empty() => Err(error).context("the connection broke"),
        _ => Ok(answer),
    }
}

pub(super) fn parse_status(answer: &[u8]) -> Option<u16> {
    let line = answer.split(|&byte| byte == b'\r').next()?;
    std::str::from_utf8(line)
        .ok()?
        .split(' ')
        .nth(1)?
        .parse()
        .ok()
}

/// A name the server takes for its own.
pub(super) fn host(reach: &Reach) -> String {
    match reach.hosts.first() {
        Some(HostPattern::Exact(name)) => name.clone(),
        Some(HostPattern::Wildcard(suffix)) => format!("healthcheck.{suffix}"),
        None => "localhost".to_owned(),
    }
}

/// Where this machine reaches `listener`.
fn loopback(listener: SocketAddr) -> SocketAddr {
    let address = match listener.ip() {
        IpAddr::V4(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        // A machine without IPv6 listens on IPv4 instead; dual-stack listeners take both.
        IpAddr::V6(address) if address.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        address => address,
    };
    SocketAddr::new(address, listener.port())
}
