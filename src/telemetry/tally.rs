//! Lines that anybody outside can provoke: the first few of a minute are said, the rest is counted and
//! told in one line at its end.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep_until};
use tracing::instrument::WithSubscriber;

/// Between two lines that sum up.
const MINUTE: Duration = Duration::from_mins(1);

/// How often something happened. One stands in a `static` beside the line that it holds back, as
/// `tracing`'s own call sites do.
///
/// ```ignore
/// static REFUSED: Tally = Tally::new("connections refused: the house is full", 1);
///
/// if REFUSED.count(|| client.to_string()) {
///     tracing::warn!(%client, "connection refused: the house is full");
/// }
/// ```
pub struct Tally {
    /// What happened, in the plural: `connections refused: the house is full`.
    what: &'static str,
    /// Lines of their own in a minute.
    lines: u64,
    minute: Mutex<Minute>,
}

/// The minute that runs, if one does.
struct Minute {
    ends: Option<Instant>,
    count: u64,
    /// One of those that had no line of their own.
    example: String,
}

impl Tally {
    /// Nothing has happened yet. The first `lines` of a minute have a line of their own.
    #[must_use]
    pub const fn new(what: &'static str, lines: u64) -> Self {
        Self {
            what,
            lines,
            minute: Mutex::new(Minute {
                ends: None,
                count: 0,
                example: String::new(),
            }),
        }
    }

    /// Counts one; whether it may have a line of its own. `example` is what the line that sums up names
    /// of the others, made for one of them.
    #[must_use]
    pub fn count(&'static self, example: impl FnOnce() -> String) -> bool {
        let mut minute = self.minute.lock();
        let Some(_) = minute.ends else {
            return self.begin(&mut minute);
        };
        minute.count += 1;
        if minute.count == self.lines + 1 {
            minute.example = example();
        }
        minute.count <= self.lines
    }

    /// Begins a minute with its first one.
    fn begin(&'static self, minute: &mut Minute) -> bool {
        // Without a runtime nothing could end it: then it is not held back either.
        let Ok(runtime) = Handle::try_current() else {
            return true;
        };
        let ends = Instant::now() + MINUTE;
        minute.ends = Some(ends);
        minute.count = 1;
        // Whoever hears the first line hears the last one.
        runtime.spawn(self.sum_up(ends).with_current_subscriber());
        self.lines > 0
    }

    /// Tells of each minute until one has nothing to tell.
    async fn sum_up(&'static self, mut ends: Instant) {
        loop {
            sleep_until(ends).await;
            let mut minute = self.minute.lock();
            let untold = minute.count.saturating_sub(self.lines);
            let example = std::mem::take(&mut minute.example);
            minute.count = 0;
            if untold == 0 {
                minute.ends = None;
                return;
            }
            ends += MINUTE;
            minute.ends = Some(ends);
            drop(minute);
            tracing::warn!(
                example,
                "in the last minute {} more {}",
                grouped(untold),
                self.what
            );
        }
    }
}

/// `2,310`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (2_310, "2,310"),
            (12_345_678, "12,345,678"),
        ] {
            assert_eq!(grouped(number), shown);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_minute_has_a_few_lines_however_much_happens() {
        static TALLY: Tally = Tally::new("things", 2);
        let happen = |times: usize| {
            (0..times)
                .filter(|number| TALLY.count(|| number.to_string()))
                .count()
        };
        let log = Heard::default();
        let work = async {
            assert_eq!(happen(2310), 2, "the first minute");
            tokio::time::sleep(MINUTE + Duration::from_secs(1)).await;
            assert_eq!(happen(5), 2, "the next");
            tokio::time::sleep(MINUTE).await;
            tokio::time::sleep(MINUTE).await;
            assert_eq!(happen(1), 1, "after a minute without any");
        };
        let heard = log.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || heard.clone());
        work.with_subscriber(subscriber.finish()).await;
        let log = String::from_utf8(log.0.lock().clone()).unwrap();
        assert!(log.contains("2,308 more things"), "{log}");
        assert!(log.contains("example=\"2\""), "{log}");
        assert!(log.contains("last minute 3 more things"), "{log}");
        assert_eq!(log.lines().count(), 2, "{log}");
    }
}
