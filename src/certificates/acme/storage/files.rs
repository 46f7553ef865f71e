//! Storage in files below `tls.certs_dir`, for one instance alone or several that share the disk.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use percent_encoding::percent_decode_str;
use tracing::warn;
use url::Url;

use super::{Lock, RunningOrder, Storage};
use crate::certificates::acme::ledger::{Ledger, Unreadable};
use crate::certificates::durable;
use crate::certificates::pair::Pair;
use crate::certificates::store::{PAIR, Store};

/// Where it lies in the [`Store`].
pub(in crate::certificates) const PLACE: &str = "acme";
/// The certificate before the one in use.
const PREVIOUS: &str = "previous";
pub(in crate::certificates::acme) const LEDGER: &str = "ledger.json";
const ORDER: &str = "order.json";
const LOCK: &str = "lock";
pub(super) const PROBE: &str = "probe";

/// Files below `tls.certs_dir`.
#[derive(Debug, Clone)]
pub(in crate::certificates::acme) struct Files {
    root: PathBuf,
    place: String,
    account: String,
}

impl Files {
    pub(in crate::certificates::acme) fn new(
        certs_dir: &Path,
        directory: &str,
        email: Option<&str>,
    ) -> Self {
        Self {
            root: certs_dir.to_owned(),
            place: format!("{PLACE}/{}", place_of(directory)),
            account: format!("account-{}.json", escaped(email.unwrap_or("nobody"))),
        }
    }

    /// The newest certificate that can be read, now: the start of the server waits for nothing else.
    pub(in crate::certificates::acme) fn load(&self, name: &str) -> anyhow::Result<Option<Pair>> {
        let store = Store::open(&self.root)?;
        let place = self.place_for(name);
        if let Some(pair) = store.load(&place)? {
            return Ok(Some(pair));
        }
        store.load(&format!("{place}/{PREVIOUS}"))
    }

    /// The ledger, now.
    pub(in crate::certificates::acme) fn load_ledger(&self, name: &str) -> anyhow::Result<Ledger> {
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

    /// The ledgers of all names. Those that cannot be read are their own keepers' business.
    fn load_ledgers(&self) -> anyhow::Result<Vec<(String, Ledger)>> {
        let place = self.root.join(&self.place);
        let entries = match fs::read_dir(&place) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(unusable(&place, "read", &error)),
        };
        let ledgers = entries.flatten().filter_map(|entry| {
            let json = fs::read(entry.path().join(LEDGER)).ok()?;
            let name = unescaped(entry.file_name().to_str()?);
            Some((name, Ledger::parse(&json).ok()?))
        });
        Ok(ledgers.collect())
    }

    /// Certificate and ledger, read and nothing else.
    pub(in crate::certificates::acme) fn look(
        &self,
        name: &str,
    ) -> (anyhow::Result<Option<Pair>>, Ledger) {
        let ledger = fs::read(self.directory(name).join(LEDGER)).ok();
        let ledger = ledger.and_then(|json| Ledger::parse(&json).ok());
        let pair = Store::look(&self.root, &self.place_for(name));
        (pair, ledger.unwrap_or_default())
    }

    pub(super) fn save(&self, name: &str, chain: &str, key: &str) -> anyhow::Result<Pair> {
        let store = Store::open(&self.root)?;
        let place = self.place_for(name);
        // What is served now stays at hand, in case the new file is damaged one day.
        store.copy(&place, &format!("{place}/{PREVIOUS}"))?;
        store.save(&place, chain, key)
    }

    /// Chain and key of the certificate, as PEM.
    pub(in crate::certificates::acme) fn texts(&self, name: &str) -> Option<(String, String)> {
        let text = fs::read_to_string(self.directory(name).join(PAIR)).ok()?;
        let key = text.find("PRIVATE KEY-----")?;
        let key = text[..key].rfind("-----BEGIN ")?;
        let (chain, key) = text.split_at(key);
        Some((chain.to_owned(), key.to_owned()))
    }

    fn place_for(&self, name: &str) -> String {
        format!("{}/{}", self.place, escaped(name))
    }

    pub(in crate::certificates::acme) fn directory(&self, name: &str) -> PathBuf {
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

    async fn ledgers(&self) -> anyhow::Result<Vec<(String, Ledger)>> {
        let this = self.clone();
        blocking(move || this.load_ledgers()).await
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

/// `acme-v02.api.letsencrypt.org_directory`: host, port and path of a directory as one name.
pub(super) fn place_of(directory: &str) -> String {
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
pub(super) fn escaped(text: &str) -> String {
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

/// The name that [`escaped`] made `text` of; no name has a slash.
fn unescaped(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
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
