//! Where account, certificates, ledgers and running orders lie: a seam, and files behind it.
//!
//! ```text
//! acme/HOST_PATH/                      one for each directory: staging and production never meet
//! ├── account-EMAIL.json               the account's key and URL
//! └── NAME/
//!     ├── pair.pem, certificate.pem    the certificate in use (see `store`)
//!     ├── previous/                    the one before, in case that one is damaged
//!     ├── ledger.json                  what was ordered, and how it ended
//!     ├── order.json                   the order that runs, with its key
//!     └── lock                         held while ordering; the system frees it when the process dies
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tracing::warn;
use url::Url;

use super::challenge::Proof;
use super::ledger::{Ledger, Unreadable};
use crate::certificates::durable;
use crate::certificates::pair::Pair;
use crate::certificates::store::{PAIR, Store};

/// Where it lies in the [`Store`].
pub(in crate::certificates) const PLACE: &str = "acme";
/// The certificate before the one in use.
const PREVIOUS: &str = "previous";
pub(super) const LEDGER: &str = "ledger.json";
const ORDER: &str = "order.json";
const LOCK: &str = "lock";
const PROBE: &str = "probe";

/// What several attempts, restarts, and perhaps several instances share. `name` is a DNS name or an
/// address, as certificates write it.
///
/// Errors are for people: each names the place and the remedy.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The account's credentials as JSON, if there is an account.
    async fn account(&self) -> anyhow::Result<Option<String>>;
    /// Keeps or (`None`) forgets them.
    async fn save_account(&self, credentials: Option<&str>) -> anyhow::Result<()>;
    /// The newest certificate for `name` that can be read.
    async fn certificate(&self, name: &str) -> anyhow::Result<Option<Pair>>;
    /// Keeps a certificate (chain and key as PEM), beside the one before.
    async fn save_certificate(&self, name: &str, chain: &str, key: &str) -> anyhow::Result<Pair>;
    /// The ledger of `name`; a new one if there is none.
    async fn ledger(&self, name: &str) -> anyhow::Result<Ledger>;
    /// Keeps it.
    async fn save_ledger(&self, name: &str, ledger: &Ledger) -> anyhow::Result<()>;
    /// The order for `name` that runs, or ran when a process died.
    async fn order(&self, name: &str) -> anyhow::Result<Option<RunningOrder>>;
    /// Keeps or (`None`) forgets it.
    async fn save_order(&self, name: &str, order: Option<&RunningOrder>) -> anyhow::Result<()>;
    /// Proves that what is written for `name` can be read back and removed.
    async fn probe(&self, name: &str) -> anyhow::Result<()>;
    /// The lock of `name`, unless another holds it. Dropping it frees it, and so does the death of the process.
    async fn try_lock(&self, name: &str) -> anyhow::Result<Option<Lock>>;
    /// Shares a proof with the other instances; answers once those within reach can show it.
    async fn offer(&self, _proof: &Proof) -> anyhow::Result<()> {
        Ok(())
    }
    /// Takes the proofs for `name` back.
    async fn withdraw(&self, _name: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Held while it lives.
pub type Lock = Box<dyn Send>;

/// An order at the CA, and the key of the certificate it will give: with both, a process that comes
/// after a crash finishes what was begun.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningOrder {
    /// The order's URL.
    pub url: String,
    /// PEM.
    pub key: String,
}

/// Files below `tls.certs_dir`.
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
    place: String,
    account: String,
}

impl Files {
    pub(super) fn new(certs_dir: &Path, directory: &str, email: Option<&str>) -> Self {
        Self {
            root: certs_dir.to_owned(),
            place: format!("{PLACE}/{}", place_of(directory)),
            account: format!("account-{}.json", escaped(email.unwrap_or("nobody"))),
        }
    }

    /// The newest certificate that can be read, now: the start of the server waits for nothing else.
    pub(super) fn load(&self, name: &str) -> anyhow::Result<Option<Pair>> {
        let store = Store::open(&self.root)?;
        let place = self.place_for(name);
        if let Some(pair) = store.load(&place)? {
            return Ok(Some(pair));
        }
        store.load(&format!("{place}/{PREVIOUS}"))
    }

    /// The ledger, now.
    pub(super) fn load_ledger(&self, name: &str) -> anyhow::Result<Ledger> {
        let path = self.directory(name).join(LEDGER);
        let Some(json) = read(&path)? else {
            return Ok(Ledger::new());
        };
        let error = match Ledger::parse(&json) {
            Ok(ledger) => return Ok(ledger),
            Err(error) => error,
        };
        set_aside(&path, &error);
        Ok(Ledger::new())
    }

    /// Certificate and ledger, read and nothing else.
    pub(super) fn look(&self, name: &str) -> (anyhow::Result<Option<Pair>>, Ledger) {
        let ledger = fs::read(self.directory(name).join(LEDGER)).ok();
        let ledger = ledger.and_then(|json| Ledger::parse(&json).ok());
        let pair = Store::look(&self.root, &self.place_for(name));
        (pair, ledger.unwrap_or_default())
    }

    fn save(&self, name: &str, chain: &str, key: &str) -> anyhow::Result<Pair> {
        let store = Store::open(&self.root)?;
        let place = self.place_for(name);
        // What is served now stays at hand, in case the new file is damaged one day.
        store.copy(&place, &format!("{place}/{PREVIOUS}"))?;
        store.save(&place, chain, key)
    }

    /// Chain and key of the certificate, as PEM.
    pub(super) fn texts(&self, name: &str) -> Option<(String, String)> {
        let text = fs::read_to_string(self.directory(name).join(PAIR)).ok()?;
        let key = text.find("PRIVATE KEY-----")?;
        let key = text[..key].rfind("-----BEGIN ")?;
        let (chain, key) = text.split_at(key);
        Some((chain.to_owned(), key.to_owned()))
    }

    fn place_for(&self, name: &str) -> String {
        format!("{}/{}", self.place, escaped(name))
    }

    pub(super) fn directory(&self, name: &str) -> PathBuf {
        self.root.join(self.place_for(name))
    }

    fn account_path(&self) -> PathBuf {
        self.root.join(&self.place).join(&self.account)
    }
}

#[async_trait]
impl Storage for Files {
    async fn account(&self) -> anyhow::Result<Option<String>> {
        let path = self.account_path();
        blocking(move || {
            let json = read(&path)?;
            Ok(json.and_then(|json| String::from_utf8(json).ok()))
        })
        .await
    }

    async fn save_account(&self, credentials: Option<&str>) -> anyhow::Result<()> {
        let (path, credentials) = (self.account_path(), credentials.map(str::to_owned));
        blocking(move || write_or_remove(&path, credentials.as_deref())).await
    }

    async fn certificate(&self, name: &str) -> anyhow::Result<Option<Pair>> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking(move || this.load(&name)).await
    }

    async fn save_certificate(&self, name: &str, chain: &str, key: &str) -> anyhow::Result<Pair> {
        let (this, name) = (self.clone(), name.to_owned());
        let (chain, key) = (chain.to_owned(), key.to_owned());
        blocking(move || this.save(&name, &chain, &key)).await
    }

    async fn ledger(&self, name: &str) -> anyhow::Result<Ledger> {
        let (this, name) = (self.clone(), name.to_owned());
        blocking(move || this.load_ledger(&name)).await
    }

    async fn save_ledger(&self, name: &str, ledger: &Ledger) -> anyhow::Result<()> {
        let (path, json) = (self.directory(name).join(LEDGER), ledger.to_json());
        blocking(move || write_or_remove(&path, Some(&json))).await
    }

    async fn order(&self, name: &str) -> anyhow::Result<Option<RunningOrder>> {
        let path = self.directory(name).join(ORDER);
        blocking(move || {
            let Some(json) = read(&path)? else {
                return Ok(None);
            };
            match serde_json::from_slice(&json) {
                Ok(order) => Ok(Some(order)),
                Err(error) => {
                    set_aside(&path, &Unreadable::Damaged(error.to_string()));
                    Ok(None)
                }
            }
        })
        .await
    }

    async fn save_order(&self, name: &str, order: Option<&RunningOrder>) -> anyhow::Result<()> {
        let path = self.directory(name).join(ORDER);
        let json = order.map(serde_json::to_string).transpose()?;
        blocking(move || write_or_remove(&path, json.as_deref())).await
    }

    async fn probe(&self, name: &str) -> anyhow::Result<()> {
        let path = self.directory(name).join(PROBE);
        blocking(move || {
            let written = uuid::Uuid::new_v4().to_string();
            write_or_remove(&path, Some(&written))?;
            if read(&path)?.as_deref() != Some(written.as_bytes()) {
                return Err(anyhow!(
                    "{}: what was written there does not read the same; another program writes there, or the disk is broken",
                    path.display()
                ));
            }
            write_or_remove(&path, None)
        })
        .await
    }

    async fn try_lock(&self, name: &str) -> anyhow::Result<Option<Lock>> {
        let directory = self.directory(name);
        blocking(move || {
            durable::create_directory(&directory)
                .map_err(|error| unusable(&directory, "created", &error))?;
            let path = directory.join(LOCK);
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(|error| unusable(&path, "opened", &error))?;
            match File::try_lock(&file) {
                Ok(()) => Ok(Some(Box::new(file) as Lock)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(unusable(&path, "locked", &error)),
            }
        })
        .await
    }
}

/// SECURITY: by hand, because keys must not get into a log.
impl std::fmt::Debug for RunningOrder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RunningOrder")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// `acme-v02.api.letsencrypt.org_directory`: host, port and path of a directory as one name.
fn place_of(directory: &str) -> String {
    let Ok(url) = Url::parse(directory) else {
        return escaped(directory);
    };
    let host = url.host_str().unwrap_or_default();
    let port = url.port().map_or(String::new(), |port| format!(":{port}"));
    let query = url
        .query()
        .map_or(String::new(), |query| format!("?{query}"));
    escaped(&format!("{host}{port}{}{query}", url.path()))
}

/// A name that is one component of a path, and another one for each other text.
fn escaped(text: &str) -> String {
    use std::fmt::Write;

    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'@' | b'+' => {
                escaped.push(char::from(byte));
            }
            b'.' if !escaped.is_empty() => escaped.push('.'),
            b'/' => escaped.push('_'),
            // Writing to a `String` cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}

/// Off this runtime's threads: a hanging network mount must not hang requests.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .context("the file system's thread failed")?
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unusable(path, "read", &error)),
    }
}

fn write_or_remove(path: &Path, contents: Option<&str>) -> anyhow::Result<()> {
    let Some(contents) = contents else {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(unusable(path, "removed", &error))
            }
            _ => Ok(()),
        };
    };
    if let Some(directory) = path.parent() {
        durable::create_directory(directory)
            .map_err(|error| unusable(directory, "created", &error))?;
    }
    durable::write(path, contents.as_bytes()).map_err(|error| unusable(path, "written", &error))
}

fn set_aside(path: &Path, error: &Unreadable) {
    let shown = path.display();
    match durable::set_aside(path) {
        Ok(aside) => warn!("{shown}: {error}; kept as {}", aside.display()),
        Err(failure) => warn!("{shown}: {error}; cannot be set aside ({failure})"),
    }
}

fn unusable(path: &Path, verb: &str, error: &io::Error) -> anyhow::Error {
    anyhow!(
        "{}: cannot be {verb} ({error}); {}",
        path.display(),
        durable::remedy(error)
    )
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::certificates::testing::leaf;

    const DIRECTORY: &str = "https://ca.test:14000/dir";

    fn files(root: &Path) -> Files {
        Files::new(root, DIRECTORY, Some("a@b.test"))
    }

    #[test]
    fn directories_never_share_a_place() {
        let table = [
            (
                "https://acme-v02.api.letsencrypt.org/directory",
                "acme-v02.api.letsencrypt.org_directory",
            ),
            (
                "https://acme-staging-v02.api.letsencrypt.org/directory",
                "acme-staging-v02.api.letsencrypt.org_directory",
            ),
            ("https://ca.test:14000/dir", "ca.test%3A14000_dir"),
            ("https://ca.test/a/b", "ca.test_a_b"),
            ("https://ca.test/a_b", "ca.test_a%5Fb"),
            ("https://ca.test/a?b", "ca.test_a%3Fb"),
        ];
        for (directory, place) in table {
            assert_eq!(place_of(directory), place);
        }
    }

    #[test]
    fn no_name_leaves_its_directory() {
        for name in [
            "..",
            ".",
            "a/b",
            "2001:db8::1",
            "../../etc/passwd",
            ".hidden",
        ] {
            let escaped = escaped(name);
            assert!(
                !escaped.contains('/') && !escaped.starts_with('.'),
                "{escaped}"
            );
        }
    }

    #[tokio::test]
    async fn everything_written_is_private_and_reads_the_same() {
        let root = tempfile::tempdir().unwrap();
        let files = files(root.path());
        let leaf = leaf(&["a.test"]);
        files.save_account(Some("{}")).await.unwrap();
        files.save_ledger("a.test", &Ledger::new()).await.unwrap();
        let order = RunningOrder {
            url: "https://ca.test/order/1".into(),
            key: leaf.key.clone(),
        };
        files.save_order("a.test", Some(&order)).await.unwrap();
        let pair = files
            .save_certificate("a.test", &leaf.chain, &leaf.key)
            .await
            .unwrap();
        drop(files.try_lock("a.test").await.unwrap().unwrap());

        assert_eq!(files.account().await.unwrap().as_deref(), Some("{}"));
        assert_eq!(files.ledger("a.test").await.unwrap(), Ledger::new());
        assert_eq!(files.order("a.test").await.unwrap(), Some(order));
        let found = files.certificate("a.test").await.unwrap().unwrap();
        assert_eq!(found.facts(), pair.facts());

        let mut folders = vec![root.path().join(PLACE)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
                let mode = metadata.permissions().mode() & 0o777;
                assert_eq!(mode, expected, "{:?}", entry.path());
                if metadata.is_dir() {
                    folders.push(entry.path());
                }
            }
        }

        files.save_account(None).await.unwrap();
        files.save_order("a.test", None).await.unwrap();
        assert_eq!(files.account().await.unwrap(), None);
        assert_eq!(files.order("a.test").await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_damaged_certificate_gives_way_to_the_one_before() {
        let root = tempfile::tempdir().unwrap();
        let files = files(root.path());
        let mut serials = Vec::new();
        for _ in 0..2 {
            let leaf = leaf(&["a.test"]);
            let pair = files.save("a.test", &leaf.chain, &leaf.key).unwrap();
            serials.push(pair.facts().serial.clone());
        }
        let path = files.directory("a.test").join("pair.pem");
        let text = fs::read(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
        let found = files.load("a.test").unwrap().unwrap();
        assert_eq!(found.facts().serial, serials[0]);
    }

    #[tokio::test]
    async fn a_damaged_ledger_is_kept_for_people_and_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let files = files(root.path());
        files.save_ledger("a.test", &Ledger::new()).await.unwrap();
        let path = files.directory("a.test").join(LEDGER);
        fs::write(&path, "{\"version\":").unwrap();
        assert_eq!(files.ledger("a.test").await.unwrap(), Ledger::new());
        let aside = fs::read_dir(files.directory("a.test"))
            .unwrap()
            .any(|entry| {
                entry
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .contains(".damaged-")
            });
        assert!(aside && !path.exists());
    }

    #[tokio::test]
    async fn one_holds_the_lock_at_a_time() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (files(root.path()), files(root.path()));
        let held = one.try_lock("a.test").await.unwrap();
        assert!(held.is_some());
        assert!(two.try_lock("a.test").await.unwrap().is_none());
        assert!(
            two.try_lock("b.test").await.unwrap().is_some(),
            "another name"
        );
        drop(held);
        assert!(two.try_lock("a.test").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_is_found_out_before_ordering() {
        let root = tempfile::tempdir().unwrap();
        let files = files(root.path());
        files.probe("a.test").await.unwrap();
        assert!(!files.directory("a.test").join(PROBE).exists());
        fs::remove_dir_all(root.path().join(PLACE)).unwrap();
        fs::write(root.path().join(PLACE), "in the way").unwrap();
        let error = files.probe("a.test").await.unwrap_err().to_string();
        assert!(error.contains("a file stands where"), "{error}");
        assert!(files.load("a.test").is_err());
    }
}
