//! `unibody log-level`: what the running server logs, and more of it for a while.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::StatusCode;

use super::Outcome;
use super::ask;
use crate::admin::log::{Level, PATH, Refusal, Wanted};
use crate::admin::status::shown;

pub(super) const HELP: &str = "\
Asks the server at server.admin. A chosen level ends by itself; log.level in config.toml stays as it is.

Examples:
  unibody log-level
  unibody log-level debug
  unibody log-level info,unibody::edge::upstream=debug --for 1h
  unibody log-level --reset";

/// For what the server does at once.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// error, warn, info, debug, trace or off, or by module; left out, the level is told
    level: Option<String>,
    /// How long it lasts: 30m, 2h, or "forever", which is until the server ends
    #[arg(
        long = "for",
        value_name = "TIME",
        default_value = "10m",
        requires = "level"
    )]
    time: String,
    /// Return to log.level at once
    #[arg(long, conflicts_with = "level")]
    reset: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let admin = super::load_admin(config)?;
    let wanted = arguments.level.as_ref().map(|level| Wanted {
        level: Some(level.clone()),
        time: Some(arguments.time.clone()),
    });
    let wanted = wanted.or_else(|| arguments.reset.then(Wanted::default));
    let answered = super::small_runtime()?.block_on(async {
        match &wanted {
            Some(wanted) => ask::post(admin, PATH, wanted, PATIENCE).await,
            None => ask::get(admin, PATH, PATIENCE).await,
        }
    });
    let (status, body) = answered.map_err(anyhow::Error::from)?;
    if status != StatusCode::OK {
        let message = match serde_json::from_slice::<Refusal>(&body) {
            Ok(refusal) => refusal.message,
            Err(_) => format!(
                "{PATH} answered {status}: {}",
                String::from_utf8_lossy(&body).trim()
            ),
        };
        return Err(anyhow!(message).into());
    }
    let level: Level = serde_json::from_slice(&body).with_context(|| {
        format!("{PATH} answered something else; is another program at server.admin?")
    })?;
    println!("{}", in_words(&level));
    Ok(())
}

fn in_words(level: &Level) -> String {
    let Level {
        level,
        configured,
        until,
    } = level;
    match until {
        Some(until) => format!("{level} until {}, then {configured}", shown(*until)),
        None if level != configured => {
            format!("{level} until the server ends; log.level is {configured}")
        }
        None => format!("{level}, as log.level says"),
    }
}
