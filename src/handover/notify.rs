//! What systemd is told of this process (`sd_notify(3)`), where systemd has started it.
//!
//! A thread of its own tells it, so that nothing here waits for a systemd that is slow to listen.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// For a systemd that is slow to listen to last words: without them it may not know who serves.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often this process says that it lives within the time that `WatchdogSec=` gives it. One beat may be
/// lost: the first of a new process is, if systemd doesn't know yet that it is the main one.
const BEATS: u32 = 3;
/// News that may wait for systemd before further ones are dropped.
const WAITING: usize = 64;

/// The way to systemd; leads nowhere where that hasn't started this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Systemd(Option<SyncSender<News>>);

#[derive(Debug)]
enum News {
    Ready,
    Reloading,
    Status(String),
    HandedOver(u32),
    Stopping,
    Alive,
    /// Nothing; whoever waits knows that all before is told.
    Told(oneshot::Sender<()>),
}

impl Systemd {
    /// The way that `NOTIFY_SOCKET` names.
    #[must_use]
    pub fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None);
        }
        let (sender, news) = sync_channel(WAITING);
        let thread = thread::Builder::new().name("systemd".to_owned());
        match thread.spawn(move || tell_all(&news)) {
            Ok(_) => Self(Some(sender)),
            Err(error) => {
                tracing::warn!(%error, "systemd can't be told how this process is");
                Self(None)
            }
        }
    }

    /// It serves; what it was asked to do (start, reload) is done.
    pub fn ready(&self) {
        self.send(News::Ready);
    }

    /// It reads its configuration anew. [`ready`](Self::ready) follows, whatever comes of it: systemd knows
    /// no reload that failed.
    pub fn reloading(&self) {
        self.send(News::Reloading);
    }

    /// What goes on, for `systemctl status`.
    pub fn status(&self, status: &str) {
        self.send(News::Status(status.to_owned()));
    }

    /// The process `pid` is the service from now on.
    pub fn handed_over(&self, pid: u32) {
        self.send(News::HandedOver(pid));
    }

    /// It stops.
    pub fn stopping(&self) {
        self.send(News::Stopping);
    }

    /// Waits until systemd has been told everything, for a while.
    pub async fn flush(&self) {
        let (told, all_told) = oneshot::channel();
        self.send(News::Told(told));
        // It is told, or there is nobody to tell.
        let _ = timeout(LAST_WORDS, all_told).await;
    }

    /// Tells systemd again and again that this process lives, more often than `WatchdogSec=` asks for.
    /// Returns at once where nobody asks.
    pub async fn stay_alive(self) {
        if let Some(limit) = sd_notify::watchdog_enabled() {
            self.beat_within(limit).await;
        }
    }

    async fn beat_within(&self, limit: Duration) {
        let mut beat = interval((limit / BEATS).max(Duration::from_millis(1)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            self.send(News::Alive);
        }
    }

    fn send(&self, news: News) {
        if let Some(sender) = &self.0
            && let Err(unsent) = sender.try_send(news)
        {
            tracing::warn!(%unsent, "systemd doesn't listen");
        }
    }
}

fn tell_all(news: &Receiver<News>) {
    for news in news {
        if let Err(error) = tell(news) {
            tracing::warn!(%error, "systemd can't be told how this process is (NOTIFY_SOCKET)");
        }
    }
}

fn tell(news: News) -> std::io::Result<()> {
    let serving = NotifyState::Status("serving");
    match news {
        News::Ready => sd_notify::notify(&[NotifyState::Ready, serving]),
        // `Type=notify-reload` wants to know since when.
        News::Reloading => {
            let now = NotifyState::monotonic_usec_now()?;
            sd_notify::notify(&[NotifyState::Reloading, now])
        }
        News::Status(status) => sd_notify::notify(&[NotifyState::Status(&status)]),
        News::HandedOver(pid) => sd_notify::notify(&[NotifyState::MainPid(pid), serving]),
        News::Stopping => {
            sd_notify::notify(&[NotifyState::Stopping, NotifyState::Status("stopping")])
        }
        News::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        News::Told(told) => {
            // Who has waited long enough has gone.
            let _ = told.send(());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_watchdog_forgives_a_lost_beat() {
        const LIMIT: Duration = Duration::from_secs(30);
        let (sender, news) = sync_channel(WAITING);
        let systemd = Systemd(Some(sender));
        let begun = Instant::now();
        let mut beating = std::pin::pin!(systemd.beat_within(LIMIT));
        let mut beats = Vec::new();
        while begun.elapsed() < 3 * LIMIT {
            let _ = timeout(Duration::from_secs(1), beating.as_mut()).await;
            beats.extend(news.try_iter().map(|_| Instant::now()));
        }
        for three in beats.windows(3) {
            let silence = three[2].duration_since(three[0]);
            assert!(silence < LIMIT, "with one lost: {silence:?}");
        }
        assert!(beats.len() > 3, "{beats:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn last_words_are_waited_for() {
        let (sender, news) = sync_channel(WAITING);
        let systemd = Systemd(Some(sender));
        systemd.handed_over(4711);
        let flushed = systemd.flush();
        let mut flushed = std::pin::pin!(flushed);
        let begun = Instant::now();
        assert!(timeout(LAST_WORDS / 2, flushed.as_mut()).await.is_err());
        for news in news.try_iter() {
            tell(news).unwrap();
        }
        flushed.await;
        assert!(begun.elapsed() < LAST_WORDS, "it is told");
    }
}
