//! The database of commands that do one thing and end.

use std::path::Path;

use anyhow::{Context, anyhow};

use super::Failure;
use crate::config::Config;
use crate::database::{Database, embedded};

/// An open database, and the embedded PostgreSQL where this command had to start it.
pub(super) struct Opened {
    pub(super) database: Database,
    embedded: Option<embedded::Embedded>,
}

/// Reads the configuration, for a command that is of no use without a database.
pub(super) fn load(config: Option<&Path>) -> Result<Config, Failure> {
    let config = super::load(config)?;
    if config.needs_database().is_none() {
        return Err(Failure::Other(anyhow!(
            "no route leads to the app, so there is no database: write a route with app = true, or name a database with database.url or DATABASE_URL"
        )));
    }
    Ok(config)
}

impl Opened {
    /// Opens the configured database. The embedded one is shared with a running server, or started
    /// for as long as the command takes.
    pub(super) async fn open(config: &Config) -> anyhow::Result<Self> {
        let data_dir = &config.server.data_dir;
        let configured = config.database.url.clone();
        let known = match configured {
            Some(url) => Some(url),
            None => embedded::url_of_running(data_dir)?,
        };
        let (url, embedded) = if let Some(url) = known {
            (url, None)
        } else {
            let bin_dir = config.database.bin_dir.as_deref();
            let embedded = embedded::start(data_dir, bin_dir).await?;
            (embedded.url(), Some(embedded))
        };
        let database = Database::open(&config.database, &url)?;
        let opened = Self { database, embedded };
        if let Err(unavailable) = opened.database.wait(config.database.acquire_timeout).await {
            opened.close().await;
            return Err(unavailable).context("check database.url, or DATABASE_URL if it is set");
        }
        Ok(opened)
    }

    /// Stops what was started.
    pub(super) async fn close(self) {
        if let Some(embedded) = self.embedded {
            embedded.stop().await;
        }
    }
}
