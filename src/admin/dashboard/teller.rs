//! What all streams say, and who may listen.
//!
//! There are sixteen seats. Whoever comes when all are taken gets the seat of whoever has sat longest:
//! a page that was forgotten somewhere must not keep the person on call out.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

use crate::admin::Shared;
use crate::admin::status::{self, Status};

/// Streams at once; the listener has room for four times as many connections.
pub(super) const SEATS: usize = 16;

/// Tells everybody who listens how the server is.
pub(in crate::admin) struct Teller {
    /// What `/status` answers; `None` before anybody asked.
    told: watch::Sender<Option<Status>>,
    /// Those who sit, in the order they came. Dropping one ends its stream; an ended stream has
    /// dropped the other side.
    seats: Mutex<VecDeque<oneshot::Sender<()>>>,
    /// Somebody has sat down, and waits.
    came: Notify,
}

/// A place at the teller's feet.
pub(super) struct Seat {
    /// Changes with every telling.
    pub(super) told: watch::Receiver<Option<Status>>,
    /// Ends when somebody else takes the seat.
    pub(super) taken: oneshot::Receiver<()>,
}

impl Teller {
    pub(in crate::admin) fn new() -> Self {
        Self {
            told: watch::Sender::new(None),
            seats: Mutex::default(),
            came: Notify::new(),
        }
    }

    /// Sits down; the next telling is soon.
    pub(super) fn sit(&self) -> Seat {
        let (seat, taken) = oneshot::channel();
        let mut seats = self.seats.lock();
        seats.retain(|seat| !seat.is_closed());
        if seats.len() == SEATS {
            seats.pop_front();
        }
        seats.push_back(seat);
        let told = self.told.subscribe();
        self.came.notify_one();
        Seat { told, taken }
    }

    /// Tells after each new point, and who has just sat down at once, until `stopped` turns true. While
    /// nobody listens the database is not asked.
    pub(in crate::admin) async fn keep_telling(
        &self,
        shared: &Shared,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut ticks = shared.sampler.ticks();
        loop {
            tokio::select! {
                // The sampler is as alive as `shared`.
                _ = ticks.changed() => {}
                () = self.came.notified() => {}
                _ = stopped.wait_for(|stop| *stop) => return,
            }
            if self.seats.lock().iter().all(oneshot::Sender::is_closed) {
                continue;
            }
            // Up to two seconds, when the database has fallen silent.
            let status = status::status(shared).await;
            self.told.send_replace(Some(status));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seventeenth_gets_the_seat_of_the_first() {
        let teller = Teller::new();
        let mut seats: Vec<_> = (0..SEATS).map(|_| teller.sit()).collect();
        // Who has left makes room before anybody has to.
        drop(seats.pop());
        seats.push(teller.sit());
        let lost =
            |seat: &mut Seat| seat.taken.try_recv() == Err(oneshot::error::TryRecvError::Closed);
        assert_eq!(
            seats
                .iter_mut()
                .filter_map(|seat| lost(seat).then_some(()))
                .count(),
            0
        );
        seats.push(teller.sit());
        let lost: Vec<_> = seats.iter_mut().map(lost).collect();
        assert!(lost[0]);
        assert_eq!(lost.iter().filter(|lost| **lost).count(), 1);
    }
}
