//! How far a backup is: a bar on a terminal, plain lines elsewhere; and the signals that stop it.
//!
//! All of it goes to standard error: standard output may be the backup itself.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{DecimalBytes, HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::backup::{Event, Told};

/// Between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(120);

/// Shows what [`Told`] is told.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    pub(super) fn new() -> Self {
        let bar = io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(TICK);
            bar
        });
        Self { bar }
    }

    /// What the work tells its progress to.
    pub(super) fn told(&self) -> Told {
        let bar = self.bar.clone();
        Arc::new(move |event| match &bar {
            Some(bar) => draw(bar, &event),
            None => {
                if let Event::Step(step) = event {
                    eprintln!("{step}");
                }
            }
        })
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn draw(bar: &ProgressBar, event: &Event) {
    let template = |template: &str| {
        // The templates below are right; a bar in the default style would be no harm.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
    };
    match event {
        Event::Step(step) => {
            bar.unset_length();
            bar.set_position(0);
            template("{spinner} {msg}, {elapsed}");
            bar.set_message(step.clone());
            bar.reset_elapsed();
        }
        Event::Bytes(bytes) => {
            template("{spinner} {msg}, {prefix}, {elapsed}");
            bar.set_prefix(DecimalBytes(*bytes).to_string());
        }
        Event::Rows { done, of: Some(of) } => {
            template("{msg} {bar:30} {human_pos}/{human_len} rows, {eta} left");
            bar.set_length(*of);
            bar.set_position(*done);
        }
        Event::Rows { done, of: None } => {
            template("{spinner} {msg}, {prefix}, {elapsed}");
            bar.set_prefix(format!("{} rows", HumanCount(*done)));
        }
    }
}

/// Turns true when the user asks to stop; what was begun is then cleared away before the end.
pub(super) fn interruption() -> anyhow::Result<watch::Receiver<bool>> {
    let (sender, receiver) = watch::channel(false);
    let listen = |kind| signal(kind).context("cannot listen for signals");
    let (mut interrupt, mut terminate) = (
        listen(SignalKind::interrupt())?,
        listen(SignalKind::terminate())?,
    );
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            sender.send_replace(true);
        }
    });
    Ok(receiver)
}

/// `0.4 s`, `7 minutes`.
pub(super) fn shown_time(time: Duration) -> String {
    if time < Duration::from_mins(2) {
        return format!("{:.1} s", time.as_secs_f64());
    }
    HumanDuration(time).to_string()
}
