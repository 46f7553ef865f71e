//! Values of the past, for what is told as the difference to one of them.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Values of different moments; after the first there is always one.
pub(super) struct Past<T> {
    values: VecDeque<(Instant, T)>,
    /// Between two that are kept, at least.
    apart: Duration,
    /// How old the oldest is to be, when there are enough.
    reach: Duration,
}

impl<T> Past<T> {
    pub(super) fn new(apart: Duration, reach: Duration) -> Self {
        Self {
            values: VecDeque::new(),
            apart,
            reach,
        }
    }

    /// Keeps `value` of the moment `at`, unless another is as fresh; forgets what is older than needed.
    pub(super) fn keep(&mut self, at: Instant, value: T) {
        let is_close = |(last, _): &(Instant, T)| at.duration_since(*last) < self.apart;
        if self.values.back().is_some_and(is_close) {
            return;
        }
        self.values.push_back((at, value));
        let is_old = |(moment, _): &(Instant, T)| at.duration_since(*moment) >= self.reach;
        while self.values.get(1).is_some_and(is_old) {
            self.values.pop_front();
        }
    }

    pub(super) fn oldest(&self) -> &(Instant, T) {
        // Whoever makes one keeps a value in it at once.
        &self.values[0]
    }

    pub(super) fn newest(&self) -> &(Instant, T) {
        &self.values[self.values.len() - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_reaches_back_as_far_as_asked_and_no_further() {
        let begin = Instant::now();
        let second = |number| begin + Duration::from_secs(number);
        let mut past = Past::new(Duration::from_secs(10), Duration::from_mins(1));
        for number in 0..=200 {
            past.keep(second(number), number);
            let expected = match number {
                0..70 => 0,
                _ => (number - 60) / 10 * 10,
            };
            assert_eq!(past.oldest().1, expected, "after {number} s");
            assert_eq!(past.newest().1, number / 10 * 10, "after {number} s");
            assert!(past.values.len() <= 8);
        }
    }
}
