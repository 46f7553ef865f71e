//! A backup from beginning to end: dumped, read again, restored for a look, compared, and only then
//! given its name or handed on.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::watch;

use super::archive::Archive;
use super::dump::dump;
use super::keys::{Key, Lock};
use super::manifest::Manifest;
use super::pending::{Pending, refuse_existing};
use super::rehearse::try_out;
use super::{Event, Source, Told, scratch, unless_stopped};

/// A finished backup.
#[derive(Debug, Clone)]
pub struct Made {
    /// What it holds.
    pub manifest: Manifest,
    /// Length of the file.
    pub bytes: u64,
    /// How long all of it took.
    pub took: Duration,
    /// How long restoring it took; `None` where that was not asked for.
    pub restored_in: Option<Duration>,
}

/// How it is to be made.
#[derive(Clone)]
pub struct Wanted {
    /// Who can read it.
    pub lock: Lock,
    /// Whether it is restored for a look.
    pub verify: bool,
}

/// Backs up into the file `path`, which is there afterwards whole, and verified where that is wanted, or not at all.
///
/// # Errors
/// A file that exists already, unless `force`, and whatever keeps the backup from being made or
/// trusted.
pub async fn to_file(
    source: &Source,
    path: &Path,
    force: bool,
    wanted: &Wanted,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<Made> {
    if !force {
        refuse_existing(path)?;
    }
    if path.is_dir() {
        bail!("{} is a directory: name a file in it", path.display());
    }
    let begun = Instant::now();
    let pending = Pending::beside(path)?;
    let mut made = verified(source, &pending, wanted, told, stop).await?;
    pending.publish(path, force)?;
    made.took = begun.elapsed();
    Ok(made)
}

/// Backs up into a temporary file, which `deliver` gets when it is whole, and verified where that is wanted.
///
/// # Errors
/// The same, and those of `deliver`.
pub async fn to_elsewhere(
    source: &Source,
    wanted: &Wanted,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
    deliver: impl AsyncFnOnce(File) -> anyhow::Result<()>,
) -> anyhow::Result<Made> {
    let begun = Instant::now();
    let pending = Pending::beside(&std::env::temp_dir().join("unibody-backup"))?;
    let mut made = verified(source, &pending, wanted, told, stop).await?;
    unless_stopped(stop, deliver(pending.reader()?)).await?;
    made.took = begun.elapsed();
    Ok(made)
}

async fn verified(
    source: &Source,
    pending: &Pending,
    wanted: &Wanted,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<Made> {
    // Before anything is written: without a place to try it out there will be no backup.
    let place = if wanted.verify {
        Some(scratch::place(source).await?)
    } else {
        None
    };
    told(Event::Step("dumping the database".to_owned()));
    let lock = wanted.lock.clone();
    let making = tokio::task::spawn_blocking(move || lock.make());
    let (sealer, key) = making.await.context("encrypting failed inside")??;
    let dumping = dump(source, pending.writer()?, sealer, told);
    let manifest = unless_stopped(stop, Box::pin(dumping)).await?;

    let bytes = pending.length()?;
    let archive = read_again(pending.reader()?, key, &manifest)
        .await
        .context("the backup that was just written can't be trusted")?;
    let restored_in = match place {
        None => None,
        Some(place) => {
            told(Event::Step(
                "restoring it into a scratch database".to_owned(),
            ));
            let tried = Box::pin(try_out(source, place, archive, told, stop)).await;
            Some(tried.context("the backup that was just made can't be restored")?)
        }
    };
    Ok(Made {
        manifest,
        bytes,
        took: Duration::ZERO,
        restored_in,
    })
}

async fn read_again(file: File, key: Key, manifest: &Manifest) -> anyhow::Result<Archive> {
    let reading = tokio::task::spawn_blocking(move || {
        let mut archive = Archive::open(file, &key)?;
        archive.check()?;
        anyhow::Ok(archive)
    });
    let archive = reading.await.context("reading failed inside")??;
    if archive.manifest.as_ref() != Some(manifest) {
        bail!("its manifest is not the one that was written");
    }
    Ok(archive)
}

/// Copies a whole file to standard output.
///
/// # Errors
/// What the reader at the other end does.
pub fn to_stdout(mut file: File) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    io::copy(&mut file, &mut stdout)
        .and_then(|_| io::Write::flush(&mut stdout))
        .context("standard output can't be written to")
}
