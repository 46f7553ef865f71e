//! Work in the background that must not end, whatever goes wrong inside.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::time::{Instant, sleep};
use tracing::error;

/// How often background work has panicked since the start.
#[derive(Debug, Default)]
pub(crate) struct Panics(AtomicU64);

/// How long to wait after a panic. Each in a row doubles the pause.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pauses {
    /// After the first.
    pub(crate) first: Duration,
    /// However many there were. Whoever ran for longer than this begins with the first pause again.
    pub(crate) longest: Duration,
}

/// As long as a mistake of ours may hold the work up, and as often as it may fill the log.
pub(crate) const PAUSES: Pauses = Pauses {
    first: Duration::from_secs(10),
    longest: Duration::from_mins(10),
};

impl Panics {
    /// How many there were.
    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts one, and says so; `what` failed, and `next` tells what follows.
    pub(crate) fn note(&self, what: &str, panic: &(dyn Any + Send), next: &str) {
        self.0.fetch_add(1, Ordering::Relaxed);
        error!(
            "{what}: failed inside ({}); {next}; report this as a mistake of unibody",
            words(panic)
        );
    }
}

/// Does `work` until it ends by itself; after a panic it is begun anew.
///
/// Nothing may be left half done by a panic that the next beginning would trust: what counts is in
/// storage, and locks hold plain values.
pub(crate) async fn supervised<F: Future<Output = ()>>(
    what: &str,
    panics: &Panics,
    pauses: Pauses,
    mut work: impl FnMut() -> F,
) {
    let mut pause = pauses.first;
    loop {
        let begun = Instant::now();
        let Err(panic) = AssertUnwindSafe(work()).catch_unwind().await else {
            return;
        };
        if begun.elapsed() > pauses.longest {
            pause = pauses.first;
        }
        panics.note(what, &*panic, &format!("it goes on in {pause:?}"));
        sleep(pause).await;
        pause = (pause * 2).min(pauses.longest);
    }
}

/// What the panic said.
fn words(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it did not say why")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::testing::logged_while;

    #[tokio::test]
    async fn a_panic_is_told_counted_and_followed_by_a_new_beginning() {
        let panics = Panics::default();
        let pauses = Pauses {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(20),
        };
        let mut begun = Vec::new();
        let supervising = supervised("a.test", &panics, pauses, || {
            begun.push(Instant::now());
            let number = begun.len();
            async move {
                tokio::task::yield_now().await;
                assert!(number >= 5, "beginning {number}");
            }
        });
        let log = logged_while(supervising).await;
        assert_eq!(panics.count(), 4);
        let waited: Vec<_> = begun.windows(2).map(|two| two[1] - two[0]).collect();
        for (waited, least) in waited.iter().zip([10, 20, 20, 20]) {
            assert!(*waited >= Duration::from_millis(least), "{waited:?}");
        }
        let lines: Vec<_> = log.lines().collect();
        assert_eq!(lines.len(), 4, "{log}");
        for (line, part) in lines
            .iter()
            .zip(["in 10ms", "in 20ms", "in 20ms", "in 20ms"])
        {
            assert!(line.contains(part), "{line}");
        }
        assert!(
            lines[0].contains("a.test: failed inside (beginning 1)"),
            "{log}"
        );
    }
}
