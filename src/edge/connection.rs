//! One connection, from the accepted socket to the protocol spoken on it.
//!
//! 1. Is there room for it? ([`limits`](super::limits))
//! 2. With `server.proxy_protocol`: whose is it? ([`proxy_protocol`])
//! 3. On a TLS listener: the handshake, within its deadline. Who speaks plain HTTP there is told so.
//! 4. A CA's `tls-alpn-01` handshake ends here. HTTP/2 goes to [`http2`], everything else through the [`door`].

use std::net::{IpAddr, Ipv4Addr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use pingora_core::apps::ServerApp;
use pingora_core::protocols::l4::stream::Stream as L4Stream;
use pingora_core::protocols::{ALPN, GetSocketDigest, Stream};
use pingora_core::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, Session};
use tokio::time::timeout;

use super::client_address::is_trusted;
use super::farewell::{Farewell, Stage};
use super::limits::{Caps, Full};
use super::listeners::Here;
use super::measure::{ConnectionCells, HandshakeFailed};
use super::proxy::Proxy;
use super::socket::Socket;
use super::{Edge, door, http2, proxy_protocol};
use crate::certificates::acme::challenge::ALPN_ACME_TLS;
use crate::certificates::resumption;

/// What a listener does with the connections it accepts.
pub(super) struct Connection {
    pub(super) edge: Arc<Edge>,
    pub(super) proxy: Arc<ArcSwap<HttpProxy<Proxy>>>,
    pub(super) is_tls: bool,
    pub(super) farewell: Arc<Farewell>,
    pub(super) _here: Here,
}

/// Who is at the other end of the socket.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Its address, IPv4-mapped ones as IPv4.
    pub(crate) address: IpAddr,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
    /// How the connection comes to its end, with all others of its listener.
    pub(crate) farewell: Arc<Farewell>,
}

#[async_trait]
impl ServerApp for Connection {
    async fn process_new(
        self: &Arc<Self>,
        stream: Stream,
        shutdown: &ShutdownWatch,
    ) -> Option<Stream> {
        // A task of our own: Pingora's has 9 KiB for what it might do, and would keep them for as
        // long as the connection lives.
        let (connection, shutdown) = (self.clone(), shutdown.clone());
        tokio::spawn(async move {
            // Pinned here, or it would have a second place in what accompanies it.
            let served = pin!(connection.serve(stream, &shutdown));
            connection.farewell.accompany(served).await;
        });
        None
    }
}

impl Connection {
    async fn serve(&self, stream: Stream, shutdown: &ShutdownWatch) {
        let _open = self.cells().open();
        let mut address = peer_address(&*stream);
        let mut place = match self.edge.connections.admit(address, self.caps(address)) {
            Ok(place) => place,
            Err(full) => return self.turn_away(address, full),
        };
        // Pingora has boxed it as anything that a stream can be.
        let Ok(mut socket) = stream.into_any().downcast::<L4Stream>() else {
            return;
        };
        if self.edge.snapshot().config.server.proxy_protocol {
            if Box::pin(self.ask_proxy(&mut socket, address))
                .await
                .is_none()
            {
                return;
            }
            address = peer_address(&*socket);
            if let Err(full) = place.belongs_to(address, self.caps(address).per_network) {
                return self.turn_away(address, full);
            }
        }
        let socket = Socket::new(*socket);
        let mut stream: Stream = if self.is_tls {
            // Boxed: a handshake in progress is large, and its space must not stay as long as the
            // connection does.
            match Box::pin(self.handshake(socket, address)).await {
                Some(stream) => stream,
                None => return,
            }
        } else {
            Box::new(socket)
        };
        let (proxy, peer) = (self.proxy.load_full(), self.peer(address));
        match stream.selected_alpn_proto() {
            // The handshake was the answer (RFC 8737, section 3); nothing else is served here.
            Some(ALPN::Custom(protocol)) if protocol.protocol() == ALPN_ACME_TLS => {
                stream.shutdown().await;
            }
            Some(ALPN::H2) => {
                Box::pin(http2::serve(&self.edge, &proxy, stream, &peer, shutdown)).await;
            }
            _ => door::serve(&self.edge, &proxy, stream, &peer, shutdown).await,
        }
        drop(place);
    }

    /// Takes the header of a load balancer off `socket`; `None` where the connection is to end.
    async fn ask_proxy(&self, socket: &mut L4Stream, address: IpAddr) -> Option<()> {
        tokio::select! {
            biased;
            accepted = proxy_protocol::accept(&self.edge, self.cells(), socket, address) => accepted,
            // Nothing has been asked yet, so nothing is lost.
            () = self.farewell.reached(Stage::Leaving) => None,
        }
    }

    async fn handshake(&self, mut socket: Socket, address: IpAddr) -> Option<Stream> {
        let snapshot = self.edge.snapshot();
        // Where TLS has just been switched off, nobody could be told so.
        let acceptor = snapshot.acceptor.as_ref()?;
        let begun = Instant::now();
        let handshake = async {
            if socket.first().await.is_some_and(begins_a_method) {
                return Err(socket);
            }
            let handshake = pin!(acceptor.tls_handshake(socket));
            Ok(resumption::watch(handshake).await)
        };
        let handshake = timeout(snapshot.config.server.timeouts.tls_handshake, handshake);
        let stream = tokio::select! {
            biased;
            stream = handshake => stream,
            // Nothing has been asked yet, so nothing is lost.
            () = self.farewell.reached(Stage::Leaving) => return None,
        };
        match stream {
            Ok(Ok((Ok(stream), is_resumed))) => {
                let digest = stream.ssl_digest();
                let version = digest.as_ref().map_or("", |digest| &*digest.version);
                self.cells()
                    .shook_hands(version, is_resumed, begun.elapsed());
                Some(Box::new(stream))
            }
            Ok(Ok((Err(error), _))) => {
                self.cells().handshake_failed(HandshakeFailed::Failed);
                // Scanners fail handshakes all day: not worth a line each.
                tracing::debug!(client = %address, %error, "TLS handshake failed");
                None
            }
            Ok(Err(plain)) => {
                self.cells().handshake_failed(HandshakeFailed::Failed);
                let peer = Peer {
                    tls: false,
                    ..self.peer(address)
                };
                door::refuse_plain(&self.edge, Box::new(plain), &peer).await;
                None
            }
            Err(_) => {
                self.cells().handshake_failed(HandshakeFailed::Slow);
                tracing::debug!(client = %address, "TLS handshake took too long");
                None
            }
        }
    }

    fn peer(&self, address: IpAddr) -> Peer {
        Peer {
            address,
            tls: self.is_tls,
            farewell: self.farewell.clone(),
        }
    }

    /// Where this listener's connections are counted.
    fn cells(&self) -> &'static ConnectionCells {
        self.edge.measures.of_listeners(self.is_tls)
    }

    fn caps(&self, address: IpAddr) -> Caps {
        let snapshot = self.edge.snapshot();
        let server = &snapshot.config.server;
        let is_proxy = is_trusted(address, &server.trusted_proxies);
        Caps {
            total: self.edge.room(),
            per_network: (!is_proxy).then_some(server.max_connections_per_ip),
        }
    }

    fn turn_away(&self, address: IpAddr, full: Full) {
        self.cells().refused(full.into());
        match full {
            Full::Total { first: false } => {}
            // One line, however many clients come meanwhile.
            Full::Total { first: true } => {
                let wished = self.edge.snapshot().config.server.max_connections;
                let open = self.edge.connections.open();
                let limit = if open < wished {
                    "more would leave no open files for the rest (LimitNOFILE, `ulimit -n`)"
                } else {
                    "server.max_connections is reached"
                };
                tracing::warn!(
                    client = %address, open,
                    "connections are refused until others end: {limit}"
                );
            }
            Full::Network => tracing::debug!(
                client = %address,
                "connection refused: server.max_connections_per_ip is reached"
            ),
        }
    }
}

/// How the connection of `session` comes to its end, with all others of its listener; `None` where it
/// is none of a client.
pub(super) fn farewell_of(session: &Session) -> Option<Arc<Farewell>> {
    let session = session.as_downstream();
    match session.stream() {
        Some(stream) => door::farewell_of(stream).cloned(),
        None => http2::farewell_of(session.digest()?).cloned(),
    }
}

/// Whether a connection that begins with `byte` speaks HTTP, and not TLS (whose first byte is 22: RFC 8446,
/// section 5.1).
fn begins_a_method(byte: u8) -> bool {
    byte.is_ascii_uppercase()
}

fn peer_address(stream: &(impl GetSocketDigest + ?Sized)) -> IpAddr {
    stream
        .get_socket_digest()
        .and_then(|digest| digest.peer_addr().and_then(|peer| peer.as_inet().copied()))
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| {
            peer.ip().to_canonical()
        })
}
