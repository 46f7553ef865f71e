//! A process that this one has started, and what becomes of it.

use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::time::timeout;

/// For a process that is not wanted any more to end in order.
pub(super) const TO_END: Duration = Duration::from_secs(2);

/// A child of ours.
#[derive(Debug)]
pub(super) struct Started {
    child: Child,
    /// What it is sent when this is dropped, unless it has ended.
    parting: Option<Signal>,
}

/// A process of ours that has begun to serve and is not to go on: it finishes what it has begun.
#[derive(Debug)]
pub struct Departing(Started);

impl Started {
    /// Asked to end when dropped.
    pub(super) fn new(child: Child) -> Self {
        Self {
            child,
            parting: Some(Signal::SIGTERM),
        }
    }

    /// Leaves it to itself from now on.
    pub(super) fn let_go(&mut self) {
        self.parting = None;
    }

    /// Leaves it the time that it needs, if it stops by itself, or the time that it is given.
    pub(super) fn depart(mut self, stops_by_itself: bool) -> Departing {
        self.parting = (!stops_by_itself).then_some(Signal::SIGKILL);
        Departing(self)
    }

    /// Its number, unless it has ended.
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// It is our child and not waited for, so its number is still its own.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }

    /// Resolves when it has ended.
    pub(super) async fn ended(&mut self) -> ExitStatus {
        match self.child.wait().await {
            Ok(status) => status,
            Err(_) => std::future::pending().await,
        }
    }

    /// Ends it: in order if it will, else at once.
    pub(super) async fn end(&mut self) {
        self.signal(Signal::SIGTERM);
        if timeout(TO_END, self.ended()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(parting) = self.parting {
            self.signal(parting);
        }
    }
}

impl Departing {
    /// Resolves when it has ended, or `drain` and a moment for its last words are over. One that was
    /// sent away is killed then, and when this is dropped; one that stops by itself is left alone.
    pub async fn gone(mut self, drain: Duration) {
        if timeout(drain + TO_END, self.0.ended()).await.is_err() && self.0.parting.is_some() {
            tracing::warn!(
                pid = self.0.pid(),
                "the new process was sent away and has not ended within server.drain: it is killed"
            );
        }
    }
}
