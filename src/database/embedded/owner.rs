//! Whose processes and files the cluster's are.
//!
//! PostgreSQL refuses to run as root. Run by root, unibody gives the cluster, and only it, to the
//! owner of the data directory, or to the system's `postgres` user.

use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use nix::unistd::{Gid, Uid, User};

/// The user that owns and runs the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Owner {
    /// The one we are.
    Ourselves,
    /// Another one: we are root.
    Other {
        /// User id.
        uid: u32,
        /// Group id.
        gid: u32,
    },
}

impl Owner {
    /// Who owns the cluster in `data_dir`, or shall own it.
    ///
    /// # Errors
    /// When the files belong to somebody else, or when root finds nobody to give them to.
    pub(super) fn decide(data_dir: &Path, cluster: &Path) -> anyhow::Result<Self> {
        let us = Uid::effective();
        let cluster_owner = cluster.metadata().ok();
        if !us.is_root() {
            if let Some(metadata) = cluster_owner
                && metadata.uid() != us.as_raw()
            {
                bail!(
                    "{} belongs to user {}, and this process is user {us}: run unibody as that user \
                     or as root, or chown -R the directory",
                    cluster.display(),
                    metadata.uid()
                );
            }
            return Ok(Self::Ourselves);
        }
        let data_dir_owner = data_dir.metadata().ok();
        for metadata in [cluster_owner, data_dir_owner].into_iter().flatten() {
            if metadata.uid() != 0 {
                return Ok(Self::Other {
                    uid: metadata.uid(),
                    gid: metadata.gid(),
                });
            }
        }
        let postgres = User::from_name("postgres").context("the user database can't be read")?;
        let Some(user) = postgres else {
            bail!(
                "PostgreSQL refuses to run as root, and there is no user `postgres` to run it as: \
                 create one (useradd --system postgres), or start unibody as another user, or chown \
                 {} to the user that shall run it",
                data_dir.display()
            );
        };
        Ok(Self::Other {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
        })
    }

    /// Makes `command` run as this user.
    pub(super) fn run(&self, command: &mut Command) {
        if let Self::Other { uid, gid } = self {
            // The standard library drops root's supplementary groups along with the uid.
            command.uid(*uid).gid(*gid);
        }
    }

    /// Gives a file or directory that we made to this user.
    pub(super) fn give(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Ourselves => Ok(()),
            Self::Other { uid, gid } => chown(path, Some(*uid), Some(*gid)),
        }
    }

    /// The numeric user id.
    pub(super) fn uid(&self) -> u32 {
        match self {
            Self::Ourselves => Uid::effective().as_raw(),
            Self::Other { uid, .. } => *uid,
        }
    }

    /// Checks that this user can reach `directory` through all its parents.
    ///
    /// # Errors
    /// Names the first directory that is closed, and the remedy.
    pub(super) fn check_reach(&self, directory: &Path) -> anyhow::Result<()> {
        let (uid, gid) = match self {
            Self::Ourselves => (Uid::effective().as_raw(), Gid::effective().as_raw()),
            Self::Other { uid, gid } => (*uid, *gid),
        };
        let mut parents: Vec<_> = directory.ancestors().collect();
        parents.reverse();
        for parent in parents {
            let metadata = parent
                .metadata()
                .with_context(|| format!("{} can't be examined", parent.display()))?;
            let owner = (metadata.uid(), metadata.gid());
            if !may_enter(metadata.mode(), owner, (uid, gid)) {
                bail!(
                    "the database runs as user {uid}, who can't enter {0}: allow it (chmod o+x {0}), \
                     or set server.data_dir to a place like /var/lib/unibody",
                    parent.display()
                );
            }
        }
        Ok(())
    }
}

/// Whether the execute bit that counts is set. Supplementary groups don't count: they are dropped.
fn may_enter(mode: u32, (owner, group): (u32, u32), (uid, gid): (u32, u32)) -> bool {
    if uid == 0 {
        return true;
    }
    let bit = if owner == uid {
        0o100
    } else if group == gid {
        0o010
    } else {
        0o001
    };
    mode & bit != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_class_that_applies_decides_who_may_enter() {
        let (root, us, others) = ((0, 0), (7, 7), (8, 8));
        let table = [
            (0o700, root, us, false, "/root"),
            (0o755, root, us, true, "/var"),
            (0o711, root, us, true, "search without reading"),
            (0o700, us, us, true, "our own"),
            (0o077, us, us, false, "the owner's bits count for the owner"),
            (0o710, (8, 7), us, true, "by group"),
            (
                0o701,
                (8, 7),
                us,
                false,
                "the group's bits count for the group",
            ),
            (0o700, others, (0, 0), true, "root enters everywhere"),
        ];
        for (mode, owner, who, expected, why) in table {
            assert_eq!(may_enter(mode, owner, who), expected, "{why}");
        }
    }

    #[test]
    fn a_closed_parent_is_named_with_the_remedy() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        let inner = closed.join("data");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Owner::Other {
            uid: 54321,
            gid: 54321,
        };
        let message = stranger.check_reach(&inner).unwrap_err().to_string();
        assert!(
            message.contains(&format!("chmod o+x {}", closed.display())),
            "{message}"
        );
        std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o711)).unwrap();
        std::fs::set_permissions(&inner, std::fs::Permissions::from_mode(0o711)).unwrap();
        stranger.check_reach(&inner).unwrap();
    }
}
