//! The database's part of start and stop: the embedded server, waiting, migrations.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, anyhow};

use crate::config::Config;
use crate::database::migrations::{self, Report};
use crate::database::{Database, Unavailable, embedded};

/// The database, where one is needed, and the server behind it, where that is ours.
pub(super) struct DatabaseSide {
    pub(super) database: Option<Database>,
    embedded: Option<Server>,
}

/// The embedded server, and how we came to it.
struct Server {
    embedded: embedded::Embedded,
    is_taken_over: bool,
}

impl DatabaseSide {
    /// `lock` is that of the process before this one, where it keeps the embedded server running.
    pub(super) async fn start(config: &Config, lock: Option<OwnedFd>) -> anyhow::Result<Self> {
        if config.needs_database().is_none() {
            tracing::info!("no route leads to the app: no database is opened");
            return Ok(Self {
                database: None,
                embedded: None,
            });
        }
        let (url, embedded) = if let Some(url) = &config.database.url {
            (url.clone(), None)
        } else {
            let server = Server::start(config, lock).await?;
            (server.embedded.url(), Some(server))
        };
        Ok(Self {
            database: Some(Database::open(&config.database, &url)?),
            embedded,
        })
    }

    /// Waits for the database as long as `database.wait` says, then lets the rest start without it, unless
    /// that `is_needed`.
    pub(super) async fn come_up(&self, config: &Config, is_needed: bool) -> anyhow::Result<()> {
        let Some(database) = &self.database else {
            return Ok(());
        };
        let there = match database.wait(config.database.wait).await {
            Ok(()) if config.database.migrate => migrate(database).await,
            waited => waited.map_err(migrations::Error::from),
        };
        match there {
            Ok(()) => return Ok(()),
            Err(migrations::Error::Unavailable(Unavailable { reason, .. })) if is_needed => {
                return Err(anyhow!("the database is unavailable: {reason}"));
            }
            Err(migrations::Error::Unavailable(Unavailable { reason, .. })) => tracing::error!(
                reason,
                "serving without the database: the app answers 503 until it is there"
            ),
            Err(error @ migrations::Error::Hindered { .. }) if !is_needed => tracing::error!(
                reason = %error,
                "serving without the database: the app answers 503 until it can be written"
            ),
            Err(error) => return Err(error.into()),
        }
        if config.database.migrate {
            let database = database.clone();
            tokio::spawn(async move { catch_up(&database).await });
        }
        Ok(())
    }

    /// Whether the process before this one keeps the embedded server running until this one
    /// [does](Self::keep).
    pub(super) fn is_taken_over(&self) -> bool {
        let server = self.embedded.as_ref();
        server.is_some_and(|server| server.is_taken_over)
    }

    /// Keeps the embedded server running from now on, where it was taken over.
    pub(super) fn keep(&self) {
        if let Some(server) = &self.embedded {
            server.embedded.keep();
        }
    }

    /// The lock of the embedded server, for the process that is to take it over.
    pub(super) fn share_lock(&self) -> anyhow::Result<Option<OwnedFd>> {
        let server = self.embedded.as_ref();
        server
            .map(|server| server.embedded.share_lock())
            .transpose()
            .context("postgres.lock can't be shared")
    }

    /// Leaves the embedded server to the process that has taken it over.
    pub(super) async fn let_go(&mut self) {
        if let Some(server) = self.embedded.take() {
            server.embedded.let_go().await;
        }
    }

    pub(super) async fn stop(self) {
        if let Some(server) = self.embedded {
            server.embedded.stop().await;
        }
    }
}

impl Server {
    async fn start(config: &Config, lock: Option<OwnedFd>) -> anyhow::Result<Self> {
        let data_dir = &config.server.data_dir;
        let bin_dir = config.database.bin_dir.as_deref();
        if let Some(lock) = lock
            && let Some(embedded) = embedded::take_over(data_dir, bin_dir, lock).await?
        {
            return Ok(Self {
                embedded,
                is_taken_over: true,
            });
        }
        Ok(Self {
            embedded: embedded::start(data_dir, bin_dir).await?,
            is_taken_over: false,
        })
    }
}

async fn migrate(database: &Database) -> Result<(), migrations::Error> {
    report(&migrations::migrate(database).await?);
    Ok(())
}

/// Brings the schema up to date once the database is there and lets it.
async fn catch_up(database: &Database) {
    match migrations::migrate_when_possible(database).await {
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
