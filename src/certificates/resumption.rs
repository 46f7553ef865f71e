//! Sessions that are taken up again: by [tickets](Tickets), whose keys outlive certificates and
//! configurations, but not the process.
//!
//! Whether a handshake took one up rustls knows, and Pingora doesn't pass it on. A ticket is decrypted on
//! the way, on the thread that drives the handshake: so a handshake that is [watched](watch) while it
//! runs notices its own.

use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use rustls::crypto::ring;
use rustls::server::ProducesTickets;

thread_local! {
    /// Whether a ticket was taken on this thread since this was last set.
    static TAKEN: Cell<bool> = const { Cell::new(false) };
}

/// The keys that session tickets are made with (RFC 8446, section 4.6.1; RFC 5077). They change every
/// six hours and live in memory only; clones share them.
///
/// SECURITY: configurations may share them. Before it resumes, rustls picks a certificate for the name that
/// is asked for, and asks that name, version and cipher suite are those of the ticket; nobody is asked
/// for a client certificate.
#[derive(Debug, Clone)]
pub struct Tickets(Arc<Noticed>);

/// Tickets of `inner`, with the word that one was taken.
#[derive(Debug)]
struct Noticed {
    inner: Arc<dyn ProducesTickets>,
}

/// A handshake that notices whether a ticket was taken.
pub struct Watched<F> {
    handshake: F,
    is_resumed: bool,
}

impl Tickets {
    /// Tickets with keys of their own.
    ///
    /// # Errors
    /// When the system's random source fails.
    pub fn new() -> anyhow::Result<Self> {
        let inner = ring::Ticketer::new().context("cannot make keys for session tickets")?;
        Ok(Self(Arc::new(Noticed { inner })))
    }

    pub(super) fn ticketer(&self) -> Arc<dyn ProducesTickets> {
        self.0.clone()
    }
}

/// Runs `handshake` with a [`server_config`](super::server_config::server_config), and says beside its
/// outcome whether a ticket of the client's was taken.
pub fn watch<F: Future + Unpin>(handshake: F) -> Watched<F> {
    Watched {
        handshake,
        is_resumed: false,
    }
}

impl<F: Future + Unpin> Future for Watched<F> {
    type Output = (F::Output, bool);

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        TAKEN.set(false);
        let outcome = Pin::new(&mut self.handshake).poll(context);
        self.is_resumed |= TAKEN.get();
        outcome.map(|outcome| (outcome, self.is_resumed))
    }
}

impl ProducesTickets for Noticed {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.inner.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let plain = self.inner.decrypt(cipher);
        if plain.is_some() {
            TAKEN.set(true);
        }
        plain
    }
}
