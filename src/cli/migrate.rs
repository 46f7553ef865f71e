//! `unibody migrate`: brings the schema up to date, or tells how it stands.

use std::path::Path;

use time::format_description::well_known::Rfc3339;

use super::database::{self, Opened};
use super::{Failure, Outcome};
use crate::database::Database;
use crate::database::migrations::{self, MigrationStatus, State};

pub(super) const HELP: &str = "\
`unibody serve` migrates at start unless database.migrate is false.

Examples:
  unibody migrate                  apply what is missing
  unibody migrate --status         list applied and pending migrations";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// List the migrations and change nothing
    #[arg(long)]
    status: bool,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = database::load(config)?;
    super::small_runtime()?.block_on(async {
        let opened = Opened::open(&config).await?;
        let done = if arguments.status {
            list(&opened.database).await
        } else {
            apply(&opened.database).await
        };
        opened.close().await;
        done.map_err(Failure::Other)
    })
}

async fn apply(database: &Database) -> anyhow::Result<()> {
    let report = migrations::migrate(database).await?;
    for name in &report.applied {
        println!("applied {name}");
    }
    println!("the schema is at version {}", report.version);
    Ok(())
}

async fn list(database: &Database) -> anyhow::Result<()> {
    for migration in migrations::status(database).await? {
        println!("{}", line(&migration));
    }
    Ok(())
}

fn line(migration: &MigrationStatus) -> String {
    let state = match migration.state {
        State::Applied => "applied",
        State::Pending => "pending",
        State::Changed => "applied with another text",
        State::Unknown => "applied by a newer unibody",
    };
    let applied_on = migration
        .applied_on
        .and_then(|time| time.format(&Rfc3339).ok())
        .map(|time| format!(" on {time}"))
        .unwrap_or_default();
    format!(
        "V{} {}: {state}{applied_on}",
        migration.version, migration.name
    )
}
