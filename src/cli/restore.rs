//! `unibody restore`: a backup back into the database.

use std::path::{Path, PathBuf};

use anyhow::bail;
use indicatif::HumanCount;

use super::backup::{Unlock, with_database};
use super::progress::{Progress, interruption, shown_time};
use super::{Failure, Outcome, ask, database};
use crate::backup::{self, Allowed, Restored};
use crate::config::Config;
use crate::database::migrations;

pub(super) const HELP: &str = "\
Everything happens in one transaction that is compared with the backup before it is committed: what \
fails leaves the database as it was. Stop the server first.

Examples:
  unibody restore notes.dump
  unibody restore --clean notes.dump             replace what is there
  unibody restore --identity key.txt notes.dump.age";

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The backup
    file: PathBuf,
    /// Drop everything that is in the database first, in the same transaction
    #[arg(long)]
    clean: bool,
    /// Restore though a server is serving from the database: requests wait meanwhile or get 503
    #[arg(long)]
    while_serving: bool,
    /// Leave out who was granted what, where those roles are missing
    #[arg(long)]
    no_privileges: bool,
    #[command(flatten)]
    unlock: Unlock,
}

pub(super) fn run(config: Option<&Path>, arguments: &Arguments) -> Outcome {
    let config = database::load(config)?;
    super::small_runtime()?.block_on(async {
        let restored = restore(&config, arguments).await;
        say(&arguments.file, &restored.map_err(Failure::Other)?);
        Ok(())
    })
}

async fn restore(config: &Config, arguments: &Arguments) -> anyhow::Result<Restored> {
    let key = arguments.unlock.key(&arguments.file)?;
    // One that is idle need not have a connection.
    if !arguments.while_serving && ask::status(config.server.admin).await.is_ok() {
        bail!(
            "a server is running with this configuration: stop it, or restore under its feet with \
             --while-serving: requests wait or get 503 meanwhile, and go on with the restored notes"
        );
    }
    let mut stop = interruption()?;
    let allowed = Allowed {
        clean: arguments.clean,
        while_serving: arguments.while_serving,
        without_privileges: arguments.no_privileges,
    };
    let progress = Progress::new();
    let told = progress.told();
    let restored = with_database(config, async |source| {
        backup::restore(&source, &arguments.file, key, allowed, &told, &mut stop).await
    })
    .await;
    progress.finish();
    restored
}

fn say(file: &Path, restored: &Restored) {
    let took = shown_time(restored.took);
    let shown = file.display();
    match &restored.manifest {
        Some(manifest) => println!(
            "{shown}: restored in {took}, {} rows in {} tables as they were at {}",
            HumanCount(manifest.rows()),
            manifest.tables.len(),
            crate::admin::status::shown(manifest.taken),
        ),
        None => println!(
            "{shown}: restored in {took}; it was made by pg_dump alone and says nothing of its contents, \
             so they could not be compared"
        ),
    }
    let (version, known) = (restored.schema_version, migrations::latest());
    if version < known {
        println!(
            "the schema is at version {version} of {known}: the next start of the server brings it up to \
             date, or unibody migrate"
        );
    } else {
        println!("the schema is at version {version}, which is current");
    }
}
