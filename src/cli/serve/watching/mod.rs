//! Noticing that the configuration file is another than it was (`server.watch_config`).
//!
//! What is looked at is decided by events, what they mean by the file's content: whoever writes it,
//! moves another to its place or turns a link on the way to it (as Kubernetes does with a directory),
//! the file reads differently afterwards. A file that is being written is not read: its end is an
//! event of its own. One that is not there at the moment is waited for.

mod notices;
mod way;

use std::path::{Path, PathBuf};

use anyhow::Context;

use self::notices::{Notices, Unheard};
use crate::config::Config;

/// The configuration file, watched if that is wanted.
pub(super) struct Watching(Option<Watch>);

/// The file at a moment, and what happens to it from then on.
pub(super) struct Look {
    path: PathBuf,
    /// `None` if it was not there.
    content: Option<Vec<u8>>,
    /// Fails where nobody may want it, so that is told to who does.
    notices: nix::Result<Unheard>,
}

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

impl Look {
    /// Looks at the file. To be done before the configuration is read, so that nothing that happens
    /// afterwards is missed.
    ///
    /// # Errors
    /// The working directory is gone.
    pub(super) fn at(path: &Path) -> anyhow::Result<Self> {
        let path = std::path::absolute(path).context("the working directory is gone")?;
        Ok(Self {
            notices: Unheard::of(&path),
            content: std::fs::read(&path).ok(),
            path,
        })
    }
}

impl Watching {
    /// Watches the file since `look`, if `config` wants it. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no watches left.
    pub(super) fn since(look: Look, config: &Config) -> anyhow::Result<Self> {
        let watch = config.server.watch_config.then(|| Watch::start(look));
        Ok(Self(watch.transpose()?))
    }

    /// Goes on as another configuration wants it, which was read after `look`.
    pub(super) fn follow(&mut self, look: anyhow::Result<Look>, config: &Config) {
        if self.0.is_some() == config.server.watch_config {
            return;
        }
        match look.and_then(|look| Self::since(look, config)) {
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
    /// Watches the file since `look`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The system has no watches left.
    fn start(look: Look) -> anyhow::Result<Self> {
        let Look {
            path,
            content,
            notices,
        } = look;
        let notices = notices.and_then(Unheard::listen).with_context(|| {
            format!(
                "cannot watch {} (server.watch_config); raise fs.inotify.max_user_instances and max_user_watches",
                path.display()
            )
        })?;
        Ok(Self {
            path,
            seen: content,
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
            match Unheard::of(&self.path).and_then(Unheard::listen) {
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const NO_EVENT: Duration = Duration::from_millis(200);
    const PATIENCE: Duration = Duration::from_secs(20);

    /// Something done in the directory of the file.
    type Change = fn(&Path);

    /// A file of "a" that is watched, in its directory.
    fn watched() -> (tempfile::TempDir, Watch) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "a").unwrap();
        let watching = Watch::start(Look::at(&path).unwrap()).unwrap();
        (dir, watching)
    }

    #[tokio::test]
    async fn whoever_changes_the_file_is_noticed_once() {
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
            let (dir, mut watching) = watched();
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
    async fn what_changes_after_the_look_is_noticed_once_it_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        fs::write(&path, "a").unwrap();
        let look = Look::at(&path).unwrap();
        // The server reads the file now, or has just read it.
        fs::write(&path, "b").unwrap();
        let mut watching = Watch::start(look).unwrap();
        timeout(PATIENCE, watching.changed()).await.unwrap();
        assert_eq!(watching.seen.as_deref(), Some(&b"b"[..]));
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
        let mut watching = Watch::start(Look::at(&at("config.toml")).unwrap()).unwrap();
        for (name, before, content) in [("..2", "..1", "b"), ("..3", "..2", "c")] {
            version(name, content);
            fs::remove_dir_all(at(before)).unwrap();
            timeout(PATIENCE, watching.changed()).await.unwrap();
            assert_eq!(watching.seen.as_deref(), Some(content.as_bytes()));
        }
    }

    #[tokio::test]
    async fn what_changes_nothing_is_not_noticed() {
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
            let (dir, mut watching) = watched();
            change(dir.path());
            assert!(
                timeout(NO_EVENT, watching.changed()).await.is_err(),
                "{why}"
            );
        }
    }
}
