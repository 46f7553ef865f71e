//! Where the system has no inotify nothing is watched, and every kept file is looked at again.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::root::Beneath;
use super::walk::Step;
use crate::edge::freshness::Freshness;

/// There is none.
pub(super) enum Watcher {}

impl Watcher {
    /// None.
    pub(super) fn start() -> Option<Self> {
        None
    }

    pub(super) fn watch(&self, _: &Beneath, _: Step<'_>, _: &Freshness) -> bool {
        match *self {}
    }

    pub(super) fn wait(&self, _: Duration) {
        match *self {}
    }

    pub(super) fn tidy(&self) {
        match *self {}
    }
}

/// Nothing is.
pub(super) fn is_watchable(_: BorrowedFd<'_>, _: u64) -> bool {
    false
}
