//! One unibody at a time uses a data directory.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::files;

/// Held while a unibody uses the directory.
pub(super) const LOCK: &str = "postgres.lock";

/// How long a lock that somebody else holds is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);

/// Between two attempts to take it.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Keeps a second unibody out. The kernel lets go of it however this process ends.
pub(super) fn lock(path: &Path) -> anyhow::Result<File> {
    let shown = path.display();
    let file = files::open_to_append(path).with_context(|| format!("{shown} can't be opened"))?;
    match wait_for_lock(&file) {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let holder = files::read(path).unwrap_or_default();
            bail!(
                "another unibody (process {}) is running on this data directory ({shown}): stop it, \
                 or give this one its own server.data_dir",
                holder.trim()
            );
        }
        Err(TryLockError::Error(error)) => {
            return Err(error).with_context(|| format!("{shown} can't be locked"));
        }
    }
    sign(&file)?;
    Ok(file)
}

pub(super) fn sign(mut lock: &File) -> io::Result<()> {
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())
}

/// Whether `lock` is the lock of the cluster in `data_dir`.
pub(super) fn is_lock_of(lock: &File, data_dir: &Path) -> bool {
    let there = fs::symlink_metadata(data_dir.join(LOCK));
    let same = |there: fs::Metadata| {
        let passed = lock.metadata()?;
        io::Result::Ok((passed.dev(), passed.ino()) == (there.dev(), there.ino()))
    };
    there.and_then(same).unwrap_or(false)
}

/// Takes the lock, and waits a moment for a holder that is about to go: a process that a restart
/// overlaps with, or a child of one that was killed, which holds a copy between its fork and exec.
fn wait_for_lock(file: &File) -> Result<(), TryLockError> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                // The kernel offers no wait for a lock that ends.
                thread::sleep(LOCK_PAUSE);
            }
            taken => return taken,
        }
    }
}
