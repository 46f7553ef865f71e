//! Certificates of our own making on disk, under `tls.certs_dir`.
//!
//! Every pair has a place, a directory such as `self-signed`, with two files:
//! - `pair.pem`: chain and key in one file, so that one rename replaces both. A crash at any
//!   moment leaves the old pair or the new one, never a chain with a foreign key.
//! - `certificate.pem`: the chain alone, for people to import where it shall be trusted. It is a
//!   copy that nothing reads, made again whenever it differs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use tracing::warn;

use super::durable;
use super::pair::Pair;

/// Chain and key together.
pub(super) const PAIR: &str = "pair.pem";
/// The chain without the key.
const CERTIFICATE: &str = "certificate.pem";
/// What may lie beside our places without making the directory somebody else's.
const OURS: [&str; 4] = [
    ".gitignore",
    "lost+found",
    super::self_signed::PLACE,
    super::acme::PLACE,
];

/// The directory `tls.certs_dir`.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

impl Store {
    /// Opens the directory and makes it when it is missing. Looser permissions than 0700 are
    /// tightened, unless files that are not ours lie there too: `/etc/ssl` must stay readable.
    ///
    /// # Errors
    /// When the directory can be neither found nor made; the message has the remedy.
    pub fn open(root: &Path) -> anyhow::Result<Self> {
        durable::create_directory(root).map_err(|error| unusable(root, "created", &error))?;
        if holds_only_ours(root) {
            // A fresh clone has the directory as git made it, with nothing in it but `.gitignore`.
            let places = [super::self_signed::PLACE, super::acme::PLACE];
            if places.iter().any(|place| root.join(place).exists()) {
                durable::tighten(root);
            } else {
                durable::make_private(root);
            }
        }
        Ok(Self {
            root: root.to_owned(),
        })
    }

    /// Reads the pair at `place`. A damaged file is set aside with a warning and counts as absent,
    /// because whoever asks can make a new one.
    ///
    /// # Errors
    /// When there is a file that cannot be read at all; the message has the remedy.
    pub fn load(&self, place: &str) -> anyhow::Result<Option<Pair>> {
        let directory = self.root.join(place);
        let path = directory.join(PAIR);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, "read", &error)),
        };
        durable::tighten(&directory);
        durable::tighten(&path);
        match Pair::parse(&text, &text) {
            Ok(pair) => {
                refresh_copy(&directory, &text);
                Ok(Some(pair))
            }
            Err(error) => {
                let shown = path.display();
                match durable::set_aside(&path) {
                    Ok(aside) => warn!("{shown}: {error}; kept as {}", aside.display()),
                    Err(failure) => warn!("{shown}: {error}; cannot be set aside ({failure})"),
                }
                Ok(None)
            }
        }
    }

    /// Reads the pair at `place` below `root` and changes nothing, whatever the state of it: for who
    /// only looks while a server may be at work there.
    ///
    /// # Errors
    /// When there is a file that cannot be read, or is no pair.
    pub fn look(root: &Path, place: &str) -> anyhow::Result<Option<Pair>> {
        let path = root.join(place).join(PAIR);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unusable(&path, "read", &error)),
        };
        let pair = Pair::parse(&text, &text);
        pair.map(Some).with_context(|| path.display().to_string())
    }

    /// Puts a pair (PEM, leaf first) at `place`, in place of the one before, and answers it as read.
    ///
    /// # Errors
    /// When chain and key are no pair, or the directory cannot be written; the pair before is
    /// still there then.
    pub fn save(&self, place: &str, chain: &str, key: &str) -> anyhow::Result<Pair> {
        let directory = self.root.join(place);
        let path = directory.join(PAIR);
        let pair = Pair::parse(chain.as_bytes(), key.as_bytes())
            .with_context(|| format!("{}: refusing to write it", path.display()))?;
        durable::create_directory(&directory)
            .map_err(|error| unusable(&directory, "created", &error))?;
        durable::tighten(&directory);
        let chain = chain.trim_end();
        let text = format!("{chain}\n{key}");
        durable::write(&path, text.as_bytes())
            .map_err(|error| unusable(&path, "written", &error))?;
        refresh_copy(&directory, text.as_bytes());
        Ok(pair)
    }

    /// Keeps the pair at `place` at `other` as well. One that is missing or damaged is not kept.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub fn copy(&self, place: &str, other: &str) -> anyhow::Result<()> {
        let Ok(text) = fs::read_to_string(self.root.join(place).join(PAIR)) else {
            return Ok(());
        };
        if Pair::parse(text.as_bytes(), text.as_bytes()).is_err() {
            return Ok(());
        }
        let chain = without_key(&text);
        self.save(other, chain, &text[chain.len()..]).map(drop)
    }
}

fn unusable(path: &Path, verb: &str, error: &io::Error) -> anyhow::Error {
    anyhow!(
        "{}: cannot be {verb} ({error}); {}",
        path.display(),
        durable::remedy(error)
    )
}

fn holds_only_ours(root: &Path) -> bool {
    fs::read_dir(root).is_ok_and(|mut entries| {
        entries.all(|entry| {
            entry.is_ok_and(|entry| OURS.iter().any(|ours| entry.file_name() == *ours))
        })
    })
}

/// Makes `certificate.pem` say what `pair.pem` does. It is a convenience: where it cannot be
/// written, serving goes on.
fn refresh_copy(directory: &Path, pair: &[u8]) {
    let path = directory.join(CERTIFICATE);
    let text = String::from_utf8_lossy(pair);
    let chain = without_key(&text);
    if fs::read(&path).is_ok_and(|present| present == chain.as_bytes()) {
        return;
    }
    if let Err(error) = durable::write(&path, chain.as_bytes()) {
        warn!("{}: cannot be written ({error})", path.display());
    }
}

/// SECURITY: what this answers is handed to other programs, so it ends before the first key.
fn without_key(text: &str) -> &str {
    let end = text
        .find("PRIVATE KEY-----")
        .and_then(|label| text[..label].rfind("-----BEGIN "));
    match end {
        Some(end) => &text[..end],
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::certificates::testing::{leaf, logged};

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn loosen(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_pair_is_read_as_it_was_saved() {
        let root = tempfile::tempdir().unwrap();
        let certs = root.path().join("deep/certs");
        let store = Store::open(&certs).unwrap();
        assert!(store.load("self-signed").unwrap().is_none());
        for _ in 0..2 {
            let leaf = leaf(&["a.test"]);
            let saved = store.save("self-signed", &leaf.chain, &leaf.key).unwrap();
            let loaded = store.load("self-signed").unwrap().unwrap();
            assert_eq!(saved.facts(), loaded.facts());
            let place = certs.join("self-signed");
            assert_eq!(
                fs::read_to_string(place.join(CERTIFICATE)).unwrap(),
                leaf.chain
            );
            for (path, expected) in [
                (certs.clone(), 0o700),
                (place.clone(), 0o700),
                (place.join(PAIR), 0o600),
                (place.join(CERTIFICATE), 0o600),
            ] {
                assert_eq!(mode(&path), expected, "{path:?}");
            }
        }
    }

    #[test]
    fn looser_permissions_are_tightened_when_read() {
        let root = tempfile::tempdir().unwrap();
        let place = root.path().join("self-signed");
        let store = Store::open(root.path()).unwrap();
        let leaf = leaf(&["a.test"]);
        store.save("self-signed", &leaf.chain, &leaf.key).unwrap();
        fs::write(root.path().join(".gitignore"), "*").unwrap();
        loosen(root.path(), 0o755);
        loosen(&place, 0o755);
        loosen(&place.join(PAIR), 0o644);

        Store::open(root.path())
            .unwrap()
            .load("self-signed")
            .unwrap()
            .unwrap();
        assert_eq!(mode(root.path()), 0o700);
        assert_eq!(mode(&place), 0o700);
        assert_eq!(mode(&place.join(PAIR)), 0o600);
    }

    #[test]
    fn a_warning_is_given_only_where_a_secret_was_open() {
        let root = tempfile::tempdir().unwrap();
        let leaf = leaf(&["a.test"]);
        let open = || {
            loosen(root.path(), 0o755);
            let lines = logged(|| drop(Store::open(root.path()).unwrap()));
            assert_eq!(mode(root.path()), 0o700);
            lines
        };
        assert_eq!(open(), "", "a fresh clone");
        let store = Store::open(root.path()).unwrap();
        store.save("self-signed", &leaf.chain, &leaf.key).unwrap();
        let lines = open();
        assert!(lines.contains("permissions were 0755"), "{lines}");
    }

    #[test]
    fn a_directory_shared_with_others_stays_open_to_them() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("ca-certificates.crt"), "").unwrap();
        loosen(root.path(), 0o755);
        let store = Store::open(root.path()).unwrap();
        let leaf = leaf(&["a.test"]);
        store.save("self-signed", &leaf.chain, &leaf.key).unwrap();
        assert_eq!(mode(root.path()), 0o755);
        assert_eq!(mode(&root.path().join("self-signed")), 0o700);
    }

    #[test]
    fn a_damaged_pair_counts_as_absent_and_is_kept_aside() {
        let (one, two) = (leaf(&["a.test"]), leaf(&["a.test"]));
        let whole = format!("{}{}", one.chain, one.key);
        let cases = [
            ("", "empty: the disk was full"),
            (&whole[..whole.len() / 2], "cut off"),
            (&one.chain, "the key is missing"),
            (&format!("{}{}", one.chain, two.key), "mixed"),
            ("\0\0\0\0", "zeros after a crash"),
        ];
        for (contents, why) in cases {
            let root = tempfile::tempdir().unwrap();
            let store = Store::open(root.path()).unwrap();
            let place = root.path().join("self-signed");
            fs::create_dir(&place).unwrap();
            fs::write(place.join(PAIR), contents).unwrap();

            assert!(store.load("self-signed").unwrap().is_none(), "{why}");
            let aside = fs::read_dir(&place).unwrap().next().unwrap().unwrap();
            assert!(
                aside
                    .file_name()
                    .to_string_lossy()
                    .starts_with("pair.pem.damaged-")
            );
            assert_eq!(fs::read_to_string(aside.path()).unwrap(), contents, "{why}");

            store.save("self-signed", &two.chain, &two.key).unwrap();
            let loaded = store.load("self-signed").unwrap().unwrap();
            assert_eq!(loaded.facts(), two.pair().facts());
        }
    }

    #[test]
    fn what_is_no_pair_never_replaces_one() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let (one, two) = (leaf(&["a.test"]), leaf(&["a.test"]));
        store.save("self-signed", &one.chain, &one.key).unwrap();
        assert!(store.save("self-signed", &two.chain, &one.key).is_err());
        let loaded = store.load("self-signed").unwrap().unwrap();
        assert_eq!(loaded.facts(), one.pair().facts());
    }

    #[test]
    fn a_stale_copy_of_the_certificate_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let store = Store::open(root.path()).unwrap();
        let leaf = leaf(&["a.test"]);
        store.save("self-signed", &leaf.chain, &leaf.key).unwrap();
        let copy = root.path().join("self-signed").join(CERTIFICATE);
        fs::write(&copy, "of the version before").unwrap();
        store.load("self-signed").unwrap();
        assert_eq!(fs::read_to_string(&copy).unwrap(), leaf.chain);
    }

    #[test]
    fn a_directory_that_cannot_be_used_names_the_remedy() {
        let root = tempfile::tempdir().unwrap();
        let file = root.path().join("file");
        fs::write(&file, "").unwrap();
        let error = Store::open(&file.join("certs")).unwrap_err().to_string();
        assert!(error.contains("file/certs: cannot be created"), "{error}");
        assert!(error.contains("tls.certs_dir"), "{error}");

        let store = Store::open(root.path()).unwrap();
        fs::write(root.path().join("self-signed"), "").unwrap();
        let leaf = leaf(&["a.test"]);
        let error = store
            .save("self-signed", &leaf.chain, &leaf.key)
            .unwrap_err();
        assert!(error.to_string().contains("move it away"), "{error}");
        let error = store.load("self-signed").unwrap_err();
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }

    #[test]
    fn the_remedies_fit_the_errors() {
        let cases = [
            (io::ErrorKind::PermissionDenied, "uid"),
            (io::ErrorKind::ReadOnlyFilesystem, "volume"),
            (io::ErrorKind::StorageFull, "space"),
            (io::ErrorKind::NotADirectory, "move it away"),
            (io::ErrorKind::Other, "tls.certs_dir"),
        ];
        for (kind, expected) in cases {
            let remedy = durable::remedy(&io::Error::from(kind));
            assert!(remedy.contains(expected), "{kind:?}: {remedy}");
        }
    }
}
