//! What is counted of connections, for each kind of listener.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::edge::limits::Full;
use crate::measure::{Histogram, Latencies};

/// The versions of TLS that are spoken, as rustls writes them and as people do.
const VERSIONS: [(&str, &str); 2] = [("TLSv1_2", "1.2"), ("TLSv1_3", "1.3")];

/// The cells of one kind of listener. A connection adds to them a few times in its life.
#[derive(Debug, Default)]
pub(crate) struct ConnectionCells {
    accepted: AtomicU64,
    closed: AtomicU64,
    refused: [AtomicU64; 3],
    handshakes: Handshakes,
}

#[derive(Debug, Default)]
struct Handshakes {
    /// By version, and whether a session was resumed.
    done: [[AtomicU64; 2]; VERSIONS.len()],
    failed: [AtomicU64; 2],
    took: Histogram,
}

/// One connection, open until this is dropped.
pub(crate) struct Open(&'static ConnectionCells);

/// Why a connection was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConnectionRefused {
    Total,
    Network,
    ProxyProtocol,
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HandshakeFailed {
    /// The client left, or the two did not agree.
    Failed,
    /// `timeouts.tls_handshake` was over.
    Slow,
}

/// What the connections of one kind of listener were, since the process started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionFigures {
    /// `http`, or `https`.
    pub listener: &'static str,
    /// Connections that the system has handed over, the refused ones included.
    pub accepted: u64,
    /// Connections open now.
    pub open: u64,
    /// Connections refused, by the reason: each of a fixed set.
    pub refused: Vec<(&'static str, u64)>,
    /// Of the TLS listeners; `None` for others.
    pub handshakes: Option<HandshakeFigures>,
}

/// What handshakes were.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandshakeFigures {
    /// Handshakes done, by kind (`full`, `resumed`) and version (`1.2`, `1.3`).
    pub done: Vec<(&'static str, &'static str, u64)>,
    /// Handshakes that came to nothing, by the reason.
    pub failed: Vec<(&'static str, u64)>,
    /// How long those that were done have taken.
    pub took: Latencies,
}

impl ConnectionCells {
    /// A connection was accepted.
    pub(in crate::edge) fn open(&'static self) -> Open {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    pub(in crate::edge) fn refused(&self, reason: ConnectionRefused) {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A handshake was done, with this version of TLS.
    pub(in crate::edge) fn shook_hands(&self, version: &str, is_resumed: bool, took: Duration) {
        let handshakes = &self.handshakes;
        if let Some(version) = VERSIONS.iter().position(|(known, _)| *known == version) {
            handshakes.done[version][usize::from(is_resumed)].fetch_add(1, Ordering::Relaxed);
        }
        handshakes.took.record(took);
    }

    pub(in crate::edge) fn handshake_failed(&self, reason: HandshakeFailed) {
        self.handshakes.failed[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, listener: &'static str, is_tls: bool) -> ConnectionFigures {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        // What was closed was accepted before: in this order the difference is never negative.
        let closed = load(&self.closed);
        let accepted = load(&self.accepted);
        let reasons = [
            "max_connections",
            "max_connections_per_ip",
            "proxy_protocol",
        ];
        let refused = reasons.into_iter().zip(self.refused.iter().map(load));
        ConnectionFigures {
            listener,
            accepted,
            open: accepted.saturating_sub(closed),
            refused: refused.collect(),
            handshakes: is_tls.then(|| self.handshakes.read()),
        }
    }
}

impl Handshakes {
    fn read(&self) -> HandshakeFigures {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let done = VERSIONS
            .iter()
            .zip(&self.done)
            .flat_map(|((_, version), kinds)| {
                let kinds = ["full", "resumed"].into_iter().zip(kinds.iter().map(load));
                kinds.map(|(kind, count)| (kind, *version, count))
            });
        let failed = ["failed", "slow"].into_iter();
        HandshakeFigures {
            done: done.collect(),
            failed: failed.zip(self.failed.iter().map(load)).collect(),
            took: self.took.read(),
        }
    }
}

impl From<Full> for ConnectionRefused {
    fn from(full: Full) -> Self {
        match full {
            Full::Total { .. } => Self::Total,
            Full::Network => Self::Network,
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_handshakes_are_told_by_what_became_of_them() {
        let cells: &'static ConnectionCells = Box::leak(Box::default());
        let kept = cells.open();
        drop(cells.open());
        cells.refused(Full::Network.into());
        cells.shook_hands("TLSv1_3", true, Duration::from_millis(3));
        cells.shook_hands("TLSv1_2", false, Duration::from_millis(3));
        cells.handshake_failed(HandshakeFailed::Slow);
        let figures = cells.read("https", true);
        assert_eq!((figures.accepted, figures.open), (2, 1));
        let refused: Vec<_> = figures.refused.iter().map(|(_, count)| *count).collect();
        assert_eq!(refused, [0, 1, 0]);
        let handshakes = figures.handshakes.unwrap();
        let expected = [
            ("full", "1.2", 1),
            ("resumed", "1.2", 0),
            ("full", "1.3", 0),
            ("resumed", "1.3", 1),
        ];
        assert_eq!(handshakes.done, expected);
        assert_eq!(handshakes.failed, [("failed", 0), ("slow", 1)]);
        assert_eq!(handshakes.took.count(), 2);
        drop(kept);
        assert_eq!(cells.read("http", false).open, 0);
    }
}
