//! One backup as `[backup]` says: made where it says, and older ones removed.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::unistd::geteuid;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::command::to_command;
use super::due::has_been;
use super::keys::Lock;
use super::make::{Made, Wanted, to_elsewhere, to_file};
use super::pending::remove_abandoned;
use super::record::{self, Last};
use super::retention::{list, name, superfluous};
use super::{Source, Told};
use crate::config::{self, Destination};

/// The name of the lock in the database that one at a time has who makes a backup.
pub(super) const LOCK: &str = "unibody backup";

/// What was made by [`make_now`].
#[derive(Debug)]
pub struct Kept {
    /// The backup.
    pub made: Made,
    /// What it is called.
    pub name: String,
    /// Why the database, and so the server, does not know of it.
    pub unrecorded: Option<anyhow::Error>,
}

/// Makes the backup of `settings` now, whether or not it is due. One that can't be recorded is as good as any.
///
/// # Errors
/// Why there is none, such as that another instance is just making one.
pub async fn make_now(
    source: &Source,
    settings: &config::Backup,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<Kept> {
    let Some(_held) = source.database.try_lock(LOCK).await? else {
        bail!("another process is making a backup of this database just now: wait for it");
    };
    let (made, last) = make(source, settings, told, stop).await?;
    let recorded = record::write(&source.database, &last).await;
    Ok(Kept {
        made,
        name: last.name,
        unrecorded: recorded.err(),
    })
}

/// The newest backup in `directory`; one of times to come, by a clock that was ahead, only where there is no
/// other.
///
/// # Errors
/// That there is none.
pub fn newest(directory: &Path) -> anyhow::Result<PathBuf> {
    let shown = directory.display();
    let backups = list(directory).with_context(|| format!("backup.directory {shown}"))?;
    let now = OffsetDateTime::now_utc();
    let newest = backups.iter().find(|(made, _)| has_been(*made, now));
    let newest = newest.or(backups.first());
    let (_, path) = newest.with_context(|| format!("no backup in backup.directory {shown} yet"))?;
    Ok(path.clone())
}

/// The same, for who holds [`LOCK`] and [records](record::write) it.
pub(super) async fn make(
    source: &Source,
    settings: &config::Backup,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<(Made, Last)> {
    let begun = Instant::now();
    let wanted = Wanted {
        lock: Lock::for_recipients(&settings.age_recipients)?,
        verify: settings.verify,
    };
    let encrypted = wanted.lock.is_closed();
    let (mut made, name) = match &settings.destination {
        Destination::Directory(directory) => {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)
                .with_context(|| format!("backup.directory {}", directory.display()))?;
            // We hold the lock, but another database's backups may be in the same directory.
            remove_abandoned(directory, &|name| {
                name.as_encoded_bytes().starts_with(b"unibody-")
            });
            let name = free_name(directory, encrypted);
            let path = directory.join(&name);
            let made = to_file(source, &path, false, &wanted, told, stop).await?;
            give_to_owner(directory, &path)
                .with_context(|| format!("backup {} is made, but is root's", path.display()))?;
            (made, name)
        }
        Destination::Command(command) => {
            let name = name(OffsetDateTime::now_utc(), encrypted);
            let deliver = async |file| to_command(command, &name, file).await;
            let made = to_elsewhere(source, &wanted, told, stop, deliver).await?;
            (made, name)
        }
    };
    made.took = begun.elapsed();
    // Only now is there one more than before, whether or not that can be recorded.
    if let Destination::Directory(directory) = &settings.destination {
        remove_superfluous(directory, settings.keep);
    }
    let last = Last {
        // As exactly as the database tells it to others.
        finished: OffsetDateTime::now_utc().truncate_to_microsecond(),
        name,
        bytes: made.bytes,
        took: made.took,
    };
    Ok((made, last))
}

/// Names tell the second: the next one that nothing in `directory` is called by.
fn free_name(directory: &Path, encrypted: bool) -> String {
    let mut at = OffsetDateTime::now_utc();
    loop {
        let name = name(at, encrypted);
        if directory.join(&name).symlink_metadata().is_err() {
            return name;
        }
        at += Duration::from_secs(1);
    }
}

/// What root makes by hand is whose the directory is: the server is to read and remove it later.
fn give_to_owner(directory: &Path, path: &Path) -> io::Result<()> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let owner = directory.metadata()?;
    chown(path, Some(owner.uid()), Some(owner.gid()))
}

/// What can't be removed is tried again after the next backup.
fn remove_superfluous(directory: &Path, keep: config::Keep) {
    let backups = match list(directory) {
        Ok(backups) => backups,
        Err(error) => return tracing::warn!("backup.directory can't be read: {error}"),
    };
    for path in superfluous(&backups, keep, OffsetDateTime::now_utc()) {
        match std::fs::remove_file(path) {
            Ok(()) => tracing::info!("backup: {} is removed, as keep_* say", path.display()),
            Err(error) => tracing::warn!("{} can't be removed: {error}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_backup_is_called_like_another() {
        let directory = tempfile::tempdir().unwrap();
        let names: std::collections::BTreeSet<_> = std::iter::repeat_with(|| {
            let name = free_name(directory.path(), false);
            std::fs::write(directory.path().join(&name), "").unwrap();
            name
        })
        .take(5)
        .collect();
        assert_eq!(names.len(), 5);
    }

    #[test]
    fn the_newest_is_not_of_times_to_come() {
        let directory = tempfile::tempdir().unwrap();
        let newest = || {
            let newest = newest(directory.path()).ok()?;
            newest.file_name()?.to_str().map(str::to_owned)
        };
        assert_eq!(newest(), None, "none yet");
        let table = [
            ("unibody-99990101T031500Z.dump", "the only one"),
            ("unibody-20010101T031500Z.dump", "older"),
            ("unibody-20010102T031500Z.dump", "newer"),
        ];
        for (name, why) in table {
            std::fs::write(directory.path().join(name), "").unwrap();
            assert_eq!(newest().as_deref(), Some(name), "{why}");
        }
    }

    #[test]
    fn a_backup_of_roots_is_whose_the_directory_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.dump");
        std::fs::write(&path, "").unwrap();
        let ours = path.metadata().unwrap().uid();
        let owner = if geteuid().is_root() { 4711 } else { ours };
        chown(directory.path(), Some(owner), None).unwrap();
        give_to_owner(directory.path(), &path).unwrap();
        assert_eq!(path.metadata().unwrap().uid(), owner);
    }
}
