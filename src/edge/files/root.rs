//! The directory that is served, held by a handle.
//!
//! Every file is opened relative to that handle with the kernel forbidden to leave it (`openat2`
//! with `RESOLVE_BENEATH` on Linux, component by component elsewhere), and everything else is asked
//! of the opened file. Nothing is first looked at by name and then opened, so there is no moment in
//! between for somebody to put a link there.

use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use arc_swap::ArcSwap;
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::path::RelativePath;
use super::walk::{self, Step};

/// A directory whose files are served, whichever directory has that name by now.
pub(super) struct Root {
    path: PathBuf,
    current: ArcSwap<Beneath>,
}

/// The directory that had the root's name at some moment, and all that is beneath it.
pub(super) struct Beneath {
    dir: Dir,
    /// What links with an absolute target call this directory.
    names: Vec<PathBuf>,
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

impl Root {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// If it is missing, no directory, or not accessible.
    pub(super) fn open(path: &Path) -> anyhow::Result<Self> {
        let beneath = Beneath::open(path).with_context(|| {
            format!(
                "cannot serve files from {}: create the directory or correct `files`",
                path.display()
            )
        })?;
        Ok(Self {
            path: path.to_owned(),
            current: ArcSwap::from_pointee(beneath),
        })
    }

    /// The directory as it was found last. One answer is made of one of these.
    pub(super) fn current(&self) -> Arc<Beneath> {
        self.current.load_full()
    }

    /// Whether this is still the directory in force.
    pub(super) fn is_current(&self, beneath: &Arc<Beneath>) -> bool {
        Arc::ptr_eq(&self.current.load(), beneath)
    }

    /// Takes up the directory that now has our name (a new release moved or linked to its place).
    /// As long as there is none the old one stays.
    pub(super) fn follow_replacement(&self) {
        let Ok(beneath) = Beneath::open(&self.path) else {
            return;
        };
        if beneath.identity() != self.current.load().identity() {
            tracing::info!(root = %self.path.display(), "the directory of static files was replaced; serving the new one");
            self.current.store(Arc::new(beneath));
        }
    }
}

impl Beneath {
    fn open(path: &Path) -> io::Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())?;
        let names = [std::path::absolute(path), path.canonicalize()];
        Ok(Self {
            dir,
            names: names.into_iter().flatten().collect(),
        })
    }

    fn identity(&self) -> Option<(u64, u64)> {
        use cap_std::fs::MetadataExt;
        let metadata = self.dir.dir_metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    }

    /// Opens what stands at `path`. Blocks on the disk, never on a FIFO.
    ///
    /// # Errors
    /// [`OpenError`] if something is there and cannot be read.
    pub(super) fn find(&self, path: &RelativePath) -> Result<Found, OpenError> {
        match self.open_file(path.as_path()) {
            // The kernel takes every absolute link for one that leads out.
            Err(error) if leads_out(&error) => match self.follow(path.as_path(), |_| {}) {
                Some(inside) => examine(self.open_file(&inside)),
                None => Ok(Found::Nothing),
            },
            opened => examine(opened),
        }
    }

    /// Follows `path` step by step and tells each step before it is taken; returns where it leads,
    /// without links, or `None` where it leads to nothing in here.
    pub(super) fn follow(&self, path: &Path, step: impl FnMut(Step<'_>)) -> Option<PathBuf> {
        walk::follow(&self.dir, &self.names, path, step)
    }

    fn open_file(&self, path: &Path) -> io::Result<File> {
        // SECURITY: without O_NONBLOCK the open of a FIFO waits for its writer, for ever.
        let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        Ok(self.dir.open_with(path, &options)?.into_std())
    }
}

impl AsFd for Beneath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

fn examine(opened: io::Result<File>) -> Result<Found, OpenError> {
    let file = match opened {
        Ok(file) => file,
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

impl OpenFile {
    /// Length in bytes when it was opened.
    pub(super) fn length(&self) -> u64 {
        self.metadata.size()
    }
}

/// Whether an open was refused because a link leads out: this refusal has no number of the system's.
fn leads_out(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied && error.raw_os_error().is_none()
}

/// Whether a failure to open only says that there is nothing to serve.
fn judge(error: io::Error) -> Result<(), OpenError> {
    use io::ErrorKind::{InvalidInput, NotADirectory, NotFound, PermissionDenied};
    match (error.kind(), error.raw_os_error().map(Errno::from_raw)) {
        (NotFound | NotADirectory | InvalidInput, _)
        // The last two for a socket, and for a device without a driver.
        | (_, Some(Errno::ENAMETOOLONG | Errno::ELOOP | Errno::ENXIO | Errno::ENODEV))
        // A link that leads out of the root.
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
        let path = RelativePath::parse(path).unwrap();
        match root.current().find(&path).unwrap() {
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
        for (link, target) in [
            ("absolute", inside.join("a.txt")),
            ("sub/absolute-dir", inside.join("sub")),
            ("absolute-to-link", inside.join("to-a")),
            ("absolute-out", outside.join("secret")),
            ("absolute-and-up", inside.join("../outside/secret")),
            ("absolute-loop", inside.join("absolute-loop")),
            ("absolute-neighbour", dir.path().join("inside-too/secret")),
        ] {
            symlink(target, inside.join(link)).unwrap();
        }
        fs::create_dir(dir.path().join("inside-too")).unwrap();
        fs::write(dir.path().join("inside-too/secret"), "").unwrap();
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
            ("absolute", "file"),
            ("sub/absolute-dir", "directory"),
            ("sub/absolute-dir/up-to-a", "file"),
            ("absolute-to-link", "file"),
            ("absolute-out", "nothing"),
            ("absolute-and-up", "nothing"),
            ("absolute-loop", "nothing"),
            ("absolute-neighbour", "nothing"),
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
        let first = root.current();
        fs::remove_file(&current).unwrap();
        root.follow_replacement();
        assert!(root.is_current(&first));
        assert_eq!(
            find(&root, "1"),
            "file",
            "while there is none, the old one stays"
        );
        symlink("2", &current).unwrap();
        root.follow_replacement();
        assert!(!root.is_current(&first));
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
