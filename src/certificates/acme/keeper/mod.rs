//! One name's certificate, from the first order to the last renewal.
//!
//! A [`Keeper`] looks again and again, as long as the server runs. A [`Look`] does this:
//! 1. [`look`]: what is in storage, what is due, and if it is an order, the lock for it.
//! 2. [`suggestion`]: what the CA says of the time.
//! 3. [`order`]: the order itself, one challenge after the other, and what becomes of it.
//! 4. [`observe`]: a handshake with ourselves.
//! 5. [`telling`]: status, log and webhook.

mod look;
mod observe;
mod order;
mod suggestion;
mod telling;

use std::time::Duration as StdDuration;

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use self::look::Look;
use super::ledger::Ledger;
use super::schedule::{Limit, Wish};
use super::verify::{Listener, Seen};
use super::{Shared, Status};
use crate::certificates::Certificates;

/// How often storage, schedule and listener are looked at, give or take a tenth: another
/// instance may have renewed, and while a machine sleeps a long timer means nothing.
const LOOK: StdDuration = StdDuration::from_mins(10);
/// How soon to look again while another instance orders.
const SOON: StdDuration = StdDuration::from_secs(10);
/// No pause is shorter, so that no mistake of ours becomes a busy loop.
const SHORTEST: StdDuration = StdDuration::from_millis(100);

/// What keeps one name's certificate fresh.
pub(super) struct Keeper {
    /// Among the served certificates.
    index: usize,
    name: String,
    status: Mutex<Status>,
    wish: Mutex<Wish>,
    wake: Notify,
    /// How many looks have ended without an order, which is when a wish has been answered.
    settled: watch::Sender<u64>,
    /// What could not be written; it counts all the same until this process ends.
    unsaved: Mutex<Option<Ledger>>,
    /// The limit for which an order was refused, which is said once.
    refused: Mutex<Option<Limit>>,
}

impl Keeper {
    pub(super) fn new(index: usize, name: String, stored: Option<Seen>) -> Self {
        Self {
            index,
            name,
            status: Mutex::new(Status {
                stored,
                ..Status::default()
            }),
            wish: Mutex::default(),
            wake: Notify::new(),
            settled: watch::Sender::default(),
            unsaved: Mutex::default(),
            refused: Mutex::default(),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Wishes, and waits until that has led to something. It does so, too, when nobody waits.
    pub(super) async fn fulfil(&self, wish: Wish) {
        let mut settled = self.settled.subscribe();
        {
            let mut wished = self.wish.lock();
            *wished = wish.max(*wished);
        }
        self.wake.notify_one();
        // A look that was under way may end before it has heard of the wish. The sender lives
        // as long as this.
        while settled.changed().await.is_ok() {
            if *self.wish.lock() == Wish::None {
                return;
            }
        }
    }

    /// Tells those who wait that there is nothing more to wait for.
    fn settle(&self) {
        self.settled.send_modify(|looks| *looks += 1);
    }

    /// Has the next look come at once.
    pub(super) fn look_soon(&self) {
        self.wake.notify_one();
    }

    /// Looks again and again, until others have taken the place of these certificates.
    pub(super) async fn run(
        &self,
        shared: &Shared,
        certificates: &Certificates,
        https: &[Listener],
        mut retired: watch::Receiver<bool>,
    ) {
        let look = Look {
            keeper: self,
            shared,
            certificates,
            https,
        };
        loop {
            let pause = look.look().await;
            tokio::select! {
                () = tokio::time::sleep(pause.max(SHORTEST)) => {}
                () = self.wake.notified() => {}
                _ = retired.wait_for(|retired| *retired) => return,
            }
        }
    }
}

/// Uniform in 0..1.
fn random() -> f64 {
    // 32 of the bits that are random in a UUID of version 4.
    let bits = Uuid::new_v4().as_fields().0;
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_spread_over_the_whole_range() {
        let many: Vec<f64> = (0..1000).map(|_| random()).collect();
        assert!(many.iter().all(|random| (0.0..1.0).contains(random)));
        assert!(many.iter().any(|random| *random < 0.1));
        assert!(many.iter().any(|random| *random > 0.9));
    }
}
