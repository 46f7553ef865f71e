//! Times, sorted into buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How many buckets there are, the one without a bound included.
const BUCKETS: usize = 20;

/// The longest time of each bucket in nanoseconds: 100 µs to 100 s in steps of 1, 2 and 5, so that
/// the limits people promise (100 ms, 500 ms, 1 s) are bounds. Each is at least twice the one before,
/// which [`bucket`] relies on.
const BOUNDS: [u64; BUCKETS] = [
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
    20_000_000_000,
    50_000_000_000,
    100_000_000_000,
    u64::MAX,
];

/// By the count of a number's binary digits, the bucket of the smallest such number.
const FIRST: [u8; 65] = first_buckets();

/// Counts times by their length; shared, without a lock.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    nanoseconds: AtomicU64,
}

/// What a [`Histogram`] has counted at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    buckets: [u64; BUCKETS],
    nanoseconds: u64,
}

impl Histogram {
    /// Counts a time.
    pub fn record(&self, took: Duration) {
        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)].fetch_add(1, Ordering::Relaxed);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn read(&self) -> Latencies {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Latencies {
            buckets: std::array::from_fn(|bucket| load(&self.buckets[bucket])),
            nanoseconds: load(&self.nanoseconds),
        }
    }
}

impl Latencies {
    /// How many times were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All of them together.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.nanoseconds)
    }

    /// For each bound, the last of which is `None` for none at all, how many were not longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = BOUNDS.iter().enumerate().map(|(bucket, &bound)| {
            let is_last = bucket + 1 == BUCKETS;
            (!is_last).then(|| Duration::from_nanos(bound))
        });
        let counts = self.buckets.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        bounds.zip(counts)
    }

    /// Adds what another histogram has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.buckets.iter_mut().zip(other.buckets) {
            *count += more;
        }
        self.nanoseconds = self.nanoseconds.wrapping_add(other.nanoseconds);
    }

    /// What was counted since the `earlier` reading of the same histogram.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let buckets = std::array::from_fn(|bucket| {
            self.buckets[bucket].saturating_sub(earlier.buckets[bucket])
        });
        Self {
            buckets,
            nanoseconds: self.nanoseconds.wrapping_sub(earlier.nanoseconds),
        }
    }

    /// The time that the given share of all, from 0 to 1, was not longer than: 0.99 for the 99th
    /// percentile. Within a bucket times are taken to lie evenly, as Prometheus does; what is longer
    /// than every bound counts as the longest. `None` where nothing was counted.
    #[must_use]
    #[expect(
        clippy::cast_precision_loss,
        reason = "an estimate between bounds a factor of two apart"
    )]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = share.clamp(0.0, 1.0) * count as f64;
        let mut below = 0;
        let mut lower = 0;
        for (&bound, &within) in BOUNDS.iter().zip(&self.buckets).take(BUCKETS - 1) {
            if within > 0 && (below + within) as f64 >= rank {
                let part = (rank - below as f64).max(0.0) / within as f64;
                let nanoseconds = lower as f64 + part * (bound - lower) as f64;
                return Some(Duration::from_secs_f64(nanoseconds / 1e9));
            }
            below += within;
            lower = bound;
        }
        Some(Duration::from_nanos(lower))
    }
}

/// The bucket of a time. Numbers with as many binary digits have at most one bound among them, so one
/// comparison is enough.
fn bucket(nanoseconds: u64) -> usize {
    let digits = u64::BITS - nanoseconds.leading_zeros();
    let first = usize::from(FIRST[digits as usize]);
    first + usize::from(nanoseconds > BOUNDS[first])
}

const fn first_buckets() -> [u8; 65] {
    let mut first = [0; 65];
    let mut digits = 1;
    while digits < first.len() {
        let smallest = 1 << (digits - 1);
        let mut bucket = 0;
        while BOUNDS[bucket as usize] < smallest {
            bucket += 1;
        }
        first[digits] = bucket;
        digits += 1;
    }
    first
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(times: &[Duration]) -> Latencies {
        let histogram = Histogram::default();
        for time in times {
            histogram.record(*time);
        }
        histogram.read()
    }

    /// As it is defined, without a table.
    fn defined(nanoseconds: u64) -> usize {
        let longer = BOUNDS.iter().filter(|bound| nanoseconds > **bound);
        longer.count()
    }

    #[test]
    fn bounds_belong_to_their_bucket() {
        assert_eq!(bucket(0), 0);
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        for (index, &bound) in BOUNDS.iter().enumerate().take(BUCKETS - 1) {
            let around = [bound - 1, bound, bound + 1].map(bucket);
            assert_eq!(around, [index, index, index + 1], "{bound}");
        }
    }

    proptest! {
        #[test]
        fn every_time_has_the_bucket_of_the_definition(nanoseconds: u64, shift in 0..64) {
            let nanoseconds = nanoseconds >> shift;
            prop_assert_eq!(bucket(nanoseconds), defined(nanoseconds));
        }
    }

    #[test]
    fn what_was_counted_is_read() {
        let times = [50, 100_000, 2_000_000].map(Duration::from_micros);
        let latencies = of(&times);
        assert_eq!(latencies.count(), 3);
        assert_eq!(latencies.total(), times.iter().sum::<Duration>());
        let not_longer = |bound: Option<Duration>| {
            let mut all = latencies.cumulative();
            all.find(|(found, _)| *found == bound)
                .map(|(_, count)| count)
        };
        assert_eq!(not_longer(Some(Duration::from_micros(100))), Some(1));
        assert_eq!(not_longer(Some(Duration::from_millis(100))), Some(2));
        assert_eq!(not_longer(Some(Duration::from_secs(1))), Some(2));
        assert_eq!(not_longer(None), Some(3));
        let last = latencies.cumulative().last();
        assert_eq!(last, Some((None, 3)));
    }

    #[test]
    fn readings_add_up_and_differ() {
        let (short, long) = (Duration::from_micros(50), Duration::from_hours(1));
        let mut sum = of(&[short]);
        sum.add(&of(&[long]));
        assert_eq!(sum, of(&[short, long]));
        assert_eq!(sum.since(&of(&[long])), of(&[short]));
    }

    #[test]
    fn quantiles_lie_within_their_bucket() {
        let millis = |times: &[u64]| {
            let times: Vec<_> = times.iter().copied().map(Duration::from_millis).collect();
            of(&times)
        };
        let table = [
            (millis(&[]), 0.5, None, "nothing was counted"),
            (
                millis(&[3]),
                1.0,
                Some(5_000),
                "the bound above the only one",
            ),
            (millis(&[3]), 0.0, Some(2_000), "the bound below it"),
            (millis(&[3, 3, 3, 3]), 0.5, Some(3_500), "half of the way"),
            (
                millis(&[1, 30, 30, 30]),
                0.25,
                Some(1_000),
                "all of the first",
            ),
            (
                millis(&[1, 30, 30, 30]),
                0.5,
                Some(30_000),
                "a third into the second",
            ),
            (
                millis(&[500_000]),
                0.99,
                Some(100_000_000),
                "the longest bound",
            ),
        ];
        for (latencies, share, expected, why) in table {
            let quantile = latencies.quantile(share).map(|time| time.as_micros());
            assert_eq!(quantile, expected, "{why}");
        }
    }
}
