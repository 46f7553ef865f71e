//! How the connections of a listener come to their end.
//!
//! A listener that is taken away leaves its connections behind. Each answers what it is asked once
//! more, and says that this was the last answer (`Connection: close`, GOAWAY): so no request is
//! lost, for a client that has heard it sends the next one elsewhere. Whoever is still there when
//! the patience is over is cut.
//!
//! An exchange without an end of its own (a WebSocket, an event stream) would always be cut. It is told
//! to begin again elsewhere instead, as soon as nothing is accepted here any more: each in its
//! [turn](Farewell::turn), so that thousands don't come back in one moment.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::future::{AbortHandle, Abortable};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Between the ends of two exchanges without an end of their own: a thousand clients a second can be
/// taken back by whoever serves next, handshakes included.
const PACE: Duration = Duration::from_millis(1);
/// The part of the patience within which each of them has its turn, however many they are.
const TURNS: u32 = 2;

/// How far it has come. Each stage means those before it as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// No end in sight.
    Open,
    /// The next answer is the last; who asks nothing may stay for now.
    LastAnswer,
    /// Nothing is accepted any more: what has no end of its own ends.
    Parting,
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
    /// Exchanges without an end of their own.
    endless: AtomicU32,
    /// How many of them have had their turn.
    turns: AtomicU32,
    /// Nanoseconds between two turns.
    pace: AtomicU64,
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

/// Resolves when an exchange without an end of its own is to end. Cheap to ask, with every piece of it.
pub(crate) struct Turn {
    farewell: Arc<Farewell>,
    comes: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    /// Who is told when it comes.
    told: Option<Waker>,
}

/// One such exchange, while it waits for its turn.
struct Endless(Arc<Farewell>);

impl Farewell {
    /// Of a listener that was just opened.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            stage: watch::Sender::new(Stage::Open),
            has_begun: AtomicBool::new(false),
            open: Mutex::default(),
            endless: AtomicU32::new(0),
            turns: AtomicU32::new(0),
            pace: AtomicU64::new(0),
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

    /// Ends what has no end of its own, within a part of `patience`; every answer is the last.
    pub(crate) fn part(&self, patience: Duration) {
        let waiting = self.endless.load(Ordering::Relaxed).max(1);
        let pace = PACE.min(patience / TURNS / waiting);
        let pace = u64::try_from(pace.as_nanos()).unwrap_or(u64::MAX);
        self.pace.store(pace, Ordering::Relaxed);
        self.go_on_to(Stage::Parting);
    }

    /// The turn of an exchange without an end of its own; it counts as one from now on.
    pub(crate) fn turn(self: &Arc<Self>) -> Turn {
        self.endless.fetch_add(1, Ordering::Relaxed);
        let endless = Endless(self.clone());
        let comes = async move {
            let farewell = &endless.0;
            farewell.reached(Stage::Parting).await;
            let before = farewell.turns.fetch_add(1, Ordering::Relaxed);
            let pace = Duration::from_nanos(farewell.pace.load(Ordering::Relaxed));
            if let Some(delay) = pace.checked_mul(before)
                && !delay.is_zero()
            {
                sleep(delay).await;
            }
        };
        Turn {
            farewell: self.clone(),
            comes: Box::pin(comes),
            told: None,
        }
    }

    /// Has every connection give its last answer, waits `patience` until they are `gone`, and cuts those
    /// that are still there; returns how many that were.
    pub(crate) async fn take(&self, patience: Duration, gone: impl Future) -> usize {
        self.part(patience);
        match timeout(patience, gone).await {
            Ok(_) => 0,
            Err(_) => self.cut(),
        }
    }

    /// Cuts the connections that are still there; returns how many that were.
    pub(crate) fn cut(&self) -> usize {
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
        self.farewell.open.lock().handles.remove(&self.number);
    }
}

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let waker = context.waker();
        let is_known = self.told.as_ref().is_some_and(|told| told.will_wake(waker));
        if is_known && !self.farewell.has_begun() {
            return Poll::Pending;
        }
        self.told = Some(waker.clone());
        self.comes.as_mut().poll(context)
    }
}

impl Drop for Endless {
    fn drop(&mut self) {
        self.0.endless.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::time::Instant;

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

    /// How long after the parting each of `many` has its turn, the first and the last.
    async fn turns(many: u32, patience: Duration) -> (Duration, Duration) {
        let farewell = Farewell::new();
        let waiting: Vec<_> = (0..many).map(|_| farewell.turn()).collect();
        let gone = farewell.turn();
        drop(gone);
        let begin = Instant::now();
        farewell.part(patience);
        let ended = join_all(waiting.into_iter().map(async |turn| {
            turn.await;
            begin.elapsed()
        }))
        .await;
        let first = ended.iter().min().unwrap();
        (*first, *ended.iter().max().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_part_at_once_and_many_one_after_the_other_within_half_of_the_patience() {
        let (long, short) = (Duration::from_secs(30), Duration::from_secs(1));
        let at_once = Duration::from_millis(10);
        for (many, patience, least, most) in [
            (1, long, Duration::ZERO, at_once),
            (1, Duration::ZERO, Duration::ZERO, at_once),
            (5, long, Duration::ZERO, at_once),
            (2_000, long, Duration::from_secs(1), Duration::from_secs(3)),
            (2_000, short, at_once, short / 2 + at_once),
        ] {
            let (first, last) = turns(many, patience).await;
            assert!(first < at_once, "{many}: {first:?}");
            assert!((least..=most).contains(&last), "{many}: {last:?}");
        }
    }

    #[tokio::test]
    async fn nobody_has_to_end_while_clients_are_still_accepted() {
        let farewell = Farewell::new();
        let mut turn = farewell.turn();
        farewell.go_on_to(Stage::LastAnswer);
        assert!((&mut turn).now_or_never().is_none());
        farewell.go_on_to(Stage::Leaving);
        assert!(turn.now_or_never().is_some());
    }

    #[tokio::test]
    async fn who_leaves_in_time_is_not_cut() {
        let farewell = Farewell::new();
        let connection = farewell.accompany(farewell.reached(Stage::LastAnswer));
        assert_eq!(farewell.take(Duration::from_mins(1), connection).await, 0);
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
            farewell.take(Duration::from_millis(50), std::future::pending::<()>())
        );
        assert_eq!(cut, 2);
        assert!(farewell.open.lock().handles.is_empty());
    }
}
