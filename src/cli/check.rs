//! `unibody check`: every mistake, before it matters.

use std::path::Path;

use anyhow::Context;

use super::{Outcome, database};
use crate::certificates;
use crate::database::Database;

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
    certificates::check(&config)?;
    if arguments.online {
        super::small_runtime()?.block_on(async {
            let Some(url) = &config.database.url else {
                return database::embedded_programs(&config);
            };
            let database = Database::open(&config.database, url)?;
            database.client().await.map(drop).context("the database can't be used")
        })?;
    }
    println!("everything is in order");
    Ok(())
}
