//! What callers are told when there is no connection, and what the log is told: each change of
//! state once, however many requests fail meanwhile.

use std::time::Duration;

use parking_lot::Mutex;
use tracing::{info, warn};

/// Asked of clients when PostgreSQL can't be reached: a restart takes a few seconds.
const RETRY_UNREACHABLE: Duration = Duration::from_secs(5);

/// Asked of clients when every connection is in use: they come free all the time.
const RETRY_EXHAUSTED: Duration = Duration::from_secs(1);

/// No connection could be had in time: the caller answers 503 with `Retry-After`.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the database is unavailable: {reason}")]
pub struct Unavailable {
    /// For the log, never for the client.
    pub reason: String,
    /// When a new attempt makes sense; whole seconds, at least one.
    pub retry_after: Duration,
}

impl Unavailable {
    pub(super) fn unreachable(reason: String) -> Self {
        Self {
            reason,
            retry_after: RETRY_UNREACHABLE,
        }
    }
}

/// Why the app can't serve from the database yet.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NotReady {
    /// PostgreSQL doesn't answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Migrations are still to be applied.
    #[error(
        "the database is at version {database}, this binary needs {binary}: run `unibody migrate`"
    )]
    Schema {
        /// Version of the schema in the database; 0 before the first migration.
        database: i32,
        /// Version this binary needs.
        binary: i32,
    },
}

impl NotReady {
    /// When a new attempt makes sense; whole seconds, at least one.
    #[must_use]
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Unavailable(unavailable) => unavailable.retry_after,
            Self::Schema { .. } => RETRY_UNREACHABLE,
        }
    }
}

/// Different reasons logged for one outage; more would be noise.
const REASONS_LOGGED: usize = 8;

/// What was last known of the database.
pub(super) struct Health {
    known: Mutex<Known>,
}

struct Known {
    state: State,
    /// Reasons logged since the database last answered.
    logged: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Unknown,
    Answering,
    Exhausted,
    Unreachable,
}

impl Health {
    pub(super) fn new() -> Self {
        Self {
            known: Mutex::new(Known {
                state: State::Unknown,
                logged: Vec::new(),
            }),
        }
    }

    /// A connection was had.
    pub(super) fn answered(&self) {
        match self.change(State::Answering) {
            Some(State::Unreachable) => info!("the database is reachable again"),
            Some(State::Exhausted) => info!("the database pool has free connections again"),
            _ => {}
        }
    }

    /// Every connection is in use.
    pub(super) fn exhausted(&self) -> Unavailable {
        let reason = "every connection of the pool is in use";
        if self.change(State::Exhausted).is_some() {
            warn!("{reason}: requests get 503; see database.pool_size");
        }
        Unavailable {
            reason: reason.into(),
            retry_after: RETRY_EXHAUSTED,
        }
    }

    /// PostgreSQL can't be reached, or refuses us.
    pub(super) fn unreachable(&self, reason: String) -> Unavailable {
        if self.is_news(&reason) {
            warn!("the database is unavailable: {reason}");
        }
        Unavailable::unreachable(reason)
    }

    /// The state before, if it was another.
    fn change(&self, new: State) -> Option<State> {
        let mut known = self.known.lock();
        if known.state == new {
            return None;
        }
        if new == State::Answering {
            known.logged.clear();
        }
        Some(std::mem::replace(&mut known.state, new))
    }

    /// Whether this reason was not logged yet since the database last answered.
    fn is_news(&self, reason: &str) -> bool {
        self.change(State::Unreachable);
        let logged = &mut self.known.lock().logged;
        let news = logged.len() < REASONS_LOGGED && !logged.iter().any(|known| known == reason);
        if news {
            logged.push(reason.to_owned());
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_reported() {
        let health = Health::new();
        assert!(health.is_news("refused"), "first failure");
        assert!(!health.is_news("refused"), "the same failure");
        assert!(health.is_news("wrong password"), "another failure");
        assert!(!health.is_news("refused"), "failures that alternate");
        assert_eq!(health.change(State::Answering), Some(State::Unreachable));
        assert_eq!(health.change(State::Answering), None, "still fine");
        assert!(health.is_news("refused"), "the next outage");
        assert_eq!(health.change(State::Exhausted), Some(State::Unreachable));
        for number in 0..2 * REASONS_LOGGED {
            health.is_news(&number.to_string());
        }
        assert!(!health.is_news("yet another"), "the log stays bounded");
    }

    #[test]
    fn retry_after_is_a_whole_number_of_seconds() {
        let health = Health::new();
        let answers = [health.exhausted(), health.unreachable("refused".into())];
        for answer in answers {
            assert!(answer.retry_after >= Duration::from_secs(1), "{answer}");
            assert_eq!(answer.retry_after.subsec_nanos(), 0, "{answer}");
        }
    }
}
