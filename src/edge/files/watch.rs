//! Watching directories for changes, with inotify.
//!
//! Watched are exactly the directories that the path of a kept file leads through, link by link,
//! and in each of them the names that matter. What happens to such a name (written to, replaced,
//! deleted, renamed, a link pointed elsewhere) ends the [`Freshness`] of all that depend on it.
//!
//! A crate that watches whole trees was not taken: it puts a watch on every directory below the
//! root and knows them by their paths, which links and renames make ambiguous.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use nix::sys::statfs::{self, FsType, Statfs};
use parking_lot::Mutex;

use super::root::Beneath;
use super::walk::Step;
use crate::edge::freshness::Freshness;

/// The directories that are watched.
pub(super) struct Watcher {
    inotify: Inotify,
    directories: Mutex<HashMap<WatchDescriptor, Names>>,
    /// Whether the owner was told that there can be no more watches.
    warned: AtomicBool,
}

/// What depends on the names of a directory.
type Names = HashMap<OsString, Vec<Freshness>>;

impl Watcher {
    /// A watcher, if the system has one left for us.
    pub(super) fn start() -> Option<Self> {
        match Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK) {
            Ok(inotify) => Some(Self {
                inotify,
                directories: Mutex::default(),
                warned: AtomicBool::new(false),
            }),
            Err(error) => {
                tracing::warn!(%error, "cannot watch static files: they are looked at every second; raise fs.inotify.max_user_instances");
                None
            }
        }
    }

    /// Ends `freshness` when something happens to the name of `step`. False where that cannot be
    /// watched.
    pub(super) fn watch(&self, root: &Beneath, step: Step<'_>, freshness: &Freshness) -> bool {
        // By the handle that files are opened by, not by a path that may lead elsewhere by now. The
        // dot lets the link in /proc be followed.
        let root = root.as_fd().as_raw_fd();
        let directory = PathBuf::from(format!("/proc/self/fd/{root}"))
            .join(step.directory)
            .join(".");
        if !statfs::statfs(&directory).is_ok_and(|found| tells_of_changes(&found)) {
            return false;
        }
        let mut directories = self.directories.lock();
        let descriptor = match self.inotify.add_watch(&directory, what_matters()) {
            Ok(descriptor) => descriptor,
            Err(error) => {
                self.warn(error);
                return false;
            }
        };
        let names = directories.entry(descriptor).or_default();
        let dependents = names.entry(step.name.to_owned()).or_default();
        // The steps to a file's neighbours are the same but for the last.
        if !dependents.last().is_some_and(|last| last.is(freshness)) {
            dependents.push(freshness.clone());
        }
        true
    }

    /// Waits for changes, no longer than `time`, and ends what depends on them.
    pub(super) fn wait(&self, time: Duration) {
        let timeout = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        let mut waiting = [PollFd::new(self.inotify.as_fd(), PollFlags::POLLIN)];
        // Interrupted or over, the events say so themselves.
        let _ = poll(&mut waiting, timeout);
        while let Ok(events) = self.inotify.read_events() {
            let mut directories = self.directories.lock();
            for event in events {
                tell(&mut directories, &event);
            }
        }
    }

    /// Lets go of watches that nothing depends on any more.
    pub(super) fn tidy(&self) {
        self.directories.lock().retain(|descriptor, names| {
            names.retain(|_, dependents| {
                dependents.retain(|freshness| !freshness.has_ended());
                !dependents.is_empty()
            });
            if names.is_empty() {
                // It fails where the directory is gone, and with it the watch.
                let _ = self.inotify.rm_watch(*descriptor);
            }
            !names.is_empty()
        });
    }

    fn warn(&self, error: Errno) {
        if error == Errno::ENOSPC && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "no watches left for static files: the others are looked at every second; raise fs.inotify.max_user_watches"
            );
        }
    }
}

/// Whether changes to the file behind `file` are told through its directory: on a disk of our own,
/// and if no other directory has a name for it.
pub(super) fn is_watchable(file: BorrowedFd<'_>, links: u64) -> bool {
    links == 1 && statfs::fstatfs(file).is_ok_and(|found| tells_of_changes(&found))
}

/// Whether the file system tells of all changes: those that others make to a network's or a
/// hypervisor's file system are not told. One that is not known is taken for such.
fn tells_of_changes(found: &Statfs) -> bool {
    let FsType(kind) = found.filesystem_type();
    // Of the type that this system's numbers have.
    let (f2fs, zfs, bcachefs, ramfs) = (0xf2f5_2010, 0x2fc1_2fc1, 0xca45_1a4e, 0x8584_58f6);
    let known = [
        statfs::EXT4_SUPER_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        statfs::BTRFS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
        statfs::OVERLAYFS_SUPER_MAGIC,
    ];
    known.iter().any(|FsType(known)| *known == kind) || [f2fs, zfs, bcachefs, ramfs].contains(&kind)
}

fn what_matters() -> AddWatchFlags {
    use AddWatchFlags as Flags;
    Flags::IN_MODIFY
        | Flags::IN_CLOSE_WRITE
        | Flags::IN_ATTRIB
        | Flags::IN_CREATE
        | Flags::IN_DELETE
        | Flags::IN_MOVE
        | Flags::IN_DELETE_SELF
        | Flags::IN_MOVE_SELF
        | Flags::IN_ONLYDIR
}

fn tell(directories: &mut HashMap<WatchDescriptor, Names>, event: &InotifyEvent) {
    if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
        // Something was lost, and nobody knows what.
        for names in directories.values_mut() {
            end_all(names);
        }
        return;
    }
    let Some(names) = directories.get_mut(&event.wd) else {
        return;
    };
    match &event.name {
        Some(name) => end_one(names, name),
        None => end_all(names),
    }
    if event.mask.contains(AddWatchFlags::IN_IGNORED) {
        directories.remove(&event.wd);
    }
}

fn end_one(names: &mut Names, name: &OsStr) {
    for freshness in names.remove(name).into_iter().flatten() {
        freshness.end();
    }
}

fn end_all(names: &mut Names) {
    for (_, dependents) in names.drain() {
        for freshness in dependents {
            freshness.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::super::root::Root;
    use super::*;

    struct Scene {
        directory: tempfile::TempDir,
        root: Root,
        watcher: Watcher,
    }

    impl Scene {
        /// `a/b.txt`, a link `to-a` to its directory, and `other/b.txt`.
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let at = |path: &str| directory.path().join(path);
            for path in ["a", "other"] {
                fs::create_dir(at(path)).unwrap();
                fs::write(at(path).join("b.txt"), "b").unwrap();
            }
            symlink("a", at("to-a")).unwrap();
            Self {
                root: Root::open(directory.path()).unwrap(),
                watcher: Watcher::start().unwrap(),
                directory,
            }
        }

        fn at(&self, path: &str) -> PathBuf {
            self.directory.path().join(path)
        }

        fn watch(&self, path: &str) -> Freshness {
            let freshness = Freshness::until_ended();
            let root = self.root.current();
            root.follow(Path::new(path), |step| {
                assert!(self.watcher.watch(&root, step, &freshness), "{path}");
            });
            freshness
        }
    }

    #[test]
    fn whatever_happens_on_the_way_to_a_file_is_told() {
        type Change = fn(&Scene);
        let write: Change = |scene| fs::write(scene.at("a/b.txt"), "c").unwrap();
        let replace: Change =
            |scene| fs::rename(scene.at("other/b.txt"), scene.at("a/b.txt")).unwrap();
        let remove: Change = |scene| fs::remove_file(scene.at("a/b.txt")).unwrap();
        let touch: Change = |scene| {
            let file = fs::File::open(scene.at("a/b.txt")).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        let rename_directory: Change = |scene| fs::rename(scene.at("a"), scene.at("c")).unwrap();
        let replace_directory: Change = |scene| {
            fs::rename(scene.at("a"), scene.at("c")).unwrap();
            fs::rename(scene.at("other"), scene.at("a")).unwrap();
        };
        let point_elsewhere: Change = |scene| {
            symlink("other", scene.at("new")).unwrap();
            fs::rename(scene.at("new"), scene.at("to-a")).unwrap();
        };
        let neighbour: Change = |scene| fs::write(scene.at("a/c.txt"), "c").unwrap();
        let read: Change = |scene| drop(fs::read(scene.at("a/b.txt")).unwrap());
        for (name, change, direct, through_link) in [
            ("write", write, true, true),
            ("replace", replace, true, true),
            ("remove", remove, true, true),
            ("touch", touch, true, true),
            ("rename the directory", rename_directory, true, true),
            ("replace the directory", replace_directory, true, true),
            ("point the link elsewhere", point_elsewhere, false, true),
            ("make a neighbour", neighbour, false, false),
            ("read", read, false, false),
        ] {
            let scene = Scene::new();
            let watched = [scene.watch("a/b.txt"), scene.watch("to-a/b.txt")];
            scene.watcher.wait(Duration::ZERO);
            assert!(watched.iter().all(Freshness::is_fresh), "{name}: before");
            change(&scene);
            scene.watcher.wait(Duration::ZERO);
            let ended = watched.each_ref().map(Freshness::has_ended);
            assert_eq!(ended, [direct, through_link], "{name}");
        }
    }

    #[test]
    fn what_is_not_there_yet_can_be_waited_for() {
        let scene = Scene::new();
        let sidecar = scene.watch("to-a/b.txt.gz");
        fs::write(scene.at("a/b.txt.gz"), "").unwrap();
        scene.watcher.wait(Duration::ZERO);
        assert!(sidecar.has_ended());
    }

    #[test]
    fn watches_that_nobody_needs_are_let_go() {
        let scene = Scene::new();
        let (kept, dropped) = (scene.watch("a/b.txt"), scene.watch("other/b.txt"));
        let watched = || scene.watcher.directories.lock().len();
        assert_eq!(watched(), 3, "the root and two directories");
        dropped.end();
        scene.watcher.tidy();
        assert_eq!(watched(), 2);
        fs::write(scene.at("a/b.txt"), "c").unwrap();
        scene.watcher.wait(Duration::ZERO);
        assert!(kept.has_ended(), "the others still work");
        scene.watcher.tidy();
        assert_eq!(watched(), 0);
        let again = scene.watch("a/b.txt");
        fs::write(scene.at("a/b.txt"), "d").unwrap();
        scene.watcher.wait(Duration::ZERO);
        assert!(again.has_ended(), "and can be made again");
    }

    #[test]
    fn lost_events_end_everything() {
        let scene = Scene::new();
        let watched = [scene.watch("a/b.txt"), scene.watch("other/b.txt")];
        let event = InotifyEvent {
            wd: *scene.watcher.directories.lock().keys().next().unwrap(),
            mask: AddWatchFlags::IN_Q_OVERFLOW,
            cookie: 0,
            name: None,
        };
        tell(&mut scene.watcher.directories.lock(), &event);
        assert!(watched.iter().all(Freshness::has_ended));
    }

    #[test]
    fn what_others_may_change_unseen_is_not_watched() {
        let scene = Scene::new();
        let path = scene.at("a/b.txt");
        let file = fs::File::open(&path).unwrap();
        assert!(is_watchable(file.as_fd(), 1));
        assert!(!is_watchable(file.as_fd(), 2), "another name for it");
        let virtual_file = fs::File::open("/proc/self/status").unwrap();
        assert!(!is_watchable(virtual_file.as_fd(), 1), "no disk's");
    }
}
