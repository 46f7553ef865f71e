//! Files that hold a secret and must survive a power cut: private, and written whole or not at all.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tracing::warn;
use uuid::Uuid;

/// Only the owner reads, writes and enters.
const PRIVATE_DIRECTORY: u32 = 0o700;
/// Only the owner reads and writes.
const PRIVATE_FILE: u32 = 0o600;
/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;
/// Middle of a temporary file's name; a random part follows.
const TEMPORARY: &str = ".tmp-";
/// A temporary file of this age belongs to a process that died while writing.
const ABANDONED_AFTER: Duration = Duration::from_hours(1);

/// Replaces `path` by `contents`: a reader, or a restart after a crash at any moment, finds the
/// old file or the new one, never a part. The file is 0600.
///
/// # Errors
/// Whatever the file system says; the old file is untouched then.
pub(super) fn write(path: &Path, contents: &[u8]) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    remove_abandoned(directory, name);
    let temporary = temporary_beside(directory, name);
    let written = write_new(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    // The rename itself lives in the directory, and is lost in a crash unless that is synced too.
    sync_directory(directory)
}

/// Makes `path` and what is missing above it, each directory 0700.
///
/// # Errors
/// Whatever the file system says.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_DIRECTORY)
        .create(path)?;
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => Ok(()),
    }
}

/// Makes a directory 0700 that holds no secret yet, so that there is nothing to warn of.
pub(super) fn make_private(directory: &Path) {
    // Where this is not allowed, `tighten` says so as soon as there is a secret.
    let _ = fs::set_permissions(directory, Permissions::from_mode(PRIVATE_DIRECTORY));
}

/// Takes the rights of group and others away from `path`, with a warning when there were any.
/// Where that is not allowed (a foreign owner, a read-only mount), the warning says what to do.
pub(super) fn tighten(path: &Path) {
    let Ok(metadata) = fs::metadata(path) else {
        return;
    };
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS == 0 {
        return;
    }
    let tightened = if metadata.is_dir() {
        PRIVATE_DIRECTORY
    } else {
        PRIVATE_FILE
    };
    let shown = path.display();
    match fs::set_permissions(path, Permissions::from_mode(tightened)) {
        Ok(()) => warn!("{shown}: permissions were {mode:04o}, made private ({tightened:04o})"),
        Err(error) => warn!(
            "{shown}: permissions are {mode:04o}, so others may read private keys, and cannot be \
             changed ({error}); run `chmod {tightened:04o} {shown}` as its owner"
        ),
    }
}

/// Renames a damaged file out of the way, under a name that tells when; answers the new path.
///
/// # Errors
/// Whatever the file system says.
pub(super) fn set_aside(path: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut number = seconds;
    let aside = loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".damaged-{number}"));
        let candidate = PathBuf::from(name);
        if !candidate.exists() {
            break candidate;
        }
        number += 1;
    };
    fs::rename(path, &aside)?;
    Ok(aside)
}

/// What a person can do about `error`, as the end of a sentence.
pub(super) fn remedy(error: &io::Error) -> String {
    let user = nix::unistd::geteuid();
    match error.kind() {
        io::ErrorKind::PermissionDenied => {
            format!("give the directory and its files to the user that runs unibody (uid {user}), or set tls.certs_dir elsewhere")
        }
        io::ErrorKind::ReadOnlyFilesystem => {
            "mount a writable volume there, or set tls.certs_dir elsewhere".to_owned()
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space on that disk".to_owned()
        }
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "a file stands where a directory is needed; move it away, or set tls.certs_dir elsewhere"
                .to_owned()
        }
        _ => "tls.certs_dir must be a directory that unibody can write".to_owned(),
    }
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE_FILE)
        .open(path)?;
    file.write_all(contents)?;
    file.sync_all()
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A name that no other writer uses: several instances may share the directory, and in
/// containers all of them may be process 1.
fn temporary_beside(directory: &Path, name: &OsStr) -> PathBuf {
    let mut temporary = name.to_owned();
    temporary.push(format!("{TEMPORARY}{}", Uuid::new_v4().simple()));
    directory.join(temporary)
}

fn remove_abandoned(directory: &Path, name: &OsStr) {
    let mut prefix = name.to_owned();
    prefix.push(TEMPORARY);
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for entry in entries.flatten() {
        let ours = entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(prefix.as_encoded_bytes());
        let age = entry
            .metadata()
            .and_then(|metadata| metadata.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok());
        if ours && age.is_some_and(|age| age > ABANDONED_AFTER) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_is_written_is_private_and_alone() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("a/b");
        create_directory(&directory).unwrap();
        let file = directory.join("key.pem");
        write(&file, b"one").unwrap();
        write(&file, b"two").unwrap();
        assert_eq!(fs::read(&file).unwrap(), b"two");
        assert_eq!(names(&directory), ["key.pem"]);
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(directory.parent().unwrap()), 0o700);
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_behind() {
        let root = tempfile::tempdir().unwrap();
        // A directory that is not empty cannot be renamed over.
        let target = root.path().join("target");
        fs::create_dir_all(target.join("inside")).unwrap();
        assert!(write(&target, b"new").is_err());
        assert_eq!(names(root.path()), ["target"]);
        assert_eq!(names(&target), ["inside"]);
    }

    #[test]
    fn leftovers_of_a_crash_go_but_not_those_of_another_writer() {
        let root = tempfile::tempdir().unwrap();
        let old = root.path().join("key.pem.tmp-old");
        let young = root.path().join("key.pem.tmp-young");
        let foreign = root.path().join("other.pem");
        for path in [&old, &young, &foreign] {
            fs::write(path, b"half").unwrap();
        }
        let long_ago = SystemTime::now() - 2 * ABANDONED_AFTER;
        for path in [&old, &foreign] {
            let file = File::options().write(true).open(path).unwrap();
            file.set_modified(long_ago).unwrap();
        }
        write(&root.path().join("key.pem"), b"whole").unwrap();
        assert_eq!(
            names(root.path()),
            ["key.pem", "key.pem.tmp-young", "other.pem"]
        );
    }

    #[test]
    fn looser_permissions_are_tightened() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("directory");
        let file = root.path().join("file");
        fs::create_dir(&directory).unwrap();
        fs::write(&file, b"").unwrap();
        let cases = [
            (&directory, 0o755, 0o700),
            (&directory, 0o700, 0o700),
            (&directory, 0o2770, 0o700),
            (&file, 0o644, 0o600),
            (&file, 0o640, 0o600),
            (&file, 0o400, 0o400),
        ];
        for (path, before, after) in cases {
            fs::set_permissions(path, Permissions::from_mode(before)).unwrap();
            tighten(path);
            assert_eq!(mode(path) & 0o777, after, "{path:?} {before:o}");
        }
    }

    #[test]
    fn two_damaged_files_are_both_kept() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pair.pem");
        let mut kept = Vec::new();
        for contents in [b"one", b"two"] {
            fs::write(&path, contents).unwrap();
            kept.push(set_aside(&path).unwrap());
        }
        assert!(!path.exists());
        assert_eq!(fs::read(&kept[0]).unwrap(), b"one");
        assert_eq!(fs::read(&kept[1]).unwrap(), b"two");
    }
}
