//! What the tests of this folder share: a real PostgreSQL of their own, made by [`embedded`].

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use tempfile::TempDir;

use super::Database;
use super::embedded::{self, Embedded};
use crate::config::{self, Secret};

/// A directory that the database's user can reach when the tests run as root.
pub(crate) fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    directory
}

/// The defaults, but three connections.
pub(crate) fn settings() -> config::Database {
    config::Database {
        url: None,
        bin_dir: None,
        pool_size: 3,
        wait: Duration::from_mins(1),
        acquire_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
        max_lifetime: Duration::from_mins(30),
        migrate: true,
    }
}

/// A server with an empty database.
pub(crate) struct Server {
    pub(crate) embedded: Embedded,
    pub(crate) directory: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Self {
        let directory = directory();
        let embedded = embedded::start(directory.path(), None).await.unwrap();
        Self {
            embedded,
            directory,
        }
    }

    pub(crate) fn open(&self, settings: &config::Database) -> Database {
        Database::open(settings, &self.embedded.url()).unwrap()
    }

    /// The URL for the superuser, who may do what the app may not.
    pub(crate) fn superuser_url(&self) -> Secret {
        let url = self.embedded.url().reveal().to_owned();
        Secret::new(url.replacen("postgres://unibody:", "postgres://postgres:", 1))
    }

    pub(crate) async fn stop(self) {
        self.embedded.stop().await;
    }
}
