//! The database's part of start and stop: the embedded server, waiting, migrations.

use crate::config::Config;
use crate::database::migrations::{self, Report};
use crate::database::{Database, Unavailable, embedded};

/// The database and, where it is ours, the server behind it.
pub(super) struct DatabaseSide {
    pub(super) database: Database,
    embedded: Option<embedded::Embedded>,
}

impl DatabaseSide {
    pub(super) async fn start(config: &Config) -> anyhow::Result<Self> {
        let (url, embedded) = if let Some(url) = &config.database.url {
            (url.clone(), None)
        } else {
            let bin_dir = config.database.bin_dir.as_deref();
            let embedded = embedded::start(&config.server.data_dir, bin_dir).await?;
            (embedded.url(), Some(embedded))
        };
        Ok(Self {
            database: Database::open(&config.database, &url)?,
            embedded,
        })
    }

    /// Waits for the database as long as `database.wait` says, then lets the rest start without it.
    pub(super) async fn come_up(&self, config: &Config) -> anyhow::Result<()> {
        let there = match self.database.wait(config.database.wait).await {
            Ok(()) if config.database.migrate => migrate(&self.database).await,
            waited => waited.map_err(migrations::Error::from),
        };
        match there {
            Ok(()) => Ok(()),
            Err(migrations::Error::Unavailable(Unavailable { reason, .. })) => {
                tracing::error!(
                    reason,
                    "serving without the database: the app answers 503 until it is there"
                );
                if config.database.migrate {
                    let database = self.database.clone();
                    tokio::spawn(async move { catch_up(&database).await });
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn stop(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}

async fn migrate(database: &Database) -> Result<(), migrations::Error> {
    report(&migrations::migrate(database).await?);
    Ok(())
}

/// Brings the schema up to date once the database is there.
async fn catch_up(database: &Database) {
    match migrations::migrate_when_reachable(database).await {
        Ok(done) => report(&done),
        Err(error) => {
            tracing::error!(%error, "the schema can't be brought up to date");
        }
    }
}

fn report(done: &Report) {
    if !done.applied.is_empty() {
        tracing::info!(version = done.version, "the database schema is up to date");
    }
}
