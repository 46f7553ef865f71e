//! A file that is written beside its final name and gets that name when it is whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use uuid::Uuid;

/// Between the final name and a random part.
const PARTIAL: &str = ".partial-";

/// Removed when dropped, unless it was published.
pub(super) struct Pending {
    path: PathBuf,
    /// Holds a lock for as long as this process works on it.
    file: File,
    published: bool,
}

impl Pending {
    /// A file in the directory of `path`, for nobody else to read; the leftovers of processes that
    /// were killed are removed there.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn beside(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_name().context("the backup needs a file name")?;
        let directory = directory_of(path);
        let mut prefix = name.to_owned();
        prefix.push(PARTIAL);
        remove_abandoned(directory, &|name| {
            name.as_encoded_bytes()
                .starts_with(prefix.as_encoded_bytes())
        });
        prefix.push(Uuid::new_v4().simple().to_string());
        Self::create(directory.join(prefix))
            .with_context(|| format!("no file can be made in {}", directory.display()))
    }

    fn create(path: PathBuf) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        // A file system without locks is no reason to make no backup.
        let _ = file.try_lock();
        Ok(Self {
            path,
            file,
            published: false,
        })
    }

    /// Another handle to write through.
    pub(super) fn writer(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// What is on the disk, from the beginning.
    pub(super) fn reader(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Its length in bytes.
    pub(super) fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Gives the file, which is on the disk already, its final name; that survives a power failure too.
    ///
    /// # Errors
    /// A file that is there meanwhile, unless `force`; what the file system says.
    pub(super) fn publish(mut self, path: &Path, force: bool) -> anyhow::Result<()> {
        if !force {
            refuse_existing(path)?;
        }
        let renamed = if force {
            fs::rename(&self.path, path)
        } else {
            rename_to_free(&self.path, path)
        };
        renamed.with_context(|| format!("{} can't be given its name", path.display()))?;
        self.published = true;
        let synced = File::open(directory_of(path)).and_then(|directory| directory.sync_all());
        synced.with_context(|| format!("{} may not survive a power failure", path.display()))
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renames without replacing what another process may have put there in the same moment, where the
/// file system can tell (`renameat2(2)`).
fn rename_to_free(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(from, to),
        renamed => renamed.map_err(Into::into),
    }
}

/// # Errors
/// That `path` is taken.
pub(super) fn refuse_existing(path: &Path) -> anyhow::Result<()> {
    if path.symlink_metadata().is_ok() {
        bail!(
            "{} exists: choose another name, or --force to replace it",
            path.display()
        );
    }
    Ok(())
}

/// Removes half-written backups that no living process holds.
pub(super) fn remove_abandoned(directory: &Path, is_ours: &dyn Fn(&std::ffi::OsStr) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let partial = name.to_string_lossy().contains(PARTIAL);
        if !partial || !is_ours(&name) {
            continue;
        }
        let abandoned = File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if abandoned {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn only_a_whole_file_gets_the_name() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.dump");
        drop(Pending::beside(&path).unwrap());
        assert!(names(root.path()).is_empty(), "dropped, nothing is left");

        let pending = Pending::beside(&path).unwrap();
        pending.writer().unwrap().write_all(b"whole").unwrap();
        pending.publish(&path, false).unwrap();
        assert_eq!(names(root.path()), ["a.dump"]);
        assert_eq!(fs::read(&path).unwrap(), b"whole");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);

        let pending = Pending::beside(&path).unwrap();
        let refused = pending.publish(&path, false).unwrap_err().to_string();
        assert!(refused.contains("--force"), "{refused}");
        assert_eq!(names(root.path()), ["a.dump"]);
        Pending::beside(&path)
            .unwrap()
            .publish(&path, true)
            .unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"", "replaced");
    }

    #[test]
    fn leftovers_go_but_not_those_of_the_living() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a.dump");
        let held = Pending::beside(&path).unwrap();
        for name in ["a.dump.partial-dead", "b.dump.partial-other", "a.dump.txt"] {
            fs::write(root.path().join(name), "half").unwrap();
        }
        let living = held.path.file_name().unwrap().to_str().unwrap().to_owned();
        let new = Pending::beside(&path).unwrap();
        let left = names(root.path());
        assert!(
            !left.contains(&"a.dump.partial-dead".to_owned()),
            "{left:?}"
        );
        for name in [living.as_str(), "b.dump.partial-other", "a.dump.txt"] {
            assert!(left.contains(&name.to_owned()), "{name}: {left:?}");
        }
        drop(new);
    }
}
