//! What is remembered of the last ten minutes: who looks at the server at night looks after it began.
//!
//! 1. Every two seconds, whether somebody looks or not, the [`Sampler`] takes a [`Reading`] of all
//!    counts: some hundred relaxed loads for each route, and one line of `/proc`. It asks nobody, so
//!    it is never late because somebody else is.
//! 2. The difference to the reading before makes a [`Point`]; the newest 300 are kept.
//! 3. Earlier readings are kept for the [`Traffic`] of the last minute ([`past`]).

mod past;
pub(super) mod process;
pub mod traffic;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use self::past::Past;
use self::traffic::{Counts, Reading, RouteTraffic, Told, Traffic, Unrouted};
use super::Subject;
use super::status::Pool;
use crate::edge::{Figures, StatusClass};

/// Between two points: quick enough to watch, slow enough to read.
pub(super) const EVERY: Duration = Duration::from_secs(2);
/// What the points cover.
pub(super) const KEEPS: Duration = Duration::from_mins(10);
const POINTS: usize = 300;
const _: () = assert!(EVERY.as_secs() * POINTS as u64 == KEEPS.as_secs());
/// What the latencies of one point cover: fewer requests have no percentiles worth drawing.
const SMOOTHED: Duration = Duration::from_secs(10);
/// What is told as the last minute, and how fine its beginning is.
const MINUTE: Duration = Duration::from_mins(1);
const STEP: Duration = Duration::from_secs(10);

/// Samples the figures of the server, and remembers.
pub(super) struct Sampler {
    subject: Arc<ArcSwap<Subject>>,
    kept: Mutex<Kept>,
    ticks: watch::Sender<()>,
}

/// How it was at one moment, and since the point before.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Point {
    /// Milliseconds since 1970.
    at: i64,
    /// Requests a second: by class from 1xx to 5xx, those whose client left, those of no route.
    rates: [f64; StatusClass::ALL.len() + 1],
    /// Seconds, of the last ten; `None` without requests.
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
    /// Connections open.
    connections: u64,
    pool: Option<Pool>,
    /// Bytes in RAM.
    memory: Option<u64>,
}

struct Kept {
    points: VecDeque<Point>,
    /// How many there ever were.
    count: u64,
    seconds: Past<Reading>,
    minute: Past<Reading>,
}

impl Sampler {
    pub(super) fn new(subject: Arc<ArcSwap<Subject>>) -> Self {
        let mut kept = Kept {
            points: VecDeque::with_capacity(POINTS),
            count: 0,
            seconds: Past::new(Duration::ZERO, SMOOTHED),
            minute: Past::new(STEP, MINUTE),
        };
        let (now, reading) = (Instant::now(), Reading::of(&subject.load().edge));
        kept.seconds.keep(now, reading.clone());
        kept.minute.keep(now, reading);
        Self {
            subject,
            kept: Mutex::new(kept),
            ticks: watch::Sender::new(()),
        }
    }

    /// Samples until `stopped` turns true.
    pub(super) async fn keep_sampling(&self, mut stopped: watch::Receiver<bool>) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once, when there is no time to tell of.
        ticks.tick().await;
        loop {
            tokio::select! {
                _ = ticks.tick() => self.sample(),
                _ = stopped.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Changes with every new point.
    pub(super) fn ticks(&self) -> watch::Receiver<()> {
        self.ticks.subscribe()
    }

    /// The points after the first `known` ones, as far as they are remembered, and how many there are now.
    pub(super) fn points_after(&self, known: u64) -> (Vec<Point>, u64) {
        let kept = self.kept.lock();
        let fresh = usize::try_from(kept.count - known.min(kept.count)).unwrap_or(POINTS);
        let skipped = kept.points.len().saturating_sub(fresh);
        (
            kept.points.iter().skip(skipped).cloned().collect(),
            kept.count,
        )
    }

    /// What requests were until now.
    pub(super) fn traffic(&self, running: Duration) -> Told {
        let reading = Reading::of(&self.subject.load().edge);
        let kept = self.kept.lock();
        let (since, earlier) = kept.minute.oldest();
        let lately = since.elapsed();
        let differences = reading.since(earlier);
        let routes = reading.routes.iter().zip(&differences);
        Told {
            since_start: Traffic::of(&reading.total(), running),
            last_minute: Traffic::of(&Counts::sum(&differences), lately),
            unrouted: Unrouted {
                since_start: reading.unrouted,
                last_minute: reading.unrouted.saturating_sub(earlier.unrouted),
            },
            routes: routes
                .map(|((label, counts), difference)| RouteTraffic {
                    label: label.clone(),
                    since_start: Traffic::of(counts, running),
                    last_minute: Traffic::of(difference, lately),
                })
                .collect(),
        }
    }

    fn sample(&self) {
        let subject = self.subject.load_full();
        let (now, reading) = (Instant::now(), Reading::of(&subject.edge));
        let mut kept = self.kept.lock();
        let (before, last) = kept.seconds.newest();
        let passed = now.duration_since(*before).as_secs_f64();
        let counts = Counts::sum(&reading.since(last));
        let unrouted = reading.unrouted.saturating_sub(last.unrouted);
        let (_, earlier) = kept.seconds.oldest();
        let latencies = Counts::sum(&reading.since(earlier)).latencies;
        let percentile = |share| traffic::seconds(latencies.quantile(share));
        let rate = |count: u64| traffic::rounded(traffic::float(count) / passed);
        let mut rates = [0.0; StatusClass::ALL.len() + 1];
        for (index, count) in counts.classes.into_iter().chain([unrouted]).enumerate() {
            rates[index] = rate(count);
        }
        let point = Point {
            at: milliseconds(OffsetDateTime::now_utc()),
            rates,
            p50: percentile(0.5),
            p90: percentile(0.9),
            p99: percentile(0.99),
            connections: connections(&subject.edge),
            pool: subject.database.as_ref().map(Pool::of),
            memory: process::memory(),
        };
        if kept.points.len() == POINTS {
            kept.points.pop_front();
        }
        kept.points.push_back(point);
        kept.count += 1;
        kept.seconds.keep(now, reading.clone());
        kept.minute.keep(now, reading);
        drop(kept);
        self.ticks.send_replace(());
    }
}

/// Connections of visitors that are open.
pub(super) fn connections(edge: &Figures) -> u64 {
    edge.connections().iter().map(|each| each.open).sum()
}

/// Since 1970.
pub(super) fn milliseconds(at: OffsetDateTime) -> i64 {
    i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}
