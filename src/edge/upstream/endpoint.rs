//! One address of a server, and what is known of it.
//!
//! Everything here is read and written by requests that run at the same time, without a lock: each
//! fact is a number of its own, and none has to agree with another to the instant.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use http::HeaderValue;
use pingora_core::protocols::l4::socket::SocketAddr;
use pingora_core::upstreams::peer::HttpPeer;

use crate::config::{self, Share, UpstreamAddress};

/// One address of a server.
pub(crate) struct Endpoint {
    /// As logs call it: `127.0.0.1:3000`, `unix:/run/app.sock`.
    pub(crate) label: String,
    /// Which of the upstream's servers it belongs to.
    pub(super) server: usize,
    pub(super) share: Share,
    /// How to reach it, before a request has its say.
    pub(super) peer: HttpPeer,
    record: Arc<Record>,
}

/// What is known of an address, however it is reached.
#[derive(Debug)]
struct Record {
    /// Checks in a row that say the opposite of what is believed.
    streak: AtomicU32,
    /// Requests it is answering.
    running: AtomicUsize,
    /// Failures since its last success.
    failures: AtomicU32,
    /// Until when it is passed over, in milliseconds since `began`; 0 where it is not.
    out_until: AtomicU64,
    /// Whether its answers to health checks are wrong.
    unhealthy: AtomicBool,
    requests: AtomicU64,
    failed: AtomicU64,
    began: Instant,
}

/// How an endpoint is, for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// It gets requests.
    Up,
    /// It failed too often, and gets none for a while.
    Ejected,
    /// Its answers to health checks are wrong.
    Unhealthy,
    /// Its name leads nowhere, so nobody can ask it.
    Unknown,
}

/// What is known of an endpoint at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// As logs call it.
    pub server: String,
    /// How it is.
    pub condition: Condition,
    /// Requests it is answering.
    pub running: usize,
    /// Requests it was given since the start.
    pub requests: u64,
    /// How many of them it failed to answer.
    pub failed: u64,
    /// Why it is unknown, if it is.
    pub reason: Option<String>,
}

impl Facts {
    /// Those of `server`, whose name leads nowhere for this `reason`.
    pub(super) fn unknown(server: String, reason: String) -> Self {
        Self {
            server,
            condition: Condition::Unknown,
            running: 0,
            requests: 0,
            failed: 0,
            reason: Some(reason),
        }
    }
}

impl Endpoint {
    pub(super) fn new(server: usize, share: Share, peer: HttpPeer) -> Self {
        Self {
            label: label(&peer._address),
            server,
            share,
            peer,
            record: Arc::new(Record {
                streak: AtomicU32::new(0),
                running: AtomicUsize::new(0),
                failures: AtomicU32::new(0),
                out_until: AtomicU64::new(0),
                unhealthy: AtomicBool::new(false),
                requests: AtomicU64::new(0),
                failed: AtomicU64::new(0),
                began: Instant::now(),
            }),
        }
    }

    /// The same address, another place or way to reach it; what is known of it is one.
    pub(super) fn moved(&self, server: usize, share: Share, peer: HttpPeer) -> Self {
        Self {
            record: self.record.clone(),
            ..Self::new(server, share, peer)
        }
    }

    pub(super) fn address(&self) -> &SocketAddr {
        &self.peer._address
    }

    /// A `Host` for its server where nobody says another: what `config` calls it.
    pub(super) fn own_name(&self, config: &config::Upstream) -> HeaderValue {
        let name = match &config.servers[self.server].address {
            UpstreamAddress::Unix(_) => "localhost".to_owned(),
            UpstreamAddress::Tcp { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            UpstreamAddress::Tcp { host, port } => format!("{host}:{port}"),
        };
        HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("localhost"))
    }

    /// Whether it may be given a request.
    pub(super) fn is_in(&self) -> bool {
        if self.record.unhealthy.load(Ordering::Relaxed) {
            return false;
        }
        match self.record.out_until.load(Ordering::Relaxed) {
            0 => true,
            until => self.now() >= until,
        }
    }

    /// Gives it a request. One whose time is over gets this one on trial, and no other until the
    /// answer is there or `trial` is over.
    pub(super) fn begin(&self, trial: Duration) {
        self.record.running.fetch_add(1, Ordering::Relaxed);
        self.record.requests.fetch_add(1, Ordering::Relaxed);
        if self.record.out_until.load(Ordering::Relaxed) != 0 {
            self.record
                .out_until
                .store(self.now() + millis(trial), Ordering::Relaxed);
        }
    }

    /// The request it was given is over.
    pub(super) fn end(&self) {
        self.record.running.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn running(&self) -> usize {
        self.record.running.load(Ordering::Relaxed)
    }

    /// It has answered; whether that is news.
    pub(super) fn succeeded(&self) -> bool {
        // Read first: a fact that all cores only read stays in all their caches.
        if self.record.failures.load(Ordering::Relaxed) != 0 {
            self.record.failures.store(0, Ordering::Relaxed);
        }
        self.record.out_until.load(Ordering::Relaxed) != 0
            && self.record.out_until.swap(0, Ordering::Relaxed) != 0
    }

    /// It has failed; whether that is the failure too many. `eject_after` 0 is never.
    pub(super) fn failed(&self, eject_after: u32, eject_for: Duration) -> bool {
        self.record.failed.fetch_add(1, Ordering::Relaxed);
        let failures = self.record.failures.fetch_add(1, Ordering::Relaxed) + 1;
        if eject_after == 0 || failures < eject_after {
            return false;
        }
        let until = self.now() + millis(eject_for);
        self.record.out_until.swap(until, Ordering::Relaxed) == 0
    }

    pub(super) fn is_unhealthy(&self) -> bool {
        self.record.unhealthy.load(Ordering::Relaxed)
    }

    /// Checks in a row that say the opposite of what is believed.
    pub(super) fn streak(&self) -> &AtomicU32 {
        &self.record.streak
    }

    pub(super) fn set_unhealthy(&self, unhealthy: bool) {
        self.record.unhealthy.store(unhealthy, Ordering::Relaxed);
    }

    pub(super) fn facts(&self) -> Facts {
        let condition = match (
            self.is_unhealthy(),
            self.record.out_until.load(Ordering::Relaxed),
        ) {
            (true, _) => Condition::Unhealthy,
            (false, 0) => Condition::Up,
            (false, _) => Condition::Ejected,
        };
        Facts {
            server: self.label.clone(),
            condition,
            running: self.running(),
            requests: self.record.requests.load(Ordering::Relaxed),
            failed: self.record.failed.load(Ordering::Relaxed),
            reason: None,
        }
    }

    /// Milliseconds since it is known; never 0.
    fn now(&self) -> u64 {
        millis(self.record.began.elapsed()) + 1
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Up => "up",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
            Self::Unknown => "unknown",
        })
    }
}

fn label(address: &SocketAddr) -> String {
    match address {
        SocketAddr::Inet(address) => address.to_string(),
        SocketAddr::Unix(address) => match address.as_pathname() {
            Some(path) => format!("unix:{}", path.display()),
            None => "unix:".to_owned(),
        },
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::edge::upstream) fn endpoint(address: &str, weight: u32) -> Endpoint {
        let peer = HttpPeer::new(address, false, String::new());
        let share = Share {
            weight,
            is_backup: false,
        };
        Endpoint::new(0, share, peer)
    }

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn failures_in_a_row_put_it_out_and_a_success_back_in() {
        let endpoint = endpoint("127.0.0.1:1", 1);
        assert!(!endpoint.failed(3, LONG));
        assert!(!endpoint.failed(3, LONG));
        assert!(!endpoint.succeeded(), "it was never out");
        assert!(!endpoint.failed(3, LONG), "the row began again");
        assert!(!endpoint.failed(3, LONG));
        assert!(endpoint.is_in());
        assert!(endpoint.failed(3, LONG), "news");
        assert!(!endpoint.is_in());
        assert_eq!(endpoint.facts().condition, Condition::Ejected);
        assert!(!endpoint.failed(3, LONG), "no news");
        assert!(endpoint.succeeded(), "news");
        assert!(endpoint.is_in());
        assert_eq!(endpoint.facts().condition, Condition::Up);
        assert_eq!(endpoint.facts().failed, 6);
    }

    #[test]
    fn never_means_never() {
        let endpoint = endpoint("127.0.0.1:1", 1);
        for _ in 0..100 {
            assert!(!endpoint.failed(0, LONG));
        }
        assert!(endpoint.is_in());
    }

    #[test]
    fn when_its_time_is_over_it_is_tried_by_one_request_at_a_time() {
        let endpoint = endpoint("127.0.0.1:1", 1);
        assert!(endpoint.failed(1, Duration::ZERO));
        assert!(endpoint.is_in(), "its time is over");
        endpoint.begin(LONG);
        assert!(!endpoint.is_in(), "one is on its way");
        endpoint.failed(1, Duration::ZERO);
        assert!(endpoint.is_in(), "and the next may try");
        endpoint.begin(LONG);
        assert!(endpoint.succeeded());
        assert!(endpoint.is_in());
    }
}
