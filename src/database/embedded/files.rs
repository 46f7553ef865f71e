//! Files beside the cluster, written so that neither a crash nor another user spoils them.
//!
//! SECURITY: run by root, unibody writes into directories that may belong to another user. So it
//! follows no symbolic link at the end of a path and creates nothing over what exists.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;

/// Most bytes of the server's log before it moves to `postgres.log.1`.
const LOG_LIMIT: u64 = 10 * 1024 * 1024;

/// Replaces `path` in one step, with these permissions. Returns whether anything changed.
pub(super) fn replace(path: &Path, content: &str, mode: u32) -> io::Result<bool> {
    if read(path).is_ok_and(|current| current == content) {
        return Ok(false);
    }
    let temporary = path.with_added_extension("tmp");
    remove(&temporary)?;
    create(&temporary, content, mode)?;
    fs::rename(&temporary, path)?;
    sync_parent(path)?;
    Ok(true)
}

/// Makes a file that doesn't exist yet, durably.
pub(super) fn create(path: &Path, content: &str, mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    // The mode given to open is subject to the umask, in both directions of surprise.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(content.as_bytes())?;
    file.sync_all()?;
    Ok(file)
}

/// Reads a file that is no symbolic link.
pub(super) fn read(path: &Path) -> io::Result<String> {
    let mut content = String::new();
    OpenOptions::new()
        .read(true)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?
        .read_to_string(&mut content)?;
    Ok(content)
}

/// Removes a file that may be absent.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes a rename or a creation in `path`'s directory survive a power failure.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Opens or makes a private file of ours that only grows.
pub(super) fn open_to_append(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
}

/// The last `limit` bytes of the log at `path`, for an error message.
pub(super) fn tail(path: &Path, limit: u64) -> String {
    let read = || -> io::Result<String> {
        let mut file = open_to_append(path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(limit)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    };
    read().unwrap_or_default()
}

/// Keeps the log at `path` below [`LOG_LIMIT`], with one predecessor. The server goes on writing to
/// the same file, so it is copied and emptied; a line written in between may be lost.
pub(super) fn trim_log(path: &Path) -> io::Result<()> {
    let mut log = open_to_append(path)?;
    if log.metadata()?.size() <= LOG_LIMIT {
        return Ok(());
    }
    let old = path.with_added_extension("1");
    remove(&old)?;
    let mut copy = create(&old, "", 0o600)?;
    io::copy(&mut log, &mut copy)?;
    log.set_len(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_only_if_it_differs() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("postgres.conf");
        assert!(replace(&path, "a", 0o644).unwrap(), "made");
        assert!(!replace(&path, "a", 0o644).unwrap(), "the same");
        assert!(replace(&path, "b", 0o644).unwrap(), "changed");
        assert_eq!(read(&path).unwrap(), "b");
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o644);
    }

    #[test]
    fn symbolic_links_are_not_followed() {
        let root = tempfile::tempdir().unwrap();
        let (victim, link) = (root.path().join("victim"), root.path().join("link"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, &link).unwrap();
        assert!(create(&link, "x", 0o600).is_err());
        assert!(open_to_append(&link).is_err());
        assert!(read(&link).is_err());
        replace(&link, "ours", 0o600).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(read(&link).unwrap(), "ours");
    }

    #[test]
    fn the_log_stays_bounded() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("postgres.log");
        let mut log = open_to_append(&path).unwrap();
        log.set_len(LOG_LIMIT).unwrap();
        trim_log(&path).unwrap();
        assert_eq!(log.metadata().unwrap().len(), LOG_LIMIT, "not yet");
        log.write_all(b"last words").unwrap();
        trim_log(&path).unwrap();
        assert_eq!(log.metadata().unwrap().len(), 0);
        log.write_all(b"new").unwrap();
        assert_eq!(
            fs::read(&path).unwrap(),
            b"new",
            "the writer goes on at the start"
        );
        assert!(tail(&root.path().join("postgres.log.1"), 10).ends_with("last words"));
    }
}
