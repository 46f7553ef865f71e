//! The directories that are written to: whether they can be, and whether they last.
//!
//! Nothing is written to find out. A directory that is not there yet is judged by the one it would
//! be made in.

use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statfs::{Statfs, statfs};
use nix::unistd::{AccessFlags, faccessat, geteuid};

use super::finding::Finding;
use crate::config::{Config, TlsMode};

const MEBIBYTE: u64 = 1024 * 1024;
/// Less than this holds no new certificate, and PostgreSQL stops.
const FULL: u64 = MEBIBYTE;
/// A busy database writes this much before anybody looks.
const SCARCE: u64 = 256 * MEBIBYTE;

/// What there is to know of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Facts {
    /// What is there instead, or why it cannot be written.
    obstacle: Option<Obstacle>,
    /// The file system it is, or would be, on.
    volatile: Option<&'static str>,
    /// Bytes left for us.
    free: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Obstacle {
    /// This is there, and is no directory.
    NoDirectory(PathBuf),
    /// This cannot be written, for this reason.
    Refused(PathBuf, Errno),
}

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let keeps_certificates = matches!(config.tls.mode, TlsMode::SelfSigned | TlsMode::Acme);
    let certs = keeps_certificates.then_some(("tls.certs_dir", &config.tls.certs_dir));
    let data = config
        .embeds_database()
        .then_some(("server.data_dir", &config.server.data_dir));
    certs
        .into_iter()
        .chain(data)
        .flat_map(|(key, path)| judge(key, path, &facts(path)))
        .collect()
}

fn judge(key: &str, path: &Path, facts: &Facts) -> Vec<Finding> {
    let name = format!("{key} = {}", path.display());
    match &facts.obstacle {
        Some(Obstacle::NoDirectory(obstacle)) => {
            return vec![Finding::fail(
                format!("{name}: {} is not a directory", obstacle.display()),
                format!("move it away, or change {key}"),
            )];
        }
        Some(Obstacle::Refused(obstacle, errno)) => {
            let remedy = match errno {
                Errno::EROFS => format!("mount it writable, or change {key}"),
                _ => format!(
                    "give it to the user that runs unibody (uid {}), or change {key}",
                    geteuid()
                ),
            };
            let why = errno.desc();
            return vec![Finding::fail(
                format!("{name}: {} cannot be written ({why})", obstacle.display()),
                remedy,
            )];
        }
        None => {}
    }
    let mut findings = Vec::new();
    if let Some(kind) = facts.volatile {
        findings.push(Finding::warn(
            format!("{name}: lies on {kind}, and is lost with the container or at the next boot"),
            format!("mount a volume there, or change {key}"),
        ));
    }
    match facts.free {
        Some(free) if free < FULL => findings.push(Finding::fail(
            format!("{name}: the disk is full"),
            "make room",
        )),
        Some(free) if free < SCARCE => findings.push(Finding::warn(
            format!("{name}: {} MiB are left on the disk", free / MEBIBYTE),
            "make room before it is full",
        )),
        _ => {}
    }
    if findings.is_empty() {
        findings.push(Finding::ok(format!("{name}: can be written, and lasts")));
    }
    findings
}

fn facts(path: &Path) -> Facts {
    let existing = existing(path);
    let obstacle = if existing.is_dir() {
        let needed = AccessFlags::W_OK | AccessFlags::X_OK;
        faccessat(AT_FDCWD, &existing, needed, AtFlags::AT_EACCESS)
            .err()
            .map(|errno| Obstacle::Refused(existing.clone(), errno))
    } else {
        Some(Obstacle::NoDirectory(existing.clone()))
    };
    let volume = statfs(&existing).ok();
    Facts {
        obstacle,
        volatile: volume.as_ref().and_then(volatile),
        free: volume.as_ref().map(free),
    }
}

/// `path`, or what of it is there.
fn existing(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let there = absolute
        .ancestors()
        // A link to nowhere is there, too, and in the way.
        .find(|ancestor| ancestor.symlink_metadata().is_ok());
    there.unwrap_or(Path::new("/")).to_owned()
}

#[cfg(target_os = "linux")]
fn volatile(volume: &Statfs) -> Option<&'static str> {
    use nix::sys::statfs::{OVERLAYFS_SUPER_MAGIC, TMPFS_MAGIC};

    match volume.filesystem_type() {
        OVERLAYFS_SUPER_MAGIC => Some("a container's own layer (overlay)"),
        TMPFS_MAGIC => Some("memory (tmpfs)"),
        _ => None,
    }
}

#[cfg(not(target_os = "linux"))]
fn volatile(_: &Statfs) -> Option<&'static str> {
    None
}

// The width of these numbers differs between systems.
#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    clippy::cast_sign_loss
)]
fn free(volume: &Statfs) -> u64 {
    u64::from(volume.blocks_available()).saturating_mul(volume.block_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::*;

    #[test]
    fn directories_are_judged() {
        let good = Facts {
            obstacle: None,
            volatile: None,
            free: Some(SCARCE),
        };
        let refused = |errno| Facts {
            obstacle: Some(Obstacle::Refused("/srv".into(), errno)),
            ..good.clone()
        };
        let table = [
            (good.clone(), &[(Grade::Ok, "lasts")][..]),
            (
                Facts {
                    obstacle: Some(Obstacle::NoDirectory("/srv".into())),
                    ..good.clone()
                },
                &[(Grade::Fail, "/srv is not a directory")],
            ),
            (refused(Errno::EACCES), &[(Grade::Fail, "give it to")]),
            (refused(Errno::EROFS), &[(Grade::Fail, "mount it writable")]),
            (
                Facts {
                    volatile: Some("memory"),
                    free: Some(SCARCE - 1),
                    ..good.clone()
                },
                &[(Grade::Warn, "mount a volume"), (Grade::Warn, "255 MiB")],
            ),
            (
                Facts {
                    free: Some(0),
                    ..good.clone()
                },
                &[(Grade::Fail, "full")],
            ),
            (Facts { free: None, ..good }, &[(Grade::Ok, "lasts")]),
        ];
        for (facts, expected) in table {
            let findings = judge("tls.certs_dir", Path::new("/srv/certs"), &facts);
            assert_eq!(findings.len(), expected.len(), "{facts:?}");
            for (finding, (grade, text)) in findings.iter().zip(expected) {
                assert_eq!(finding.grade, *grade, "{facts:?}");
                assert!(finding.line(false).contains(text), "{finding:?}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_judged_by_where_it_would_be() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        std::fs::write(&file, "").unwrap();
        let obstacle = |path: &Path| facts(path).obstacle;
        assert_eq!(obstacle(&root.path().join("a/b/c")), None);
        let in_the_way = Some(Obstacle::NoDirectory(file.clone()));
        assert_eq!(obstacle(&file), in_the_way);
        assert_eq!(obstacle(&file.join("below")), in_the_way);
        let dangling = root.path().join("dangling");
        std::os::unix::fs::symlink("nowhere", &dangling).unwrap();
        assert_eq!(obstacle(&dangling), Some(Obstacle::NoDirectory(dangling)));
    }
}
