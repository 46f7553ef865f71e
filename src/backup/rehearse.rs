//! Restoring a backup where it does no harm: to know that it can be done, and how long it takes.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::sync::watch;

use super::archive::Archive;
use super::figures::query;
use super::keys::Key;
use super::load::{Leave, load, read_through};
use super::manifest::Manifest;
use super::scratch::{self, Place, Scratch};
use super::{Event, Source, Told, unless_stopped};
use crate::database::NO_TIME_LIMIT;
use crate::database::client_programs::ClientPrograms;

/// How a rehearsal went.
#[derive(Debug)]
pub struct Rehearsed {
    /// What the backup holds; `None` for a dump of `pg_dump`'s own, of which nothing is known.
    pub manifest: Option<Manifest>,
    /// How long restoring it took.
    pub took: Duration,
}

/// Nothing is kept, so nothing need be on the disk when it is committed.
const BEGIN: &str = "BEGIN; SET LOCAL synchronous_commit = off";

/// Restores the backup at `path` into a scratch database and compares it with its manifest.
///
/// # Errors
/// Why it can't be read, restored, or trusted.
pub async fn rehearse(
    source: &Source,
    path: &Path,
    key: Key,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<Rehearsed> {
    told(Event::Step("reading the backup".to_owned()));
    let archive = open(source, path, key).await?;
    let manifest = archive.manifest.clone();
    let place = scratch::place(source).await?;
    told(Event::Step(
        "restoring it into a scratch database".to_owned(),
    ));
    let took = Box::pin(try_out(source, place, archive, told, stop)).await;
    let took = took.with_context(|| format!("{} can't be restored", path.display()))?;
    Ok(Rehearsed { manifest, took })
}

/// Opens the backup at `path` and reads all of it once.
pub(super) async fn open(source: &Source, path: &Path, key: Key) -> anyhow::Result<Archive> {
    let shown = path.display();
    let file = File::open(path).with_context(|| format!("{shown} can't be opened"))?;
    if !file.metadata()?.is_file() {
        bail!("{shown} is no file: a backup is read more than once, so it can't be a pipe");
    }
    let reading = tokio::task::spawn_blocking(move || {
        let mut archive = Archive::open(file, &key)?;
        archive.check()?;
        anyhow::Ok(archive)
    });
    let read = reading.await.context("reading failed inside")?;
    let archive = read.with_context(|| format!("{shown} can't be restored"))?;
    if archive.manifest.is_some() {
        return Ok(archive);
    }
    let programs = ClientPrograms::newest(source.settings.bin_dir.as_deref())?;
    let read = read_through(&programs, archive).await;
    read.with_context(|| format!("{shown} can't be restored, it is cut off or damaged"))
}

/// Restores `archive` into a database of its own; says how long that took.
pub(super) async fn try_out(
    source: &Source,
    place: Place,
    archive: Archive,
    told: &Told,
    stop: &mut watch::Receiver<bool>,
) -> anyhow::Result<Duration> {
    let programs = ClientPrograms::newest(source.settings.bin_dir.as_deref())?;
    let scratch = Scratch::make(source, place).await?;
    let restoring = async {
        let from = archive.manifest.as_ref().map(|manifest| manifest.postgres);
        let session = scratch.connect(from).await?;
        let begun = Instant::now();
        query(&session.client, &format!("{BEGIN}; {NO_TIME_LIMIT}")).await?;
        load(
            &session.client,
            &programs,
            archive,
            Leave::Surroundings,
            told,
        )
        .await?;
        query(&session.client, "COMMIT").await?;
        Ok(begun.elapsed())
    };
    let restored = unless_stopped(stop, Box::pin(restoring)).await;
    scratch.remove().await;
    restored
}
