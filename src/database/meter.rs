//! What the pool is asked for, and how long it takes.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use deadpool_postgres::{ClientWrapper, Pool};

use super::pool::Refusal;
use crate::measure::{Histogram, Latencies, spent};

/// A connection taken from the pool; it returns there when dropped.
///
/// Use `prepare_cached` for every statement.
pub struct Client {
    lent: deadpool_postgres::Client,
    _held: Held,
}

/// What the pool was asked for, and how it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolFigures {
    /// The most connections there may be: `database.pool_size`.
    pub max: usize,
    /// Connections that are made.
    pub open: usize,
    /// Connections lent at this moment.
    pub in_use: usize,
    /// Requests that wait for one.
    pub waiting: usize,
    /// How long those have waited that were lent one.
    pub acquire: Latencies,
    /// How long each was kept before it came back.
    pub held: Latencies,
    /// Requests that were lent none within `database.acquire_timeout`, as all were in use.
    pub exhausted: u64,
    /// Requests that were lent none because `PostgreSQL` gave none.
    pub unreachable: u64,
}

/// The counts of one pool.
#[derive(Default)]
pub(super) struct Meter {
    acquire: Histogram,
    held: Histogram,
    exhausted: AtomicU64,
    unreachable: AtomicU64,
}

/// Notes at its end how long a connection was kept.
struct Held {
    since: Instant,
    meter: Arc<Meter>,
}

impl Client {
    /// Takes the connection out of the pool for good: it is closed when dropped.
    #[must_use]
    pub fn take(client: Self) -> ClientWrapper {
        deadpool_postgres::Client::take(client.lent)
    }
}

impl Meter {
    /// Notes what became of a request that was `begun` then.
    pub(super) fn note(
        self: &Arc<Self>,
        begun: Instant,
        lent: Result<deadpool_postgres::Client, Refusal>,
    ) -> Result<Client, Refusal> {
        let now = Instant::now();
        spent::add_on_database(now.duration_since(begun));
        let lent = lent.inspect_err(|refusal| {
            let count = match refusal {
                Refusal::Exhausted => &self.exhausted,
                Refusal::Unreachable(_) => &self.unreachable,
            };
            count.fetch_add(1, Ordering::Relaxed);
        })?;
        self.acquire.record(now.duration_since(begun));
        Ok(Client {
            lent,
            _held: Held {
                since: now,
                meter: Arc::clone(self),
            },
        })
    }

    /// The counts so far, and how `pool` is.
    pub(super) fn read(&self, pool: &Pool) -> PoolFigures {
        let status = pool.status();
        PoolFigures {
            max: status.max_size,
            open: status.size,
            in_use: status.size.saturating_sub(status.available),
            waiting: status.waiting,
            acquire: self.acquire.read(),
            held: self.held.read(),
            exhausted: self.exhausted.load(Ordering::Relaxed),
            unreachable: self.unreachable.load(Ordering::Relaxed),
        }
    }
}

impl Deref for Client {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.lent
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.lent
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let held = self.since.elapsed();
        self.meter.held.record(held);
        spent::add_on_database(held);
    }
}
