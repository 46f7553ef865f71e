//! Backups that can be trusted, because each was restored once before it counts.
//!
//! 1. [`make`] dumps the database ([`dump`]) into a file that has no name yet ([`pending`]), encrypted
//!    or not ([`keys`]), with a manifest at its end ([`archive`], [`manifest`]): counts and checksums of
//!    every table ([`figures`]), from the snapshot that was dumped.
//! 2. It reads the file again and restores it ([`load`], [`script`]) into a [`scratch`] database, where
//!    counts and checksums must come out the same. Then the file gets its name.
//! 3. [`restore()`] brings it back into the real database, [`clear`]ed if need be, in one transaction that
//!    is compared before it is committed. [`rehearse()`] does so where it harms nobody.
//! 4. [`task`] makes them by itself, as `[backup]` says: when ([`due`]), where to ([`kept`], [`command`]), and
//!    which stay ([`retention`]).
//!
//! PostgreSQL's own `pg_dump` and `pg_restore` do the dumping and reading ([`programs`]): nobody else
//! knows every version's catalogue.

mod archive;
mod clear;
mod command;
mod due;
mod dump;
mod facts;
mod figures;
mod kept;
pub mod keys;
mod load;
mod make;
mod manifest;
mod pending;
mod programs;
mod record;
mod rehearse;
mod restore;
mod retention;
mod scratch;
mod script;
pub mod task;

use std::sync::Arc;

use anyhow::bail;
use tokio::sync::watch;

use crate::config::{self, Secret};
use crate::database::Database;
pub use archive::protection_of;
pub use kept::{Kept, make_now, newest};
pub use make::{Made, Wanted, to_elsewhere, to_file, to_stdout};
pub use manifest::{Manifest, Table};
pub use record::Last;
pub use rehearse::{Rehearsed, rehearse};
pub use restore::{Allowed, Restored, restore};

/// The database, and what PostgreSQL's own programs need to find it.
#[derive(Clone)]
pub struct Source {
    database: Database,
    url: Secret,
    settings: config::Database,
}

impl Source {
    /// That of `database`.
    #[must_use]
    pub fn of(database: &Database) -> Self {
        let (settings, url) = database.given();
        Self {
            database: database.clone(),
            url: url.clone(),
            settings: settings.clone(),
        }
    }
}

/// What is going on, for whoever waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Something begins; the words follow "unibody:".
    Step(String),
    /// So many bytes were dumped so far.
    Bytes(u64),
    /// So many rows were restored.
    Rows {
        /// So far.
        done: u64,
        /// Of all, where that is known.
        of: Option<u64>,
    },
}

/// Told of each [`Event`], on whatever thread.
pub type Told = Arc<dyn Fn(Event) + Send + Sync>;

/// Does `work` until `stop` turns true, or its sender is gone.
///
/// # Errors
/// Those of `work`, and that it was stopped.
async fn unless_stopped<T>(
    stop: &mut watch::Receiver<bool>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    tokio::select! {
        done = work => done,
        _ = stop.wait_for(|stop| *stop) => bail!("stopped"),
    }
}
