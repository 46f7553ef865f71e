//! Requests, counted at one moment, and what they were between two.

use std::collections::HashMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::edge::{Figures, RouteFigures, StatusClass};
use crate::measure::Latencies;

/// What requests were in some time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Seconds that this tells of.
    pub seconds: f64,
    /// All that came to a route.
    pub requests: u64,
    /// How they were answered.
    pub classes: Classes,
    /// Seconds that half of the answers took at most, from the end of the request's head to the end
    /// of the answer; `None` without any.
    pub p50: Option<f64>,
    /// The same of nine in ten.
    pub p90: Option<f64>,
    /// The same of 99 in a hundred.
    pub p99: Option<f64>,
}

/// How many requests were answered how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Classes {
    /// Upgraded, such as to a `WebSocket`.
    #[serde(rename = "1xx")]
    pub informational: u64,
    /// Answered well.
    #[serde(rename = "2xx")]
    pub success: u64,
    /// Sent elsewhere, or told that what they have is still good.
    #[serde(rename = "3xx")]
    pub redirection: u64,
    /// Refused: the client's fault.
    #[serde(rename = "4xx")]
    pub client_error: u64,
    /// Failed: ours, the app's, or an upstream's.
    #[serde(rename = "5xx")]
    pub server_error: u64,
    /// The client left before there was an answer.
    pub left: u64,
}

/// Requests that came to no route: redirected to HTTPS, malformed, for another host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unrouted {
    /// Since the process started.
    pub since_start: u64,
    /// Of the last minute or a little more.
    pub last_minute: u64,
}

/// What the requests of one route were.
pub(in crate::admin) struct RouteTraffic {
    /// Its host, if it has one, and its path.
    pub(in crate::admin) label: String,
    pub(in crate::admin) since_start: Traffic,
    pub(in crate::admin) last_minute: Traffic,
}

/// What requests were until now.
pub(in crate::admin) struct Told {
    pub(in crate::admin) since_start: Traffic,
    pub(in crate::admin) last_minute: Traffic,
    pub(in crate::admin) unrouted: Unrouted,
    /// In the order of the file.
    pub(in crate::admin) routes: Vec<RouteTraffic>,
}

/// All counts at one moment.
#[derive(Clone)]
pub(super) struct Reading {
    /// By the route's label.
    pub(super) routes: Vec<(String, Counts)>,
    /// Requests that no route has taken.
    pub(super) unrouted: u64,
}

/// Requests of one route, or of several.
#[derive(Clone, Default)]
pub(super) struct Counts {
    pub(super) classes: [u64; StatusClass::ALL.len()],
    pub(super) latencies: Latencies,
}

impl Reading {
    pub(super) fn of(edge: &Figures) -> Self {
        let routes = edge.routes().into_iter();
        Self {
            routes: routes
                .map(|route| (route.route.clone(), Counts::of(&route)))
                .collect(),
            unrouted: edge.unrouted().iter().map(|(_, count)| count).sum(),
        }
    }

    /// What came to each route since the `earlier` reading. A route that was not there then may bring
    /// counts from before: they are no news.
    pub(super) fn since(&self, earlier: &Self) -> Vec<Counts> {
        let earlier: HashMap<_, _> = earlier
            .routes
            .iter()
            .map(|(label, counts)| (label, counts))
            .collect();
        let each = self.routes.iter();
        each.map(|(label, counts)| match earlier.get(label) {
            Some(earlier) => counts.since(earlier),
            None => Counts::default(),
        })
        .collect()
    }

    pub(super) fn total(&self) -> Counts {
        Counts::sum(self.routes.iter().map(|(_, counts)| counts))
    }
}

impl Counts {
    fn of(route: &RouteFigures) -> Self {
        Self {
            classes: StatusClass::ALL.map(|class| route.requests.of_class(class)),
            latencies: route.latencies.clone(),
        }
    }

    fn since(&self, earlier: &Self) -> Self {
        let mut classes = self.classes;
        for (count, before) in classes.iter_mut().zip(earlier.classes) {
            *count = count.saturating_sub(before);
        }
        Self {
            classes,
            latencies: self.latencies.since(&earlier.latencies),
        }
    }

    pub(super) fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for each in all {
            for (count, more) in sum.classes.iter_mut().zip(each.classes) {
                *count += more;
            }
            sum.latencies.add(&each.latencies);
        }
        sum
    }
}

impl Traffic {
    pub(super) fn of(counts: &Counts, time: Duration) -> Self {
        let [
            informational,
            success,
            redirection,
            client_error,
            server_error,
            left,
        ] = counts.classes;
        let percentile = |share| seconds(counts.latencies.quantile(share));
        Self {
            seconds: rounded(time.as_secs_f64()),
            requests: counts.classes.iter().sum(),
            classes: Classes {
                informational,
                success,
                redirection,
                client_error,
                server_error,
                left,
            },
            p50: percentile(0.5),
            p90: percentile(0.9),
            p99: percentile(0.99),
        }
    }

    /// Requests a second.
    #[must_use]
    pub fn rate(&self) -> f64 {
        if self.seconds > 0.0 {
            float(self.requests) / self.seconds
        } else {
            0.0
        }
    }

    /// The part of all requests that failed: 0 to 1.
    #[must_use]
    pub fn failed_share(&self) -> f64 {
        if self.requests == 0 {
            0.0
        } else {
            float(self.classes.server_error) / float(self.requests)
        }
    }
}

/// With as many digits as mean something.
pub(super) fn seconds(time: Option<Duration>) -> Option<f64> {
    time.map(|time| (time.as_secs_f64() * 1e6).round() / 1e6)
}

/// To thousandths.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 2^53, and then near enough"
)]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(routes: &[(&str, u64)]) -> Reading {
        let counts = |ok| Counts {
            classes: [0, ok, 0, 0, 0, 0],
            latencies: Latencies::default(),
        };
        Reading {
            routes: routes
                .iter()
                .map(|(label, ok)| ((*label).to_owned(), counts(*ok)))
                .collect(),
            unrouted: 0,
        }
    }

    #[test]
    fn differences_survive_a_reload() {
        let table = [
            (&[("/a", 5)][..], &[("/a", 7)][..], 2, "two more"),
            (&[("/a", 5), ("/b", 9)], &[("/a", 7)], 2, "a route has gone"),
            (
                &[("/a", 5)],
                &[("/b", 90), ("/a", 6)],
                1,
                "one came back with what it had counted",
            ),
            (&[("/a", 5)], &[("/a", 5)], 0, "nothing happened"),
        ];
        for (earlier, later, expected, why) in table {
            let since = reading(later).since(&reading(earlier));
            let traffic = Traffic::of(&Counts::sum(&since), Duration::from_secs(4));
            assert_eq!(traffic.requests, expected, "{why}");
        }
    }

    #[test]
    fn nothing_is_divided_by_nothing() {
        let none = Traffic::default();
        assert_eq!((none.rate(), none.failed_share()), (0.0, 0.0));
        let counts = Counts {
            classes: [0, 6, 0, 0, 2, 0],
            latencies: Latencies::default(),
        };
        let some = Traffic::of(&counts, Duration::from_secs(4));
        assert_eq!((some.rate(), some.failed_share()), (2.0, 0.25));
        assert_eq!(some.p99, None, "streams alone have no times");
    }
}
