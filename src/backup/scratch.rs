//! A database to restore into for a look, which nobody else uses and nothing is left of.
//!
//! On the same server where the role may make databases. Otherwise in a private cluster in the
//! directory for temporary files (`TMPDIR`), with the programs of the embedded database.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::Source;
use super::dump::server_version;
use super::figures::{query, query_one, quoted};
use crate::database::embedded::{self, Embedded};
use crate::database::{Alone, Database};

/// How names begin that nobody else gives.
const PREFIX: &str = "unibody_scratch_";
/// The same for directories.
const DIRECTORY: &str = "unibody-scratch-";
/// A scratch database of this age belongs to a process that died.
const ABANDONED_AFTER: Duration = Duration::days(1);

/// Where scratch databases can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Beside the real one.
    SameServer,
    /// In a cluster of their own.
    Cluster,
}

/// One of them.
pub(super) struct Scratch {
    database: Database,
    kind: Kind,
}

enum Kind {
    Database {
        name: String,
    },
    Cluster {
        embedded: Embedded,
        directory: PathBuf,
    },
}

/// Where there is room for one.
///
/// # Errors
/// That there is none, and each of the remedies.
pub(super) async fn place(source: &Source) -> anyhow::Result<Place> {
    const MAY: &str = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user";
    let session = source.database.alone().await?;
    if query_one(&session.client, MAY).await? == "t" {
        return Ok(Place::SameServer);
    }
    let role = query_one(&session.client, "SELECT quote_ident(current_user)").await?;
    match embedded::check_programs(source.settings.bin_dir.as_deref()) {
        Ok(()) => Ok(Place::Cluster),
        Err(missing) => bail!(
            "the backup could not be verified by restoring it: the role {role} may not make a scratch \
             database (ALTER ROLE {role} CREATEDB allows it), and a private PostgreSQL can't be \
             started instead: {missing}; --no-verify (backup.verify = false) does without"
        ),
    }
}

impl Scratch {
    /// Makes one.
    ///
    /// # Errors
    /// What PostgreSQL or the file system says.
    pub(super) async fn make(source: &Source, place: Place) -> anyhow::Result<Self> {
        match place {
            Place::SameServer => Self::on_same_server(source).await,
            Place::Cluster => Self::in_cluster(source).await,
        }
    }

    async fn on_same_server(source: &Source) -> anyhow::Result<Self> {
        let session = source.database.alone().await?;
        remove_abandoned_databases(&session).await?;
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let name = format!("{PREFIX}{now}_{}", Uuid::new_v4().simple());
        let create = format!("CREATE DATABASE {} TEMPLATE template0", quoted(&name));
        query(&session.client, &create)
            .await
            .context("a scratch database can't be made")?;
        Ok(Self {
            database: source.database.clone(),
            kind: Kind::Database { name },
        })
    }

    async fn in_cluster(source: &Source) -> anyhow::Result<Self> {
        let bin_dir = source.settings.bin_dir.as_deref();
        let temporary = std::env::temp_dir();
        remove_abandoned_clusters(&temporary, bin_dir).await;
        let directory = temporary.join(format!("{DIRECTORY}{}", Uuid::new_v4().simple()));
        // Run by root, PostgreSQL's own user must pass through.
        let is_root = nix::unistd::geteuid().is_root();
        DirBuilder::new()
            .mode(if is_root { 0o711 } else { 0o700 })
            .create(&directory)
            .with_context(|| {
                format!(
                    "a scratch database can't be made in {}: name a directory with room in TMPDIR",
                    directory.display()
                )
            })?;
        let started = embedded::start(&directory, bin_dir).await;
        let embedded = match started {
            Ok(embedded) => embedded,
            Err(error) => {
                remove_directory(&directory);
                return Err(
                    error.context("a private PostgreSQL for the verification can't be started")
                );
            }
        };
        let database = Database::open(&source.settings, &embedded.url());
        let kind = Kind::Cluster {
            embedded,
            directory,
        };
        match database {
            Ok(database) => Ok(Self { database, kind }),
            Err(error) => {
                kind.remove(&source.database).await;
                Err(error)
            }
        }
    }

    /// A connection to it.
    ///
    /// # Errors
    /// When there is none, or when the server is older than the one of the dump.
    pub(super) async fn connect(&self, dumped_from: Option<u32>) -> anyhow::Result<Alone> {
        let session = match &self.kind {
            Kind::Database { name } => self.database.alone_in(name).await?,
            Kind::Cluster { .. } => self.database.alone().await?,
        };
        let version = server_version(&session.client).await?;
        match dumped_from {
            Some(dumped_from) if dumped_from > version => bail!(
                "a dump of PostgreSQL {dumped_from} can't be verified by PostgreSQL {version}: install \
                 version {dumped_from} (postgresql-{dumped_from}), or allow the role to make databases \
                 (ALTER ROLE … CREATEDB)"
            ),
            _ => Ok(session),
        }
    }

    /// Removes it. What can't be removed now, the next one removes.
    pub(super) async fn remove(self) {
        self.kind.remove(&self.database).await;
    }
}

impl Kind {
    async fn remove(self, database: &Database) {
        match self {
            Self::Database { name } => {
                let drop = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", quoted(&name));
                let dropped = match database.alone().await {
                    Ok(session) => query(&session.client, &drop).await.map(drop_rows),
                    Err(error) => Err(error.into()),
                };
                if let Err(error) = dropped {
                    tracing::warn!("the scratch database {name} can't be dropped now: {error:#}");
                }
            }
            Self::Cluster {
                embedded,
                directory,
            } => {
                embedded.stop().await;
                remove_directory(&directory);
            }
        }
    }
}

fn drop_rows(_: Vec<Vec<String>>) {}

fn remove_directory(directory: &Path) {
    if let Err(error) = std::fs::remove_dir_all(directory) {
        tracing::warn!("{} can't be removed: {error}", directory.display());
    }
}

async fn remove_abandoned_databases(session: &Alone) -> anyhow::Result<()> {
    let list = format!(
        "SELECT datname FROM pg_database WHERE datname ~ '^{PREFIX}[0-9]+_' \
         AND pg_has_role(datdba, 'MEMBER')"
    );
    for name in query(&session.client, &list).await?.into_iter().flatten() {
        if is_abandoned(&name, OffsetDateTime::now_utc()) {
            let drop = format!("DROP DATABASE IF EXISTS {}", quoted(&name));
            // With connections it is not dropped, and nobody has abandoned it.
            let _ = query(&session.client, &drop).await;
        }
    }
    Ok(())
}

fn is_abandoned(name: &str, now: OffsetDateTime) -> bool {
    let made = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('_').next());
    let made = made.and_then(|made| OffsetDateTime::from_unix_timestamp(made.parse().ok()?).ok());
    made.is_some_and(|made| now - made > ABANDONED_AFTER)
}

/// Those of processes that were killed: their PostgreSQL still runs. It is taken over and stopped, as
/// the embedded database would be; one whose unibody lives holds a lock, and is left alone.
async fn remove_abandoned_clusters(temporary: &Path, bin_dir: Option<&Path>) {
    use std::os::unix::fs::MetadataExt as _;
    let us = nix::unistd::geteuid().as_raw();
    for entry in std::fs::read_dir(temporary).into_iter().flatten().flatten() {
        let directory = entry.path();
        let ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(DIRECTORY.as_bytes())
            && directory
                .symlink_metadata()
                .is_ok_and(|at| at.is_dir() && at.uid() == us);
        // Without the lock's file it is only just being made.
        let lock = directory.join("postgres.lock");
        let is_free = |lock: &Path| {
            std::fs::File::open(lock).is_ok_and(|file| file.try_lock_shared().is_ok())
        };
        if !ours || !is_free(&lock) {
            continue;
        }
        if directory.join("postgres/postmaster.pid").exists() {
            match embedded::start(&directory, bin_dir).await {
                Ok(embedded) => embedded.stop().await,
                Err(error) => {
                    tracing::warn!("{} is left alone: {error:#}", directory.display());
                    continue;
                }
            }
        }
        remove_directory(&directory);
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn only_old_scratch_databases_are_abandoned() {
        let now = datetime!(2026-11-22 03:15 UTC);
        let named = |age: Duration| format!("{PREFIX}{}_x", (now - age).unix_timestamp());
        let table = [
            (named(Duration::hours(1)), false, "another is at work"),
            (named(Duration::days(2)), true, "its maker died"),
            (format!("{PREFIX}x_y"), false, "no time"),
            ("notes".to_owned(), false, "not ours"),
        ];
        for (name, expected, why) in table {
            assert_eq!(is_abandoned(&name, now), expected, "{why}");
        }
    }
}
