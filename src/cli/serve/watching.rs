//! Noticing that the configuration file is another than it was (`server.watch_config`).
//!
//! What is looked at is decided by events, what they mean by the file's content: whoever writes it,
//! moves another to its place or turns a link on the way to it (as Kubernetes does with a directory),
//! the file reads differently afterwards. A file that is being written is not read: its end is an
//! event of its own. One that is not there at the moment is waited for.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::config::Config;

/// Links on the way to a file; the system follows no more either.
const LINKS: usize = 40;

/// The configuration file, watched if that is wanted.
pub(super) struct Watching(Option<Watch>);

/// The configuration file, watched.
struct Watch {
    path: PathBuf,
    /// Content when it was looked at last; `None` if it was not there then.
    seen: Option<Vec<u8>>,
    /// Something has happened, and what it means was not looked at yet: whoever waits for changes may
    /// be called away in between.
    is_due: bool,
    notices: Notices,
}

/// The names that decide what a path leads to.
struct Notices {
    inotify: AsyncFd<Raw>,
    steps: HashMap<WatchDescriptor, Vec<Step>>,
}

struct Raw(Inotify);

/// One name on the way to a file.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    directory: PathBuf,
    name: OsString,
}

impl Watching {
    /// Watches the file at `path` from now on, if `config` wants it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no watches left.
    pub(super) fn of(path: &Path, config: &Config) -> anyhow::Result<Self> {
        let watch = config.server.watch_config.then(|| Watch::start(path));
        Ok(Self(watch.transpose()?))
    }

    /// Goes on as another configuration wants it.
    pub(super) fn follow(&mut self, path: &Path, config: &Config) {
        if self.0.is_some() == config.server.watch_config {
            return;
        }
        match Self::of(path, config) {
            Ok(watching) => *self = watching,
            Err(error) => tracing::error!("{error:#}"),
        }
    }

    /// Resolves when the file reads differently than before; never where it is not watched.
    pub(super) async fn changed(&mut self) {
        match &mut self.0 {
            Some(watch) => watch.changed().await,
            None => std::future::pending().await,
        }
    }
}

impl Watch {
    /// Watches the file from now on. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no watches left.
    fn start(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).context("the working directory is gone")?;
        let notices = Notices::of(&path).with_context(|| {
            format!(
                "cannot watch {} (server.watch_config); raise fs.inotify.max_user_instances and max_user_watches",
                path.display()
            )
        })?;
        Ok(Self {
            seen: std::fs::read(&path).ok(),
            path,
            is_due: false,
            notices,
        })
    }

    /// Resolves when the file reads differently than before.
    async fn changed(&mut self) {
        loop {
            if !self.is_due {
                self.notices.next().await;
                self.is_due = true;
            }
            // Before it is read: what happens from here on is noticed by the new watches, on a way
            // that may be another one now.
            match Notices::of(&self.path) {
                Ok(notices) => self.notices = notices,
                Err(error) => {
                    tracing::warn!(%error, "part of the way to the configuration file isn't watched");
                }
            }
            let content = tokio::fs::read(&self.path).await.ok();
            self.is_due = false;
            if content.is_some() && content != self.seen {
                self.seen = content;
                return;
            }
        }
    }
}

impl Notices {
    fn of(path: &Path) -> nix::Result<Self> {
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
        #[expect(
            deprecated,
            reason = "the successor is unsafe, for types that don't own their descriptor; this one does"
        )]
        let inotify = AsyncFd::with_interest(Raw(inotify), Interest::READABLE);
        let inotify = inotify.map_err(|_| nix::Error::EMFILE)?;
        Ok(Self { inotify, steps })
    }

    /// Resolves when something has happened to one of the names.
    async fn next(&self) {
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

/// Every name that decides what `path`, an absolute one, leads to: each link on the way, and the last.
fn way_to(path: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut reached = PathBuf::from("/");
    let mut ahead = reversed(path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == ".." {
            reached.pop();
            continue;
        }
        let next = reached.join(&name);
        let target = std::fs::read_link(&next).ok();
        if target.is_some() || ahead.is_empty() {
            steps.push(Step {
                directory: reached.clone(),
                name,
            });
        }
        match target {
            Some(target) => {
                links += 1;
                if links > LINKS {
                    break;
                }
                if target.is_absolute() {
                    reached = PathBuf::from("/");
                }
                ahead.extend(reversed(&target));
            }
            None => reached = next,
        }
    }
    steps
}

/// The names of `path`, the first one last.
fn reversed(path: &Path) -> Vec<OsString> {
    let name = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsStr::new("..").to_owned()),
        Component::CurDir | Component::RootDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const NO_EVENT: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn whoever_changes_the_file_is_noticed_once() {
        type Change = fn(&Path);
        let table: [(&str, Change); 6] = [
            ("written in place", |dir| {
                fs::write(dir.join("config.toml"), "b").unwrap();
            }),
            ("another in its place", |dir| {
                fs::write(dir.join("config.toml~"), "b").unwrap();
                fs::rename(dir.join("config.toml~"), dir.join("config.toml")).unwrap();
            }),
            ("away, and written anew", |dir| {
                fs::rename(dir.join("config.toml"), dir.join("config.toml.bak")).unwrap();
                fs::write(dir.join("config.toml"), "b").unwrap();
            }),
            ("a link in its place", |dir| {
                fs::write(dir.join("other"), "b").unwrap();
                fs::remove_file(dir.join("config.toml")).unwrap();
                symlink("other", dir.join("config.toml")).unwrap();
            }),
            ("the same again, and then another", |dir| {
                fs::write(dir.join("config.toml"), "a").unwrap();
                fs::write(dir.join("config.toml"), "b").unwrap();
            }),
            ("deleted, and written anew", |dir| {
                fs::remove_file(dir.join("config.toml")).unwrap();
                fs::write(dir.join("config.toml"), "b").unwrap();
            }),
        ];
        for (why, change) in table {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config.toml");
            fs::write(&path, "a").unwrap();
            let mut watching = Watch::start(&path).unwrap();
            change(dir.path());
            let noticed = timeout(PATIENCE, watching.changed()).await;
            assert!(noticed.is_ok(), "{why}");
            assert_eq!(watching.seen.as_deref(), Some(&b"b"[..]), "{why}");
            assert!(
                timeout(NO_EVENT, watching.changed()).await.is_err(),
                "{why}"
            );
        }
    }

    #[tokio::test]
    async fn a_mounted_directory_of_kubernetes_is_noticed_whenever_it_is_swapped() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let version = |name: &str, content: &str| {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("config.toml"), content).unwrap();
            symlink(name, at("..data_tmp")).unwrap();
            fs::rename(at("..data_tmp"), at("..data")).unwrap();
        };
        version("..1", "a");
        symlink("..data/config.toml", at("config.toml")).unwrap();
        let mut watching = Watch::start(&at("config.toml")).unwrap();
        for (name, before, content) in [("..2", "..1", "b"), ("..3", "..2", "c")] {
            version(name, content);
            fs::remove_dir_all(at(before)).unwrap();
            timeout(PATIENCE, watching.changed()).await.unwrap();
            assert_eq!(watching.seen.as_deref(), Some(content.as_bytes()));
        }
    }

    #[tokio::test]
    async fn what_changes_nothing_is_not_noticed() {
        type Change = fn(&Path);
        let table: [(&str, Change); 4] = [
            ("another file", |dir| {
                fs::write(dir.join("other"), "b").unwrap();
            }),
            ("the same content", |dir| {
                fs::write(dir.join("config.toml"), "a").unwrap();
            }),
            ("its end", |dir| {
                fs::remove_file(dir.join("config.toml")).unwrap();
            }),
            ("a write that has not ended", |dir| {
                use std::io::Write;
                let mut file = fs::File::create(dir.join("config.toml")).unwrap();
                file.write_all(b"b").unwrap();
                // Never closed.
                std::mem::forget(file);
            }),
        ];
        for (why, change) in table {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("config.toml");
            fs::write(&path, "a").unwrap();
            let mut watching = Watch::start(&path).unwrap();
            change(dir.path());
            assert!(
                timeout(NO_EVENT, watching.changed()).await.is_err(),
                "{why}"
            );
        }
    }

    #[test]
    fn the_way_to_a_file_has_every_link_and_the_last_name() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        fs::create_dir_all(top.join("a/b")).unwrap();
        fs::write(top.join("a/b/file"), "").unwrap();
        symlink("a", top.join("to-a")).unwrap();
        symlink("../to-a/b/file", top.join("a/link")).unwrap();
        symlink(top.join("a"), top.join("absolute")).unwrap();
        symlink("loop", top.join("loop")).unwrap();
        let table: [(&str, &[(&str, &str)]); 5] = [
            ("a/b/file", &[("a/b", "file")]),
            ("to-a/b/file", &[("", "to-a"), ("a/b", "file")]),
            ("a/link", &[("a", "link"), ("", "to-a"), ("a/b", "file")]),
            ("absolute/b/none", &[("", "absolute"), ("a/b", "none")]),
            ("a/../a/b/file", &[("a/b", "file")]),
        ];
        for (path, expected) in table {
            let steps = way_to(&top.join(path));
            let expected: Vec<_> = expected
                .iter()
                .map(|(directory, name)| Step {
                    directory: top.join(directory).components().collect(),
                    name: name.into(),
                })
                .collect();
            assert_eq!(steps, expected, "{path}");
        }
        assert_eq!(
            way_to(&top.join("loop")).len(),
            LINKS + 1,
            "and no end is no hang"
        );
    }
}
