//! Where the server listens: a directory of its own, with a path short enough for a unix socket.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use tracing::info;

use super::owner::Owner;

/// Bytes a socket's path may have without its final NUL: the size of `sun_path`, less one.
const PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };

/// What PostgreSQL adds to the directory.
const SOCKET_NAME: &str = "/.s.PGSQL.5432";

/// `data_dir/postgres.socket`, or a short place with a stable name; made if it is not there.
pub(super) fn directory(data_dir: &Path, owner: &Owner) -> anyhow::Result<PathBuf> {
    let near = data_dir.join("postgres.socket");
    let chosen = if fits(&near) {
        near
    } else {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| *owner == Owner::Ourselves);
        let places = [
            runtime.map(PathBuf::from),
            Some(std::env::temp_dir()),
            Some("/tmp".into()),
        ];
        let short = far(data_dir, places.into_iter().flatten())?;
        info!(
            "the path of {} is too long for a unix socket: using {}",
            near.display(),
            short.display()
        );
        short
    };
    make(&chosen, owner)?;
    Ok(chosen)
}

/// The file by which a server keeps others off its socket.
pub(super) fn lock(directory: &Path) -> PathBuf {
    directory.join(format!("{}.lock", &SOCKET_NAME[1..]))
}

/// Removes the directory of a server that has stopped, if it left nothing there.
pub(super) fn remove(directory: &Path) {
    // The next start makes it again, or finds it.
    let _ = fs::remove_dir(directory);
}

/// The first of `places` that is short enough, with a name that depends on `data_dir` alone.
fn far(data_dir: &Path, places: impl Iterator<Item = PathBuf>) -> anyhow::Result<PathBuf> {
    let name = format!(
        "unibody-{:016x}",
        hash(data_dir.as_os_str().as_encoded_bytes())
    );
    places
        .filter(|place| place.is_absolute())
        .map(|place| place.join(&name))
        .find(|directory| fits(directory))
        .context("no directory has a path short enough for a unix socket: shorten server.data_dir")
}

fn fits(directory: &Path) -> bool {
    directory.as_os_str().len() + SOCKET_NAME.len() <= PATH_LIMIT
}

/// SECURITY: in /tmp anybody could have made the directory, or a link, before us.
fn make(directory: &Path, owner: &Owner) -> anyhow::Result<()> {
    let shown = directory.display();
    match DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => owner
            .give(directory)
            .with_context(|| format!("{shown} can't be given to the database's user")),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let metadata = directory
                .symlink_metadata()
                .with_context(|| format!("{shown} can't be examined"))?;
            if !metadata.is_dir() || metadata.uid() != owner.uid() {
                bail!("{shown} is in the way: it belongs to somebody else; remove it");
            }
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700))
                .with_context(|| format!("{shown} can't be closed to others"))
        }
        Err(error) => Err(error).with_context(|| format!("{shown} can't be made")),
    }
}

/// FNV-1a: the name must stay the same from one release to the next.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_gets_a_short_place_with_a_stable_name() {
        let long = PathBuf::from(format!("/{}", "x".repeat(100)));
        let places = || [long.clone(), "relative".into(), "/tmp".into()].into_iter();
        let one = far(Path::new("/srv/one"), places()).unwrap();
        assert_eq!(one, far(Path::new("/srv/one"), places()).unwrap(), "stable");
        assert_ne!(
            one,
            far(Path::new("/srv/two"), places()).unwrap(),
            "distinct"
        );
        assert!(one.starts_with("/tmp") && fits(&one), "{}", one.display());
        assert!(
            far(Path::new("/srv/one"), [long].into_iter()).is_err(),
            "nowhere"
        );
    }

    #[test]
    fn the_limit_counts_the_whole_path() {
        let longest = PATH_LIMIT - SOCKET_NAME.len();
        let path = |length: usize| PathBuf::from(format!("/{}", "x".repeat(length - 1)));
        assert!(fits(&path(longest)));
        assert!(!fits(&path(longest + 1)));
    }

    #[test]
    fn a_link_in_the_way_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let link = root.path().join("link");
        std::os::unix::fs::symlink(root.path(), &link).unwrap();
        let message = make(&link, &Owner::Ourselves).unwrap_err().to_string();
        assert!(message.contains("in the way"), "{message}");
    }
}
