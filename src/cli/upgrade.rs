//! `unibody upgrade`: another process in the place of the running one.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use http::StatusCode;

use super::Outcome;
use super::ask;
use crate::admin::upgrade::{self, PATIENCE, WATCH, Wanted};
use crate::config::values::parse_duration;
use crate::handover::Program;

pub(super) const HELP: &str = "\
The running server starts the program again, by the path and with the arguments that it was started \
with, and hands its listening sockets over once that is ready. No request fails. If the new process \
doesn't become ready, or ends while it is watched, the old one goes on, and this command says why and \
exits with status 1.

Examples:
  install -m755 unibody-new /usr/local/bin/unibody && unibody upgrade
  unibody upgrade --timeout 10m     with long migrations
  unibody upgrade --watch 1m        both serve for a minute before one leaves
  kill -QUIT PID                    the same without this command; the log tells";

/// What the server needs besides the new process's time: an order for a certificate is finished first.
const MARGIN: Duration = Duration::from_mins(1);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long the new process may take to be ready [default: 2m]
    #[arg(long, value_name = "DURATION", value_parser = seconds)]
    timeout: Option<Duration>,
    /// How long the old process serves on beside the new one, ready to stay if that ends [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = up_to_an_hour)]
    watch: Option<Duration>,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let admin = super::load_admin(config)?;
    Ok(super::small_runtime()?.block_on(upgrade(admin, arguments))?)
}

async fn upgrade(admin: Option<SocketAddr>, arguments: &Arguments) -> anyhow::Result<()> {
    let patience = arguments.timeout.unwrap_or(PATIENCE);
    let watch = arguments.watch;
    let wanted = Wanted {
        patience: patience.as_secs(),
        watch_ms: watch.and_then(|watch| watch.as_millis().try_into().ok()),
    };
    let longest = patience + watch.unwrap_or(WATCH) + MARGIN;
    let asked = ask::post(admin, upgrade::PATH, &wanted, longest).await;
    let (status, body) = asked.map_err(|silence| silence.or_by("QUIT"))?;
    let outcome: upgrade::Outcome = serde_json::from_slice(&body)
        .with_context(|| format!("{} answered {status}", upgrade::PATH))?;
    if status == StatusCode::OK {
        println!("{}", outcome.message);
        return Ok(());
    }
    let Program { version, pid } = outcome.old;
    let goes_on = match status {
        // Whether it does, who has come before knows.
        StatusCode::CONFLICT => String::new(),
        _ => format!(", unibody {version} (process {pid}) goes on"),
    };
    Err(anyhow!("not upgraded{goes_on}: {}", outcome.message))
}

fn seconds(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration >= Duration::from_secs(1) => Ok(duration),
        _ => Err("give a duration of a second or more, such as 90s or 5m".to_owned()),
    }
}

fn up_to_an_hour(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if duration <= Duration::from_hours(1) => Ok(duration),
        _ => Err("give a duration of up to an hour, such as 0s, 5s or 1m".to_owned()),
    }
}
