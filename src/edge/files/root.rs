//! The directory that is served, held by a handle.
//!
//! Every file is opened relative to that handle with the kernel forbidden to leave it (`openat2`
//! with `RESOLVE_BENEATH` on Linux, component by component elsewhere), and everything else is asked
//! of the opened file. Nothing is first looked at by name and then opened, so there is no moment in
//! between for somebody to put a link there.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use arc_swap::ArcSwap;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use nix::fcntl::OFlag;
use parking_lot::Mutex;

use super::path::RelativePath;

/// A directory whose files are served.
pub(super) struct Root {
    path: PathBuf,
    handle: ArcSwap<Dir>,
    checked: Mutex<Instant>,
}

/// What stands at a path.
pub(super) enum Found {
    /// A regular file, open for reading.
    File(OpenFile),
    /// A directory.
    Directory,
    /// Nothing that is served: no such name, a link out of the root, a FIFO, socket or device.
    Nothing,
}

/// An open regular file and what it was when it was opened.
#[derive(Debug)]
pub(super) struct OpenFile {
    /// Open for reading, at its beginning.
    pub(super) file: File,
    /// Of the open file, not of its name.
    pub(super) metadata: Metadata,
}

/// A file that is there and cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The server's user lacks the right to read it.
    #[error("permission denied: let the user that runs the server read it")]
    Denied,
    /// Too many files are open, or memory is short.
    #[error("out of resources: {0}; raise the limit of open files (ulimit -n)")]
    Exhausted(io::Error),
    /// The disk or the network behind it fails.
    #[error(transparent)]
    Failed(io::Error),
}

/// How long the root may have been replaced (a new release moved or linked to its place) before it
/// is noticed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

impl Root {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// If it is missing, no directory, or not accessible.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority()).with_context(|| {
            format!(
                "cannot serve files from {}: create the directory or correct `files`",
                path.display()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            handle: ArcSwap::from_pointee(dir),
            checked: Mutex::new(Instant::now()),
        })
    }

    /// Opens what stands at `path`. Blocks on the disk, never on a FIFO.
    ///
    /// # Errors
    /// [`OpenError`] if something is there and cannot be read.
    pub(super) fn find(&self, path: &RelativePath) -> Result<Found, OpenError> {
        self.follow_replacement();
        // SECURITY: without O_NONBLOCK the open of a FIFO waits for its writer, for ever.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        let opened = self.handle.load().open_with(
            path.as_path(),
            OpenOptions::new().read(true).custom_flags(flags),
        );
        let file = match opened {
            Ok(file) => file.into_std(),
            Err(error) => return judge(error).map(|()| Found::Nothing),
        };
        let metadata = file.metadata().map_err(OpenError::Failed)?;
        Ok(if metadata.is_file() {
            Found::File(OpenFile { file, metadata })
        } else if metadata.is_dir() {
            Found::Directory
        } else {
            Found::Nothing
        })
    }

    /// Takes up the directory that now has our name, at most once in [`CHECK_INTERVAL`]. As long as
    /// there is none the old one stays.
    fn follow_replacement(&self) {
        {
            let Some(mut checked) = self.checked.try_lock() else {
                return;
            };
            if checked.elapsed() < CHECK_INTERVAL {
                return;
            }
            *checked = Instant::now();
        }
        self.reopen_if_replaced();
    }

    fn reopen_if_replaced(&self) {
        let Ok(dir) = Dir::open_ambient_dir(&self.path, ambient_authority()) else {
            return;
        };
        let identity = |dir: &Dir| {
            use cap_std::fs::MetadataExt;
            dir.dir_metadata()
                .map(|metadata| (metadata.dev(), metadata.ino()))
                .ok()
        };
        if identity(&dir) != identity(&self.handle.load()) {
            tracing::info!(root = %self.path.display(), "the directory of static files was replaced; serving the new one");
            self.handle.store(Arc::new(dir));
        }
    }
}

impl OpenFile {
    /// Length in bytes when it was opened.
    pub(super) fn length(&self) -> u64 {
        self.metadata.size()
    }
}

/// Whether a failure to open only says that there is nothing to serve.
fn judge(error: io::Error) -> Result<(), OpenError> {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
        (NotFound | NotADirectory | InvalidInput, _)
        // The last two for a socket, and for a device without a driver.
        | (_, Some(Errno::ENAMETOOLONG | Errno::ELOOP | Errno::ENXIO | Errno::ENODEV))
        // A link that leads out of the root: this refusal has no number of the system's.
        | (PermissionDenied, None) => Ok(()),
        (PermissionDenied, Some(_)) => Err(OpenError::Denied),
        (_, Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM)) => {
            Err(OpenError::Exhausted(error))
        }
        _ => Err(OpenError::Failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;

    fn find(root: &Root, path: &str) -> &'static str {
        match root.find(&RelativePath::parse(path).unwrap()).unwrap() {
            Found::File(_) => "file",
            Found::Directory => "directory",
            Found::Nothing => "nothing",
        }
    }

    #[test]
    fn only_files_and_directories_inside_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let outside = dir.path().join("outside");
        let inside = dir.path().join("inside");
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(inside.join("a.txt"), "a").unwrap();
        for (link, target) in [
            ("to-a", "a.txt"),
            ("sub/up-to-a", "../a.txt"),
            ("to-sub", "sub"),
            ("out", "../outside/secret"),
            ("out-dir", "../outside"),
            ("out-and-in", "../inside/a.txt"),
            ("loop", "loop"),
            ("dangling", "missing"),
            ("to-proc", "/proc/self/root"),
        ] {
            symlink(target, inside.join(link)).unwrap();
        }
        symlink(outside.join("secret"), inside.join("absolute")).unwrap();
        mkfifo(&inside.join("fifo"), Mode::from_bits_truncate(0o644)).unwrap();
        let _listener = UnixListener::bind(inside.join("socket")).unwrap();

        let root = Root::open(&inside).unwrap();
        for (path, expected) in [
            ("", "directory"),
            ("a.txt", "file"),
            ("sub", "directory"),
            ("to-a", "file"),
            ("sub/up-to-a", "file"),
            ("to-sub", "directory"),
            ("to-sub/up-to-a", "file"),
            ("out", "nothing"),
            ("out-dir", "nothing"),
            ("out-dir/secret", "nothing"),
            ("out-and-in", "nothing"),
            ("absolute", "nothing"),
            ("to-proc", "nothing"),
            ("loop", "nothing"),
            ("dangling", "nothing"),
            ("fifo", "nothing"),
            ("socket", "nothing"),
            ("missing", "nothing"),
            ("a.txt/below", "nothing"),
            ("a.txt/", "file"),
        ] {
            assert_eq!(find(&root, path), expected, "{path}");
        }
        let long = "x".repeat(300);
        assert_eq!(find(&root, &long), "nothing", "a name longer than any");
        let deep = "x/".repeat(4000);
        assert_eq!(find(&root, &deep), "nothing", "a path longer than any");
    }

    #[test]
    fn devices_are_not_files() {
        let root = Root::open(Path::new("/dev")).unwrap();
        assert_eq!(find(&root, "null"), "nothing");
        assert_eq!(find(&root, "zero"), "nothing");
    }

    #[test]
    fn a_root_must_be_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "").unwrap();
        for path in ["missing", "file"] {
            let error = Root::open(&dir.path().join(path))
                .err()
                .unwrap()
                .to_string();
            assert!(
                error.contains(path) && error.contains("create the directory"),
                "{error}"
            );
        }
    }

    #[test]
    fn a_replaced_root_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        for release in ["1", "2"] {
            fs::create_dir(dir.path().join(release)).unwrap();
            fs::write(dir.path().join(release).join(release), "").unwrap();
        }
        let current = dir.path().join("current");
        symlink("1", &current).unwrap();
        let root = Root::open(&current).unwrap();
        assert_eq!((find(&root, "1"), find(&root, "2")), ("file", "nothing"));
        fs::remove_file(&current).unwrap();
        root.reopen_if_replaced();
        assert_eq!(
            find(&root, "1"),
            "file",
            "while there is none, the old one stays"
        );
        symlink("2", &current).unwrap();
        *root.checked.lock() = Instant::now().checked_sub(CHECK_INTERVAL).unwrap();
        assert_eq!((find(&root, "1"), find(&root, "2")), ("nothing", "file"));
    }

    #[test]
    fn failures_say_nothing_or_what_to_do() {
        let judged = |error: io::Error| match judge(error) {
            Ok(()) => "nothing",
            Err(OpenError::Denied) => "denied",
            Err(OpenError::Exhausted(_)) => "exhausted",
            Err(OpenError::Failed(_)) => "failed",
        };
        for (errno, expected) in [
            (Errno::ENOENT, "nothing"),
            (Errno::ENOTDIR, "nothing"),
            (Errno::ELOOP, "nothing"),
            (Errno::ENAMETOOLONG, "nothing"),
            (Errno::EINVAL, "nothing"),
            (Errno::ENXIO, "nothing"),
            (Errno::EACCES, "denied"),
            (Errno::EPERM, "denied"),
            (Errno::EMFILE, "exhausted"),
            (Errno::ENFILE, "exhausted"),
            (Errno::EIO, "failed"),
            (Errno::ESTALE, "failed"),
        ] {
            assert_eq!(judged(io::Error::from(errno)), expected, "{errno}");
        }
        let escape = io::Error::new(io::ErrorKind::PermissionDenied, "outside");
        assert_eq!(judged(escape), "nothing", "a link out of the root");
    }
}
