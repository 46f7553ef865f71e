//! A deadline that is moved with every request.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// When waiting on one connection has to end.
///
/// Moving it further away only notes the new time: the runtime's timer stays where it is, and is set
/// anew if it ever goes off too early. So a busy connection doesn't touch the timers at all.
pub(super) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
    at: Instant,
}

impl Deadline {
    pub(super) fn new() -> Self {
        Self {
            timer: None,
            at: Instant::now(),
        }
    }

    /// Resolves at `at`; takes the place of what was waited for before.
    pub(super) async fn reached(&mut self, at: Instant) {
        self.at = at;
        if let Some(timer) = &mut self.timer
            && at < timer.deadline()
        {
            timer.as_mut().reset(at);
        }
        std::future::poll_fn(|context| self.poll(context)).await;
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let at = self.at;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        loop {
            ready!(timer.as_mut().poll(context));
            if timer.deadline() >= at {
                return Poll::Ready(());
            }
            timer.as_mut().reset(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn it_is_reached_where_it_was_moved_last() {
        let mut deadline = Deadline::new();
        let start = Instant::now();
        let after = |hundredths: u64| start + Duration::from_millis(hundredths * 10);
        for (moved_to, why) in [
            (10, "set"),
            (30, "further"),
            (15, "nearer"),
            (20, "further"),
        ] {
            let early = timeout(Duration::ZERO, deadline.reached(after(moved_to))).await;
            assert!(early.is_err(), "{why}: not yet");
        }
        deadline.reached(after(20)).await;
        assert!(Instant::now() >= after(20));
        deadline.reached(after(30)).await;
        assert!(Instant::now() >= after(30), "and can be used again");
    }
}
