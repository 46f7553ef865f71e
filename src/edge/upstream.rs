//! Forwarding to servers of the user's own.
//!
//! Pingora connects, keeps connections and moves the bytes; here stands which server is next, how to
//! reach it, and what its failures mean to the client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::{HeaderName, StatusCode, header};
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::{Error, ErrorSource, ErrorType, Result};
use pingora_http::{RequestHeader, ResponseHeader};

use super::{request_path, upgrade};
use crate::config::{self, UpstreamAddress, UpstreamProtocol};

/// How long the addresses of a name are used before it is looked up again.
const NAME_LIFETIME: Duration = Duration::from_secs(10);

/// Headers of one connection, nominated by `Connection` or not.
const HOP_BY_HOP: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::UPGRADE,
];
const FRAMING: [HeaderName; 3] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
];

/// The servers of one `[[upstream]]`, taken in turn.
pub(crate) struct Upstream {
    config: Arc<config::Upstream>,
    servers: Vec<Server>,
    next: AtomicUsize,
    /// Removed from the start of the path before forwarding, in the normal form.
    prefix: Option<String>,
}

struct Server {
    config: config::UpstreamServer,
    /// Of a name: where it was found, and when.
    found: ArcSwapOption<(Instant, Vec<SocketAddr>)>,
    turn: AtomicUsize,
}

impl Upstream {
    pub(crate) fn new(config: Arc<config::Upstream>, strip_prefix: Option<&str>) -> Self {
        let servers = config
            .servers
            .iter()
            .map(|server| Server {
                config: server.clone(),
                found: ArcSwapOption::empty(),
                turn: AtomicUsize::new(0),
            })
            .collect();
        Self {
            config,
            servers,
            next: AtomicUsize::new(0),
            prefix: strip_prefix.map(|prefix| request_path::normalise(prefix).into_owned()),
        }
    }

    /// Takes the route's `strip_prefix` off the path, however the client has spelled it.
    pub(crate) fn strip_prefix(&self, request: &mut RequestHeader) -> Result<()> {
        let Some(prefix) = &self.prefix else {
            return Ok(());
        };
        let target = String::from_utf8_lossy(request.raw_path()).into_owned();
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (target.as_str(), None),
        };
        let Some(rest) = request_path::rest_as_written(path, prefix) else {
            return Ok(());
        };
        let mut stripped = if rest.is_empty() { "/" } else { rest }.to_owned();
        if let Some(query) = query {
            stripped.push('?');
            stripped.push_str(query);
        }
        request.set_raw_path(stripped.as_bytes())
    }

    /// The server whose turn it is, to be asked for an upgrade or not.
    pub(crate) async fn peer(&self, host: &str, upgrade: bool) -> Result<Box<HttpPeer>> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let server = &self.servers[turn % self.servers.len()];
        let mut peer = server.peer(host).await?;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.config.connect_timeout);
        options.total_connection_timeout = Some(self.config.connect_timeout);
        options.read_timeout = Some(self.config.read_timeout);
        options.write_timeout = Some(self.config.send_timeout);
        if server.config.protocol == UpstreamProtocol::H2c {
            options.set_http_version(2, 2);
        } else if upgrade {
            options.custom_l4 = Some(Arc::new(upgrade::Patiently));
            // Kept apart from the others in Pingora's pool.
            peer.group_key = 1;
        }
        Ok(Box::new(peer))
    }
}

impl Server {
    async fn peer(&self, host: &str) -> Result<HttpPeer> {
        let tls = self.config.protocol == UpstreamProtocol::Https;
        match &self.config.address {
            UpstreamAddress::Unix(path) => {
                HttpPeer::new_uds(&path.to_string_lossy(), tls, host.to_owned())
            }
            UpstreamAddress::Tcp { host: name, port } => {
                let address = self.resolve(name, *port).await?;
                Ok(HttpPeer::new(address, tls, name.clone()))
            }
        }
    }

    async fn resolve(&self, name: &str, port: u16) -> Result<SocketAddr> {
        if let Ok(address) = name.parse() {
            return Ok(SocketAddr::new(address, port));
        }
        let found = self.found.load();
        if let Some(found) = found
            .as_ref()
            .filter(|found| found.0.elapsed() < NAME_LIFETIME)
        {
            return Ok(self.take_turn(&found.1));
        }
        let looked_up = tokio::net::lookup_host((name, port)).await;
        match looked_up.map(Iterator::collect::<Vec<_>>) {
            Ok(addresses) if !addresses.is_empty() => {
                let address = self.take_turn(&addresses);
                self.found
                    .store(Some(Arc::new((Instant::now(), addresses))));
                Ok(address)
            }
            // A resolver that is down for a moment is no reason to forget where the server was.
            failed => match found.as_ref() {
                Some(found) => Ok(self.take_turn(&found.1)),
                None => unknown_name(name, failed.err()),
            },
        }
    }

    fn take_turn(&self, addresses: &[SocketAddr]) -> SocketAddr {
        addresses[self.turn.fetch_add(1, Ordering::Relaxed) % addresses.len()]
    }
}

fn unknown_name(name: &str, error: Option<std::io::Error>) -> Result<SocketAddr> {
    let reason = error.map_or_else(|| "no address".to_owned(), |error| error.to_string());
    let error = Error::explain(
        ErrorType::ConnectError,
        format!("the upstream's name {name} is not known: {reason}"),
    );
    Err(error.into_up())
}

/// Removes what an upstream says of its own connection (RFC 9110, section 7.6.1). Pingora does so for
/// requests only; to a client `Keep-Alive: timeout=5` would be another connection's promise.
pub(crate) fn remove_hop_by_hop(response: &mut ResponseHeader) {
    if response.status == StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    let nominated: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        // SECURITY: what frames the body is Pingora's, whatever the upstream calls it.
        if !FRAMING.contains(name) {
            response.remove_header(name);
        }
    }
}

/// The status that tells a client about a failed exchange; `None` when the client itself is gone.
pub(crate) fn status_of(error: &Error) -> Option<StatusCode> {
    if let ErrorType::HTTPStatus(status) = error.etype() {
        return StatusCode::from_u16(*status).ok();
    }
    match (error.esource(), error.etype()) {
        (
            ErrorSource::Upstream,
            ErrorType::ConnectTimedout
            | ErrorType::ReadTimedout
            | ErrorType::WriteTimedout
            | ErrorType::TLSHandshakeTimedout,
        ) => Some(StatusCode::GATEWAY_TIMEOUT),
        (ErrorSource::Upstream, _) => Some(StatusCode::BAD_GATEWAY),
        (ErrorSource::Downstream, ErrorType::ReadTimedout) => Some(StatusCode::REQUEST_TIMEOUT),
        (
            ErrorSource::Downstream,
            ErrorType::ReadError
            | ErrorType::WriteError
            | ErrorType::WriteTimedout
            | ErrorType::ConnectionClosed
            | ErrorType::H2Error,
        ) => None,
        (ErrorSource::Downstream, _) => Some(StatusCode::BAD_REQUEST),
        (ErrorSource::Internal | ErrorSource::Unset, _) => Some(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_have_the_statuses_people_know() {
        use ErrorType::{
            ConnectRefused, ConnectTimedout, ConnectionClosed, HTTPStatus, InvalidHTTPHeader,
            ReadTimedout, WriteError,
        };
        for (error, status) in [
            (Error::new_up(ConnectRefused), Some(502)),
            (Error::new_up(ConnectionClosed), Some(502)),
            (Error::new_up(ConnectTimedout), Some(504)),
            (Error::new_up(ReadTimedout), Some(504)),
            (Error::new_down(ReadTimedout), Some(408)),
            (Error::new_down(InvalidHTTPHeader), Some(400)),
            (Error::new_down(ConnectionClosed), None),
            (Error::new_down(WriteError), None),
            (Error::new_in(HTTPStatus(413)), Some(413)),
            (Error::new_in(WriteError), Some(500)),
        ] {
            let answered = status_of(&error).map(|status| status.as_u16());
            assert_eq!(answered, status, "{error}");
        }
    }
}
