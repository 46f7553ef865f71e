//! What the system tells of the names on the way to a file.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::way::{Step, way_to};

/// The names on the way, watched; what happens to them waits until somebody listens.
pub(super) struct Unheard {
    inotify: Inotify,
    steps: HashMap<WatchDescriptor, Vec<Step>>,
}

/// The same, listened to.
pub(super) struct Notices {
    inotify: AsyncFd<Raw>,
    steps: HashMap<WatchDescriptor, Vec<Step>>,
}

struct Raw(Inotify);

impl Unheard {
    pub(super) fn of(path: &Path) -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        let mut steps: HashMap<_, Vec<Step>> = HashMap::new();
        let happenings = AddWatchFlags::IN_CLOSE_WRITE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_ONLYDIR;
        for step in way_to(path) {
            let descriptor = inotify.add_watch(&step.directory, happenings)?;
            steps.entry(descriptor).or_default().push(step);
        }
        // A file that is mounted by itself is written to through another directory.
        let _ = inotify.add_watch(path, AddWatchFlags::IN_CLOSE_WRITE);
        Ok(Self { inotify, steps })
    }

    /// Must be called within a tokio runtime.
    pub(super) fn listen(self) -> nix::Result<Notices> {
        #[expect(
            deprecated,
            reason = "the successor is unsafe, for types that don't own their descriptor; this one does"
        )]
        let inotify = AsyncFd::with_interest(Raw(self.inotify), Interest::READABLE);
        Ok(Notices {
            inotify: inotify.map_err(|_| nix::Error::EMFILE)?,
            steps: self.steps,
        })
    }
}

impl Notices {
    /// Resolves when something has happened to one of the names.
    pub(super) async fn next(&self) {
        loop {
            // The descriptor is open for as long as this lives.
            let Ok(mut ready) = self.inotify.readable().await else {
                return std::future::pending().await;
            };
            let mut matters = false;
            while let Ok(events) = self.inotify.get_ref().0.read_events() {
                matters = matters || events.iter().any(|event| self.matters(event));
            }
            ready.clear_ready();
            if matters {
                return;
            }
        }
    }

    fn matters(&self, event: &InotifyEvent) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return true;
        }
        let (Some(name), Some(watched)) = (&event.name, self.steps.get(&event.wd)) else {
            return event.mask.contains(AddWatchFlags::IN_CLOSE_WRITE);
        };
        let mut watched = watched.iter();
        watched.any(|step| {
            // What was just created is still to be written, unless it is a link: read now, an empty
            // file would mean that everything has its default.
            let is_whole = !event.mask.contains(AddWatchFlags::IN_CREATE)
                || step.directory.join(&step.name).is_symlink();
            step.name == *name && is_whole
        })
    }
}

impl AsRawFd for Raw {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
