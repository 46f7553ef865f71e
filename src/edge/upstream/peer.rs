//! How to reach an endpoint: what Pingora has to know of its protocol, its trust and our patience.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, header};
use pingora_core::Result;
use pingora_core::protocols::tls::CaType;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_core::utils::tls::{WrappedX509, parse_x509};

use super::patience::Patiently;
use crate::config::{self, CaFile, UpstreamProtocol};
use crate::edge::event_stream::EventStream;

/// Requests at once on one HTTP/2 connection to a server.
const STREAMS: usize = 64;
/// Bytes a server may send ahead on one HTTP/2 stream, while the client is slow to take them.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The same for all streams of a connection: a slow client's stream must not hold up the others'.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * 64;
/// How long an unused connection is kept.
const IDLE: Duration = Duration::from_mins(1);

/// Connections so far that were one request's alone: of all upstreams, as these may share an address.
static ALONE: AtomicU64 = AtomicU64::new(0);

/// What all peers of one upstream share.
pub(super) struct Peers {
    connect_timeout: Duration,
    read_timeout: Duration,
    send_timeout: Duration,
    stream_timeout: Duration,
    server_name: Option<String>,
    roots: Option<Arc<CaType>>,
    /// Tells connections made with these roots from all others.
    trust: u64,
    /// Whether connections are kept.
    keeps: bool,
}

/// What a request wants of its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    /// An answer.
    Answer,
    /// An answer that may be silent for long stretches.
    EventStream,
    /// To go on with another protocol.
    Upgrade,
}

impl Wish {
    /// What the request with these headers wants.
    pub(crate) fn of(headers: &HeaderMap, is_upgrade: bool) -> Self {
        let accepts_events = || {
            let accept = headers.get_all(header::ACCEPT).iter();
            accept
                .filter_map(|line| line.to_str().ok())
                .any(|line| line.to_ascii_lowercase().contains("text/event-stream"))
        };
        if is_upgrade {
            Self::Upgrade
        } else if accepts_events() {
            Self::EventStream
        } else {
            Self::Answer
        }
    }
}

impl Peers {
    pub(super) fn new(config: &config::Upstream) -> Self {
        Self {
            connect_timeout: config.connect_timeout,
            read_timeout: config.read_timeout,
            send_timeout: config.send_timeout,
            stream_timeout: config.stream_timeout,
            server_name: config.server_name.clone(),
            roots: config.ca.as_ref().map(roots),
            trust: config.ca.as_ref().map_or(0, trust),
            keeps: config.keepalive > 0,
        }
    }

    /// A server at `address` whose name is `host`.
    pub(super) fn tcp(
        &self,
        address: SocketAddr,
        host: &str,
        protocol: UpstreamProtocol,
    ) -> HttpPeer {
        // SECURITY: Pingora verifies nothing where this is empty; a host never is.
        let name = self.server_name.as_deref().unwrap_or(host).to_owned();
        let name = if protocol.is_tls() {
            name
        } else {
            String::new()
        };
        self.prepared(HttpPeer::new(address, protocol.is_tls(), name), protocol)
    }

    /// A server on the socket `path`.
    pub(super) fn unix(&self, path: &Path) -> Result<HttpPeer> {
        let peer = HttpPeer::new_uds(&path.to_string_lossy(), false, String::new())?;
        Ok(self.prepared(peer, UpstreamProtocol::Http))
    }

    /// `prepared` as a request with this wish, which `events` may come of, needs it; where it brings a flag, that is to be set
    /// once the head of the answer is there.
    pub(super) fn to_ask(
        &self,
        prepared: &HttpPeer,
        wish: Wish,
        events: Option<&Arc<EventStream>>,
    ) -> (Box<HttpPeer>, Option<Arc<AtomicBool>>) {
        let mut peer = Box::new(prepared.clone());
        if wish == Wish::Answer {
            if !self.keeps {
                self.set_apart(&mut peer);
            }
            return (peer, None);
        }
        peer.options.read_timeout = Some(self.stream_timeout);
        if peer.options.alpn.get_min_http_version() == 2 {
            // Pingora would keep a connection with room for more, for a request that never comes.
            peer.options.max_h2_streams = 1;
        }
        let answered = Arc::new(AtomicBool::new(false));
        peer.options.custom_l4 = Some(Arc::new(Patiently {
            for_head: self.read_timeout,
            answered: answered.clone(),
            events: events.cloned(),
        }));
        self.set_apart(&mut peer);
        (peer, Some(answered))
    }

    /// Gives it a key that no other request has, so nobody gets its connection when it is over.
    fn set_apart(&self, peer: &mut HttpPeer) {
        let number = ALONE.fetch_add(1, Ordering::Relaxed);
        peer.group_key = self.trust.wrapping_add(number << 1) | 1;
        peer.options.idle_timeout = Some(Duration::from_millis(1));
    }

    fn prepared(&self, mut peer: HttpPeer, protocol: UpstreamProtocol) -> HttpPeer {
        // SECURITY: Pingora's pool would lend a connection made with other roots, on which nobody
        // has verified what is to be verified here.
        peer.group_key = self.trust & !1;
        let options = &mut peer.options;
        options.connection_timeout = Some(self.connect_timeout);
        options.total_connection_timeout = Some(self.connect_timeout);
        options.read_timeout = Some(self.read_timeout);
        options.write_timeout = Some(self.send_timeout);
        options.idle_timeout = Some(IDLE);
        options.ca.clone_from(&self.roots);
        if matches!(protocol, UpstreamProtocol::H2 | UpstreamProtocol::H2c) {
            options.set_http_version(2, 2);
            options.max_h2_streams = STREAMS;
            options.h2_stream_window_size = Some(STREAM_WINDOW);
            options.h2_connection_window_size = Some(CONNECTION_WINDOW);
        }
        peer
    }
}

fn roots(ca: &CaFile) -> Arc<CaType> {
    let root = |der: &_| WrappedX509::new(AsRef::<[u8]>::as_ref(der).to_vec(), parse_x509);
    // `config` has seen that each can be parsed, or this would panic.
    ca.roots.iter().map(root).collect()
}

fn trust(ca: &CaFile) -> u64 {
    let mut hasher = DefaultHasher::new();
    ca.roots.hash(&mut hasher);
    hasher.finish()
}
