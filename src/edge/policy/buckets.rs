//! Token buckets for any number of clients in a fixed number of places.
//!
//! A bucket is one number: when it will be full again (the "theoretical arrival time" of the generic
//! cell rate algorithm, ITU-T I.371). Taking a token moves that time one interval on; a bucket whose
//! time has passed is full and says no more than an absent one. So a client that has been quiet for
//! long enough loses its place to another, and both are treated as if each had its own for ever.
//!
//! Where no bucket of a client's set is full, the client shares the fullest one, debts included: with
//! more active clients than places nobody gets more than the rate, and some get less. No lock is
//! taken, and memory doesn't grow, whatever clients send.
//!
//! Two threads that work on one place at once can charge a token to the client that has just lost it, or
//! give a new client two places for a moment. Either is worth a token or a burst, once.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Places of one table: 1 MiB.
const PLACES: usize = 64 * 1024;
/// Places in which one client may be found: two cache lines.
const WAYS: usize = 8;

/// The buckets of one rate limit.
pub(super) struct Buckets {
    sets: Box<[Set]>,
    /// What a client's key is told by. SECURITY: random, or clients could choose keys that share a
    /// place with somebody else's.
    hasher: RandomState,
    /// Nanoseconds that bring one token back.
    interval: u64,
    /// Nanoseconds that fill an empty bucket.
    depth: u64,
    epoch: Instant,
}

#[derive(Default)]
#[repr(align(128))]
struct Set([Place; WAYS]);

#[derive(Default)]
struct Place {
    /// The hash of the client's key; 0 of nobody.
    owner: AtomicU64,
    /// When the bucket is full again, in nanoseconds since the table's epoch.
    full_at: AtomicU64,
}

/// A client, as a table knows it.
#[derive(Clone, Copy)]
pub(super) struct Owner(u64);

/// What a client has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level {
    /// Whole tokens.
    pub(super) tokens: u64,
    /// Until the bucket is full.
    pub(super) full_in: Duration,
    /// Until there is a token; zero where there is one.
    pub(super) next_in: Duration,
}

impl Buckets {
    /// Buckets of `capacity` tokens, each of which comes back in `interval`.
    pub(super) fn new(interval: Duration, capacity: u32) -> Self {
        Self::with_places(interval, capacity, PLACES)
    }

    fn with_places(interval: Duration, capacity: u32, places: usize) -> Self {
        let interval = nanos(interval).max(1);
        Self {
            sets: (0..places / WAYS).map(|_| Set::default()).collect(),
            hasher: RandomState::new(),
            interval,
            depth: interval.saturating_mul(u64::from(capacity)),
            epoch: Instant::now(),
        }
    }

    /// The client of this key.
    pub(super) fn owner(&self, key: impl Hash) -> Owner {
        Owner(self.hasher.hash_one(key).max(1))
    }

    /// Now, as this table counts time.
    pub(super) fn now(&self) -> u64 {
        nanos(self.epoch.elapsed())
    }

    /// What `owner` has at `now`.
    pub(super) fn look(&self, owner: Owner, now: u64) -> Level {
        let set = self.set(owner);
        let place = set.of(owner).unwrap_or_else(|| set.fullest());
        self.level(place.full_at.load(Ordering::Relaxed), now)
    }

    /// Takes a token for `owner` at `now` and tells what is left.
    ///
    /// # Errors
    /// What the client has, where that is less than a token. Nothing is taken then.
    pub(super) fn take(&self, owner: Owner, now: u64) -> Result<Level, Level> {
        let place = self.place(owner);
        let mut full_at = place.full_at.load(Ordering::Relaxed);
        loop {
            let after = full_at.max(now) + self.interval;
            if after - now > self.depth {
                return Err(self.level(full_at, now));
            }
            let taken = place.full_at.compare_exchange_weak(
                full_at,
                after,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            match taken {
                Ok(_) => return Ok(self.level(after, now)),
                Err(newer) => full_at = newer,
            }
        }
    }

    fn level(&self, full_at: u64, now: u64) -> Level {
        let missing = full_at.saturating_sub(now);
        let next = (missing + self.interval).saturating_sub(self.depth);
        Level {
            tokens: self.depth.saturating_sub(missing) / self.interval,
            full_in: Duration::from_nanos(missing),
            next_in: Duration::from_nanos(next),
        }
    }

    /// The place of `owner`, found or taken over.
    fn place(&self, owner: Owner) -> &Place {
        let set = self.set(owner);
        loop {
            if let Some(place) = set.of(owner) {
                return place;
            }
            let place = set.fullest();
            let former = place.owner.load(Ordering::Relaxed);
            // Who is slower here looks again: the faster one may have been of the same client.
            if place
                .owner
                .compare_exchange(former, owner.0, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
            {
                return place;
            }
        }
    }

    fn set(&self, owner: Owner) -> &Set {
        // The remainder is below the number of sets, which is a `usize`.
        #[allow(clippy::cast_possible_truncation)]
        let index = (owner.0 % self.sets.len() as u64) as usize;
        &self.sets[index]
    }
}

impl Set {
    fn of(&self, owner: Owner) -> Option<&Place> {
        self.0
            .iter()
            .find(|place| place.owner.load(Ordering::Relaxed) == owner.0)
    }

    fn fullest(&self) -> &Place {
        let by_time = |place: &&Place| place.full_at.load(Ordering::Relaxed);
        self.0.iter().min_by_key(by_time).expect("WAYS is not 0")
    }
}

fn nanos(duration: Duration) -> u64 {
    // Five centuries; the configuration allows a year.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: u64 = 1_000_000_000;

    /// 2 tokens a second, 3 at once.
    fn buckets(places: usize) -> Buckets {
        Buckets::with_places(Duration::from_millis(500), 3, places)
    }

    #[test]
    fn a_bucket_empties_and_fills() {
        let buckets = buckets(64);
        let client = buckets.owner("a");
        let table: &[(u64, Option<u64>, &str)] = &[
            (0, Some(2), "a full bucket has its burst"),
            (0, Some(1), ""),
            (0, Some(0), "the last one"),
            (0, None, "empty"),
            (SECOND / 2 - 1, None, "a moment too early"),
            (SECOND / 2, Some(0), "one has come back"),
            (SECOND / 2, None, "and is gone"),
            (SECOND, Some(0), "the refused one took nothing"),
            (100 * SECOND, Some(2), "it never holds more than its burst"),
        ];
        for (now, left, why) in table {
            let taken = buckets.take(client, *now).ok().map(|level| level.tokens);
            assert_eq!(taken, *left, "{why} at {now}");
        }
    }

    #[test]
    fn a_level_tells_how_long_to_wait() {
        let buckets = buckets(64);
        let client = buckets.owner("a");
        let full = buckets.look(client, 0);
        assert_eq!((full.tokens, full.next_in.as_millis()), (3, 0));
        for _ in 0..3 {
            buckets.take(client, 0).unwrap();
        }
        let empty = buckets.take(client, SECOND / 10).unwrap_err();
        assert_eq!(empty, buckets.look(client, SECOND / 10));
        assert_eq!(
            (
                empty.tokens,
                empty.next_in.as_millis(),
                empty.full_in.as_millis()
            ),
            (0, 400, 1400)
        );
    }

    #[test]
    fn a_quiet_client_loses_its_place_and_nothing_else() {
        let buckets = buckets(WAYS);
        let busy = buckets.owner("busy");
        let at = 10 * SECOND;
        for _ in 0..3 {
            buckets.take(busy, at).unwrap();
        }
        // More clients than places, each with a full bucket again before the next comes.
        for other in 0..100_u64 {
            let taken = buckets.take(buckets.owner(other), SECOND * other / 2);
            assert_eq!(taken.map(|level| level.tokens), Ok(2), "client {other}");
            if SECOND * other / 2 < at + SECOND / 2 {
                assert!(
                    buckets.take(busy, at).is_err(),
                    "kept while it has debts, with client {other}"
                );
            }
        }
    }

    #[test]
    fn crowding_wins_nothing() {
        let buckets = buckets(WAYS);
        let granted = (0..10_000)
            .filter(|client| buckets.take(buckets.owner(client), 0).is_ok())
            .count();
        assert_eq!(granted, WAYS * 3, "as many as the places hold");
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let buckets = Buckets::with_places(Duration::from_mins(1), 1000, 64);
        let granted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let client = buckets.owner("a");
                        // The owner is there before the race for its tokens.
                        (0..1000)
                            .filter(|_| buckets.take(client, 0).is_ok())
                            .count()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .sum()
        });
        assert_eq!(granted, 1000);
    }

    proptest! {
        /// In any window a client gets at most its burst and what came back meanwhile.
        #[test]
        fn no_window_holds_more_than_burst_and_rate(steps in prop::collection::vec(0..SECOND, 1..200)) {
            let buckets = buckets(64);
            let client = buckets.owner("a");
            let mut now = 0;
            let mut granted = Vec::new();
            for step in steps {
                now += step;
                if buckets.take(client, now).is_ok() {
                    granted.push(now);
                }
            }
            for (index, first) in granted.iter().enumerate() {
                for (count, last) in granted[index..].iter().enumerate() {
                    let back = (last - first) / (SECOND / 2);
                    prop_assert!(count as u64 <= 2 + back, "{count} from {first} to {last}");
                }
            }
        }
    }
}
