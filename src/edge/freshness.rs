//! Whether an answer that somebody kept is still the one that would be given now.
//!
//! Who makes an answer hands out a [`Freshness`] with it and ends it when what the answer was made
//! of changes; who keeps the answer asks before each use. Asking reads one or two words and takes no
//! lock, so it can be done for every request.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A handle that says whether something still holds; all clones say the same.
#[derive(Debug, Clone)]
pub(crate) struct Freshness(Arc<State>);

#[derive(Debug)]
struct State {
    /// Once true it stays so.
    ended: AtomicBool,
    /// Somebody asked since [`Freshness::take_used`] was called last.
    used: AtomicBool,
    made: Instant,
    /// How old the answer was then, where that is told to clients.
    age: Option<Duration>,
    /// Milliseconds after `made` up to which it holds unless it is renewed; [`FOR_EVER`] where its
    /// end will be told.
    until: AtomicU64,
}

const FOR_EVER: u64 = u64::MAX;

impl Freshness {
    /// Fresh until it is ended.
    pub(crate) fn until_ended() -> Self {
        Self::new(None, FOR_EVER)
    }

    /// Fresh for `time` from now, if it is not ended before: of an answer that is `age` old, and
    /// tells its age.
    pub(crate) fn aging(age: Duration, time: Duration) -> Self {
        Self::new(Some(age), milliseconds(time))
    }

    fn new(age: Option<Duration>, until: u64) -> Self {
        Self(Arc::new(State {
            ended: AtomicBool::new(false),
            used: AtomicBool::new(true),
            made: Instant::now(),
            age,
            until: AtomicU64::new(until),
        }))
    }

    /// The whole seconds that the answer is old, where that is told.
    pub(crate) fn age(&self) -> Option<u64> {
        Some((self.0.age? + self.0.made.elapsed()).as_secs())
    }

    /// Whether what was answered may be answered again.
    #[must_use]
    pub(crate) fn is_fresh(&self) -> bool {
        let state = &*self.0;
        if state.ended.load(Ordering::Acquire) {
            return false;
        }
        // Read first: a line of memory that all cores only read is not sent around.
        if !state.used.load(Ordering::Relaxed) {
            state.used.store(true, Ordering::Relaxed);
        }
        let until = state.until.load(Ordering::Acquire);
        until == FOR_EVER || milliseconds(state.made.elapsed()) < until
    }

    /// Ends it, for all clones and for ever.
    pub(crate) fn end(&self) {
        self.0.ended.store(true, Ordering::Release);
    }

    /// Whether it was ended. Asking this is not using it.
    #[must_use]
    pub(crate) fn has_ended(&self) -> bool {
        self.0.ended.load(Ordering::Acquire)
    }

    /// Lets it hold for `time` from now, and no longer unless this is called again. Nothing renews
    /// what was ended.
    pub(crate) fn renew(&self, time: Duration) {
        let until = milliseconds(self.0.made.elapsed() + time);
        self.0.until.store(until, Ordering::Release);
    }

    /// Whether both are clones of one.
    #[must_use]
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Whether somebody asked since this was called last.
    pub(crate) fn take_used(&self) -> bool {
        self.0.used.swap(false, Ordering::Relaxed)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(FOR_EVER - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_seen_by_all_and_final() {
        let freshness = Freshness::until_ended();
        let clone = freshness.clone();
        assert!(freshness.is_fresh() && clone.is_fresh());
        clone.end();
        assert!(!freshness.is_fresh() && freshness.has_ended());
        freshness.renew(Duration::from_hours(1));
        assert!(!freshness.is_fresh());
    }

    #[test]
    fn a_time_ends_unless_it_is_renewed() {
        let freshness = Freshness::until_ended();
        freshness.renew(Duration::ZERO);
        assert!(!freshness.is_fresh() && !freshness.has_ended());
        freshness.renew(Duration::from_hours(1));
        assert!(freshness.is_fresh());
    }

    #[test]
    fn age_is_told_where_there_is_one() {
        let of_old = Freshness::aging(Duration::from_secs(7), Duration::from_mins(1));
        assert!(of_old.is_fresh() && of_old.age() == Some(7));
        assert_eq!(Freshness::until_ended().age(), None);
        assert!(!Freshness::aging(Duration::ZERO, Duration::ZERO).is_fresh());
    }

    #[test]
    fn asking_is_noticed_once() {
        let freshness = Freshness::until_ended();
        assert!(
            freshness.take_used(),
            "whoever makes one is about to use it"
        );
        assert!(!freshness.take_used());
        assert!(freshness.is_fresh());
        assert!(freshness.take_used());
        assert!(!freshness.take_used());
    }
}
