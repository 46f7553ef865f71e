//! The PROXY protocol: a load balancer that moves bytes says before them whose they are.
//!
//! With `server.proxy_protocol` every connection of the visitors' listeners begins here, before TLS:
//!
//! 1. From a peer in `server.trusted_proxies` it must begin with a header (version 1 or 2), all of it
//!    within `timeouts.header`; from then on the address in it is the peer's. A header that tells of no
//!    client (`LOCAL`, `UNKNOWN`: the balancer's own health checks) leaves the peer as it is.
//! 2. From anybody else it must not begin with one: who could send it could be anybody.
//!
//! Whatever else comes ends the connection without an answer, counted, with a line at level debug.
//!
//! The protocol is `HAProxy`'s (`doc/proxy-protocol.txt`).

pub(super) mod header;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use bytes::BytesMut;
use pingora_core::protocols::l4::socket::SocketAddr as PingoraAddress;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{GetSocketDigest, SocketDigest};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use self::header::{Beginning, Reading};
use super::Edge;
use super::client_address::is_trusted;
use super::measure::{ConnectionCells, ConnectionRefused};

/// What one read takes.
const READ_SIZE: usize = 512;

/// Reads what comes before the client's own bytes on a connection from `peer`. Its end, if the
/// header names one, becomes the peer of `socket`.
///
/// `None` where the connection is to end.
pub(super) async fn accept(
    edge: &Edge,
    cells: &ConnectionCells,
    socket: &mut L4Stream,
    peer: IpAddr,
) -> Option<()> {
    let snapshot = edge.snapshot();
    let server = &snapshot.config.server;
    let outcome = if is_trusted(peer, &server.trusted_proxies) {
        match timeout(server.timeouts.header, announced(socket)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Refused("a trusted proxy took too long for its header")),
        }
    } else {
        match timeout(server.timeouts.keepalive, unannounced(socket)).await {
            Ok(outcome) => outcome.map(|()| None),
            // As any idle connection.
            Err(_) => return None,
        }
    };
    match outcome {
        Ok(client) => {
            if let Some(client) = client {
                rename(socket, client);
            }
            Some(())
        }
        Err(Refused(reason)) => {
            cells.refused(ConnectionRefused::ProxyProtocol);
            tracing::debug!(%peer, reason, "connection refused: server.proxy_protocol");
            None
        }
    }
}

struct Refused(&'static str);

impl From<io::Error> for Refused {
    fn from(_: io::Error) -> Self {
        Self("the connection broke within the header")
    }
}

/// Reads the header of a trusted proxy: the client it speaks for, if it tells.
async fn announced(socket: &mut L4Stream) -> Result<Option<SocketAddr>, Refused> {
    let mut bytes = BytesMut::with_capacity(READ_SIZE);
    loop {
        read(socket, &mut bytes).await?;
        match header::read(&bytes) {
            // The reading is bounded: what is longer than a header may be is wrong.
            Reading::Incomplete => {}
            Reading::Complete { length, client } => {
                socket.rewind(&bytes[length..]);
                return Ok(client);
            }
            Reading::Wrong(reason) => return Err(Refused(reason)),
        }
    }
}

/// Sees to it that somebody who is not trusted doesn't begin with a header.
async fn unannounced(socket: &mut L4Stream) -> Result<(), Refused> {
    let mut bytes = BytesMut::with_capacity(READ_SIZE);
    loop {
        read(socket, &mut bytes).await?;
        match header::beginning(&bytes) {
            Beginning::Undecided => {}
            Beginning::Other => {
                socket.rewind(&bytes);
                return Ok(());
            }
            Beginning::Header => {
                return Err(Refused("a peer that is not trusted sent a header"));
            }
        }
    }
}

async fn read(socket: &mut L4Stream, bytes: &mut BytesMut) -> io::Result<()> {
    bytes.reserve(READ_SIZE);
    match socket.read_buf(bytes).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// From here on `client` is at the other end of `socket`.
fn rename(socket: &mut L4Stream, client: SocketAddr) {
    let digest = SocketDigest::from_raw_fd(socket.as_raw_fd());
    // It was made a line ago: nobody has asked it yet.
    let _ = digest.peer_addr.set(Some(PingoraAddress::Inet(client)));
    socket.set_socket_digest(digest);
}
