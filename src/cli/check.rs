//! `unibody check`: every mistake, before it matters.

use std::path::Path;

use anyhow::Context;

use super::Outcome;
use crate::certificates::Certificates;
use crate::config::TlsMode;
use crate::database::{Database, embedded};

pub(super) const HELP: &str = "\
Exit status 78 when the configuration is wrong, 1 when something it names is.

Examples:
  unibody check
  unibody check --online           also ask the database";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Also try the database
    #[arg(long)]
    online: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = super::load(config)?;
    // Self-signed ones are made at start; only the user's own can be wrong.
    if matches!(config.tls.mode, TlsMode::Files(_)) {
        Certificates::load(&config)?;
    }
    match &config.database.url {
        None => embedded::check_programs(config.database.bin_dir.as_deref())?,
        Some(url) if arguments.online => super::small_runtime()?.block_on(async {
            let database = Database::open(&config.database, url)?;
            let client = database.client().await;
            client
                .map(drop)
                .context("check database.url, or DATABASE_URL if it is set")
        })?,
        Some(_) => {}
    }
    println!("everything is in order");
    Ok(())
}
