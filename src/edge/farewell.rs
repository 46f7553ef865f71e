//! How the connections of a listener come to their end.
//!
//! A listener that is taken away leaves its connections behind. Each answers what it is asked once
//! more, and says that this was the last answer (`Connection: close`, GOAWAY): so no request is
//! lost, for a client that has heard it sends the next one elsewhere. Whoever is still there when
//! the patience is over is cut.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

/// How far it has come. Each stage means those before it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// No end in sight.
    Open,
    /// The next answer is the last; who asks nothing may stay for now.
    LastAnswer,
    /// Who asks nothing leaves at once.
    Leaving,
}

/// The connections of one listener, and their end.
#[derive(Debug)]
pub(crate) struct Farewell {
    stage: watch::Sender<Stage>,
    /// Past [`Stage::Open`]: asked for every request, which takes no lock here.
    has_begun: AtomicBool,
    open: Mutex<Open>,
    /// Told when the last connection has gone after that.
    emptied: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    handles: HashMap<u64, AbortHandle>,
}

/// One connection among those that are open, while it lives.
struct Seat {
    farewell: Arc<Farewell>,
    number: u64,
}

impl Farewell {
    /// Of a listener that was just opened.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Open),
            has_begun: AtomicBool::new(false),
            open: Mutex::default(),
            emptied: Notify::new(),
        })
    }

    /// Whether an answer is its connection's last.
    pub(crate) fn has_begun(&self) -> bool {
        self.has_begun.load(Ordering::Relaxed)
    }

    /// Goes on to `stage`; never back.
    pub(crate) fn go_on_to(&self, stage: Stage) {
        self.has_begun.store(stage > Stage::Open, Ordering::Relaxed);
        self.stage.send_if_modified(|now| {
            let is_further = stage > *now;
            *now = stage.max(*now);
            is_further
        });
    }

    /// Resolves when `stage` is reached.
    pub(crate) async fn reached(&self, stage: Stage) {
        // The sender is borrowed, so it can't be gone.
        let _ = self.stage.subscribe().wait_for(|now| *now >= stage).await;
    }

    /// Serves a connection until it ends, or is [cut](Self::cut).
    pub(crate) async fn accompany(self: &Arc<Self>, connection: impl Future<Output = ()>) {
        let (handle, registration) = AbortHandle::new_pair();
        let seat = self.seat(handle);
        // Who is cut has been told long before.
        let _ = Abortable::new(connection, registration).await;
        drop(seat);
    }

    /// Has every connection give its last answer, waits `patience` for that, and cuts those that are
    /// still there; returns how many that were.
    pub(crate) async fn take(&self, patience: Duration) -> usize {
        self.go_on_to(Stage::LastAnswer);
        match timeout(patience, self.all_gone()).await {
            Ok(()) => 0,
            Err(_) => self.cut(),
        }
    }

    async fn all_gone(&self) {
        while !self.open.lock().handles.is_empty() {
            self.emptied.notified().await;
        }
    }

    fn cut(&self) -> usize {
        let open = self.open.lock();
        for handle in open.handles.values() {
            handle.abort();
        }
        open.handles.len()
    }

    fn seat(self: &Arc<Self>, handle: AbortHandle) -> Seat {
        let mut open = self.open.lock();
        let number = open.next;
        open.next += 1;
        open.handles.insert(number, handle);
        Seat {
            farewell: self.clone(),
            number,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut open = self.farewell.open.lock();
        open.handles.remove(&self.number);
        if open.handles.is_empty() && self.farewell.has_begun() {
            self.farewell.emptied.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn stages_only_go_forward_and_each_means_those_before() {
        let farewell = Farewell::new();
        assert!(!farewell.has_begun());
        assert!(farewell.reached(Stage::Open).now_or_never().is_some());
        assert!(farewell.reached(Stage::LastAnswer).now_or_never().is_none());
        farewell.go_on_to(Stage::Leaving);
        farewell.go_on_to(Stage::LastAnswer);
        assert!(farewell.has_begun());
        assert!(farewell.reached(Stage::LastAnswer).now_or_never().is_some());
        assert!(farewell.reached(Stage::Leaving).now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_leaves_in_time_is_not_cut() {
        let farewell = Farewell::new();
        let connection = farewell.accompany(farewell.reached(Stage::LastAnswer));
        let (cut, ()) = tokio::join!(farewell.take(Duration::from_mins(1)), connection);
        assert_eq!(cut, 0);
    }

    #[tokio::test]
    async fn who_stays_too_long_is_cut_and_counted() {
        let farewell = Farewell::new();
        let stays = || farewell.accompany(std::future::pending());
        let leaves = farewell.accompany(farewell.reached(Stage::LastAnswer));
        let ((), (), (), cut) = tokio::join!(
            stays(),
            stays(),
            leaves,
            farewell.take(Duration::from_millis(50))
        );
        assert_eq!(cut, 2);
        assert!(farewell.open.lock().handles.is_empty());
    }
}
