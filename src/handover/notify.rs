//! What systemd is told of this process (`sd_notify(3)`), where systemd has started it.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{MissedTickBehavior, interval};

/// It serves; what it was asked to do (start, reload) is done.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It reads its configuration anew. [`ready`] follows, whatever comes of it.
pub fn reloading() {
    // systemd wants to know since when (`Type=notify-reload`).
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "systemd can't be told of the reload"),
    }
}

/// What goes on, for `systemctl status`.
pub fn status(status: &str) {
    tell(&[NotifyState::Status(status)]);
}

/// Another process is the service from now on.
pub fn handed_over(pid: u32, status: &str) {
    tell(&[NotifyState::MainPid(pid), NotifyState::Status(status)]);
}

/// It stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Tells systemd again and again that this process lives, twice as often as `WatchdogSec=` asks for.
/// Returns at once where nobody asks.
pub async fn stay_alive() {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return;
    };
    let mut beat = interval((limit / 2).max(Duration::from_millis(1)));
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        tell(&[NotifyState::Watchdog]);
    }
}

fn tell(what: &[NotifyState<'_>]) {
    // Without NOTIFY_SOCKET nobody asks, and that is no error.
    if let Err(error) = sd_notify::notify(what) {
        tracing::warn!(%error, "systemd can't be told how this process is (NOTIFY_SOCKET)");
    }
}
