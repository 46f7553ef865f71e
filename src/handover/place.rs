//! `data_dir/upgrade.sock`: where a process that somebody else has started (a new container, say)
//! finds the one that serves.
//!
//! SECURITY: whoever is let in is given the listening sockets. The file is ours alone (0600), and the
//! kernel says who has come: this user or root.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::unistd::Uid;
use tokio::net::{UnixListener, UnixStream};

use super::channel::Channel;
use super::leaving::Candidate;

const NAME: &str = "upgrade.sock";
/// Bytes of a path that a socket's address has room for.
const PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// Where this process is found. The file goes with this value, unless another process has put its
/// own there.
#[derive(Debug)]
pub struct Place {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode of our file.
    ours: (u64, u64),
}

impl Place {
    /// Puts a socket into `data_dir`, in the place of one that nobody serves at, or that we take over.
    pub(super) fn open(data_dir: &Path) -> anyhow::Result<Self> {
        make(data_dir)?;
        let path = data_dir.join(NAME);
        let shown = path.display();
        let open = || -> io::Result<Self> {
            // Made aside and moved, so that there is no moment without a socket.
            let aside = data_dir.join(format!("{NAME}.{}", std::process::id()));
            remove(&aside)?;
            let listener = with_short_path(&aside, |aside| UnixListener::bind(aside))?;
            fs::set_permissions(&aside, Permissions::from_mode(0o600))?;
            let metadata = aside.symlink_metadata()?;
            fs::rename(&aside, &path)?;
            Ok(Self {
                listener,
                path: path.clone(),
                ours: (metadata.dev(), metadata.ino()),
            })
        };
        open().with_context(|| format!("{shown} can't be made"))
    }

    /// Waits for a process that asks to take over.
    pub async fn next(&self) -> Candidate {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) if is_welcome(&stream) => {
                    return Candidate::came(Channel::new(stream));
                }
                Ok(_) => tracing::warn!(
                    "another user's process asked to take over, and was refused: only this user and root may"
                ),
                Err(error) => {
                    tracing::warn!(%error, "nobody can ask to take over just now");
                    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                }
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let there = self.path.symlink_metadata();
        if there.is_ok_and(|there| (there.dev(), there.ino()) == self.ours) {
            // The next start replaces what can't be removed.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Connects to the process that serves from `data_dir`; `None` where there is none.
pub(super) async fn connect(data_dir: &Path) -> anyhow::Result<Option<UnixStream>> {
    let path = data_dir.join(NAME);
    // The directory's descriptor must live until the connection is there.
    let connected = match short(&path) {
        Ok((_directory, short)) => UnixStream::connect(short).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(stream) if is_welcome(&stream) => Ok(Some(stream)),
        Ok(_) => bail!(anothers(&path)),
        Err(error) => match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Ok(None),
            io::ErrorKind::PermissionDenied => bail!(anothers(&path)),
            _ => Err(error).with_context(|| format!("{} can't be asked", path.display())),
        },
    }
}

fn anothers(path: &Path) -> String {
    format!(
        "{} is another user's: run this as the user that runs the server",
        path.display()
    )
}

/// Whether the process at the other end may hand over to us, and we to it.
fn is_welcome(stream: &UnixStream) -> bool {
    let user = stream.peer_cred().map(|peer| Uid::from_raw(peer.uid()));
    user.is_ok_and(|user| user.is_root() || user == Uid::effective())
}

fn make(data_dir: &Path) -> anyhow::Result<()> {
    // As the embedded database makes it: its own user must get through.
    let mode = if Uid::effective().is_root() {
        0o711
    } else {
        0o700
    };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(data_dir)
        .with_context(|| format!("server.data_dir {} can't be made", data_dir.display()))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn with_short_path<T>(path: &Path, act: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let (_directory, short) = short(path)?;
    act(&short)
}

/// `path`, or where it is too long for a socket's address the same by way of its open directory.
fn short(path: &Path) -> io::Result<(Option<File>, PathBuf)> {
    if path.as_os_str().len() <= PATH_LIMIT {
        return Ok((None, path.to_owned()));
    }
    let parts = path.parent().zip(path.file_name());
    let (directory, name) = parts.ok_or(io::ErrorKind::InvalidInput)?;
    let directory = File::open(directory)?;
    let short = format!("/proc/self/fd/{}", directory.as_raw_fd());
    Ok((Some(directory), Path::new(&short).join(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_asks_at_the_place_is_let_in_and_the_last_to_come_has_it() {
        let root = tempfile::tempdir().unwrap();
        // Longer than an address has room for.
        for data_dir in ["data".to_owned(), "x".repeat(120)] {
            let data_dir = root.path().join(data_dir);
            assert!(connect(&data_dir).await.unwrap().is_none(), "nobody there");
            let old = Place::open(&data_dir).unwrap();
            let path = data_dir.join(NAME);
            assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
            assert!(connect(&data_dir).await.unwrap().is_some());
            old.next().await;
            let new = Place::open(&data_dir).unwrap();
            drop(old);
            assert!(connect(&data_dir).await.unwrap().is_some(), "the new one's");
            drop(new);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_dead_process_leaves_a_place_that_nobody_is_found_at() {
        let root = tempfile::tempdir().unwrap();
        let mut dead = Place::open(root.path()).unwrap();
        // As if its file had not been removed.
        dead.ours = (0, 0);
        drop(dead);
        assert!(root.path().join(NAME).exists());
        assert!(connect(root.path()).await.unwrap().is_none());
        Place::open(root.path()).unwrap();
    }
}
