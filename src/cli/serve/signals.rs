//! What is asked of a running server by signals.

use anyhow::Context;
use futures_util::FutureExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that ask for something.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// SIGTERM, SIGINT.
    Stop,
    /// SIGQUIT.
    HandOver,
    /// SIGHUP.
    Reload,
}

impl Signals {
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            quit: listen(SignalKind::quit())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The next thing asked for. A reload or a handover that is asked for while nobody waits is not lost.
    pub(super) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::Stop,
            _ = self.interrupt.recv() => Asked::Stop,
            _ = self.quit.recv() => Asked::HandOver,
            _ = self.hangup.recv() => Asked::Reload,
        }
    }

    /// Whether a reload was asked for, and nobody has heard of it yet.
    pub(super) fn take_reload(&mut self) -> bool {
        self.hangup.recv().now_or_never().is_some()
    }

    /// Resolves when the server is to stop, and leaves the rest for [`next`](Self::next).
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
