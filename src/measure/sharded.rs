//! One value for each thread that runs at once, to be summed up by whoever reads.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The most values there are; with more threads some share one.
const MOST: usize = 32;

/// A `T` for each of some threads, none of which shares a cache line with another.
#[derive(Debug)]
pub(crate) struct Sharded<T>(Box<[Apart<T>]>);

/// Two lines of 64 bytes: processors fetch them in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T: Default> Sharded<T> {
    /// For `threads` that run at once.
    pub(crate) fn new(threads: usize) -> Self {
        let count = threads.clamp(1, MOST).next_power_of_two();
        Self((0..count).map(|_| Apart::default()).collect())
    }
}

impl<T> Sharded<T> {
    /// This thread's. Others may use it as well, so it is still to be added to atomically.
    pub(crate) fn mine(&self) -> &T {
        // There is at least one.
        &self.0[thread() & (self.0.len() - 1)].0
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|apart| &apart.0)
    }
}

/// The number of this thread, in the order in which threads asked for theirs.
fn thread() -> usize {
    const NONE: usize = usize::MAX;
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static NUMBER: Cell<usize> = const { Cell::new(NONE) };
    }
    NUMBER.with(|number| {
        if number.get() == NONE {
            number.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        number.get()
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicU64;
    use std::thread;

    use super::*;

    #[test]
    fn each_of_as_many_threads_has_its_own_and_none_is_lost() {
        // Threads of other tests take numbers meanwhile, so it is not these four that differ.
        let sharded = Sharded::<AtomicU64>::new(3);
        assert_eq!(sharded.iter().count(), 4, "the next power of two");
        let together = Barrier::new(8);
        let numbers: HashSet<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        together.wait();
                        for _ in 0..1000 {
                            sharded.mine().fetch_add(1, Ordering::Relaxed);
                        }
                        thread()
                    })
                })
                .collect();
            let each = threads.into_iter().map(|thread| thread.join().unwrap());
            each.collect()
        });
        assert_eq!(numbers.len(), 8, "no two threads have one number");
        let each = sharded.iter().map(|cell| cell.load(Ordering::Relaxed));
        assert_eq!(each.sum::<u64>(), 8000);
    }

    #[test]
    fn no_two_share_a_line() {
        let sharded = Sharded::<AtomicU64>::new(2);
        let places: Vec<_> = sharded
            .iter()
            .map(|cell| std::ptr::from_ref(cell).addr())
            .collect();
        assert!(places[1] - places[0] >= 128, "{places:?}");
    }
}
