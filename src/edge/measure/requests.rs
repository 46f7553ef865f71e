//! How many requests there were, by method and by how they were answered.

use std::sync::atomic::{AtomicU64, Ordering};

use http::Method;

use crate::edge::access_log::CLIENT_LEFT;

/// What methods are called; the last stands for all others.
const METHODS: [&str; 8] = [
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other",
];

/// Counts shared by all that add to them. A ready answer counts in a row of its own: so it is told
/// from others by the same one addition that counts it.
#[derive(Debug, Default)]
pub(super) struct Counts {
    rows: [[AtomicU64; StatusClass::ALL.len()]; METHODS.len()],
    /// To GET, and to HEAD.
    ready: [[AtomicU64; StatusClass::ALL.len()]; 2],
}

/// How many requests there were.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    rows: [[u64; StatusClass::ALL.len()]; METHODS.len()],
    ready: u64,
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusClass {
    /// 1xx: upgraded, such as to a WebSocket.
    Informational,
    /// 2xx.
    Success,
    /// 3xx.
    Redirection,
    /// 4xx.
    ClientError,
    /// 5xx.
    ServerError,
    /// The client left before it had an answer.
    ClientLeft,
}

impl Counts {
    pub(super) fn add(&self, method: &Method, status: u16) {
        self.rows[row(method)][StatusClass::of(status) as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an answer given ready.
    pub(super) fn add_ready(&self, is_head: bool, status: u16) {
        let class = StatusClass::of(status) as usize;
        self.ready[usize::from(is_head)][class].fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what was counted so far to `sum`.
    pub(super) fn read_into(&self, sum: &mut Requests) {
        for (sums, counts) in sum.rows.iter_mut().zip(&self.rows) {
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count.load(Ordering::Relaxed);
            }
        }
        // The rows of GET and HEAD are the first as well.
        for (sums, counts) in sum.rows.iter_mut().zip(&self.ready) {
            for (each, count) in sums.iter_mut().zip(counts) {
                let count = count.load(Ordering::Relaxed);
                *each += count;
                sum.ready += count;
            }
        }
    }
}

impl Requests {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.rows.iter().flatten().sum()
    }

    /// Those that ended so.
    #[must_use]
    pub fn of_class(&self, class: StatusClass) -> u64 {
        self.rows.iter().map(|row| row[class as usize]).sum()
    }

    /// Those that were given a ready answer.
    #[must_use]
    pub fn ready(&self) -> u64 {
        self.ready
    }

    /// By method and class, each of a fixed set, whether there were any or not.
    pub fn each(&self) -> impl Iterator<Item = (&'static str, StatusClass, u64)> {
        METHODS.iter().zip(&self.rows).flat_map(|(method, counts)| {
            let counts = StatusClass::ALL.iter().zip(counts);
            counts.map(|(class, count)| (*method, *class, *count))
        })
    }
}

impl StatusClass {
    /// All of them, in the order of their statuses.
    pub const ALL: [Self; 6] = [
        Self::Informational,
        Self::Success,
        Self::Redirection,
        Self::ClientError,
        Self::ServerError,
        Self::ClientLeft,
    ];

    /// The class of a status in the access log.
    fn of(status: u16) -> Self {
        match status {
            CLIENT_LEFT => Self::ClientLeft,
            ..200 => Self::Informational,
            200..300 => Self::Success,
            300..400 => Self::Redirection,
            400..500 => Self::ClientError,
            500.. => Self::ServerError,
        }
    }

    /// `2xx`, or `left`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Informational => "1xx",
            Self::Success => "2xx",
            Self::Redirection => "3xx",
            Self::ClientError => "4xx",
            Self::ServerError => "5xx",
            Self::ClientLeft => "left",
        }
    }
}

fn row(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        _ => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_apart_by_method_and_class() {
        let counts = Counts::default();
        let table = [
            ("GET", 200, "GET", "2xx"),
            ("HEAD", 304, "HEAD", "3xx"),
            ("POST", 499, "POST", "left"),
            ("PUT", 404, "PUT", "4xx"),
            ("PATCH", 503, "PATCH", "5xx"),
            ("DELETE", 599, "DELETE", "5xx"),
            ("OPTIONS", 204, "OPTIONS", "2xx"),
            ("PROPFIND", 101, "other", "1xx"),
        ];
        for (method, status, ..) in table {
            counts.add(&method.parse().unwrap(), status);
        }
        let mut requests = Requests::default();
        counts.read_into(&mut requests);
        let found: Vec<_> = requests
            .each()
            .filter(|(.., count)| *count > 0)
            .map(|(method, class, count)| (method, class.label(), count))
            .collect();
        let expected = table.map(|(.., method, class)| (method, class, 1));
        assert_eq!(found, expected);
        assert_eq!(requests.total(), 8);
        assert_eq!(requests.of_class(StatusClass::ServerError), 2);
    }

    #[test]
    fn ready_answers_are_requests_like_others() {
        let counts = Counts::default();
        counts.add(&Method::GET, 200);
        counts.add_ready(false, 200);
        counts.add_ready(true, 304);
        let mut requests = Requests::default();
        counts.read_into(&mut requests);
        let found: Vec<_> = requests
            .each()
            .filter(|(.., count)| *count > 0)
            .map(|(method, _, count)| (method, count))
            .collect();
        assert_eq!(found, [("GET", 2), ("HEAD", 1)]);
        assert_eq!((requests.total(), requests.ready()), (3, 2));
    }
}
