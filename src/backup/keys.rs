//! Who can read a backup: everybody with the file, whoever has a secret key, or who knows a passphrase.

use std::path::Path;
use std::str::FromStr;

use age::secrecy::{ExposeSecret as _, SecretString};
use age::stream::StreamReader;
use age::{DecryptError, Decryptor, Encryptor, Identity, Recipient, scrypt, x25519};
use anyhow::{Context as _, anyhow, bail};

/// The costliest passphrase that is tried, as a power of two (age's own program has the same limit).
/// The library's is what this machine does in seconds just now: it would refuse, on a slow or busy
/// machine, what was made on a fast one.
const MOST_WORK: u8 = 22;

/// How a file is to be encrypted.
#[derive(Clone)]
pub enum Lock {
    /// Not at all.
    Open,
    /// For the owners of these keys, each by himself.
    Recipients(Vec<x25519::Recipient>),
    /// For whoever knows it.
    Passphrase(SecretString),
}

/// What opens a file.
pub enum Key {
    /// Nothing: for files that are not encrypted.
    None,
    /// Secret keys.
    Identities(Vec<x25519::Identity>),
    /// A passphrase.
    Passphrase(SecretString),
}

/// What a file needs to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// Nothing.
    None,
    /// A secret key.
    Identity,
    /// A passphrase.
    Passphrase,
}

/// Encrypts one file.
pub(super) type Sealer = Encryptor;

impl Lock {
    /// For these recipients, as `age1…`; none leaves the file open.
    ///
    /// # Errors
    /// Names the one that is none.
    pub fn for_recipients(recipients: &[String]) -> anyhow::Result<Self> {
        if recipients.is_empty() {
            return Ok(Self::Open);
        }
        let parsed = recipients.iter().map(|text| {
            x25519::Recipient::from_str(text).map_err(|_| {
                anyhow!("{text} is no age recipient; write one as age-keygen prints it, age1…")
            })
        });
        Ok(Self::Recipients(parsed.collect::<Result<_, _>>()?))
    }

    /// Whether the file is encrypted.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        !matches!(self, Self::Open)
    }

    /// What encrypts one file, and a key that opens just this file.
    ///
    /// Verification reads what was really written, but the recipients' secret keys are elsewhere. So
    /// each file has one recipient more, whose secret key is kept in memory and forgotten afterwards.
    pub(super) fn make(&self) -> anyhow::Result<(Option<Sealer>, Key)> {
        Ok(match self {
            Self::Open => (None, Key::None),
            Self::Recipients(recipients) => {
                let ours = x25519::Identity::generate();
                let public = ours.to_public();
                let all = recipients.iter().chain([&public]);
                let sealer = Encryptor::with_recipients(all.map(|one| one as &dyn Recipient))
                    .context("the backup cannot be encrypted")?;
                (Some(sealer), Key::Identities(vec![ours]))
            }
            Self::Passphrase(passphrase) => (
                Some(Encryptor::with_user_passphrase(passphrase.clone())),
                Key::Passphrase(passphrase.clone()),
            ),
        })
    }
}

impl Key {
    /// The secret keys in a file as age-keygen writes it.
    ///
    /// # Errors
    /// Why there are none.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("the identity file {shown} can't be read"))?;
        let lines = text.lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let keys = keys.map(|line| {
            // SECURITY: the line is a secret, or meant to be one, and stands in no message.
            x25519::Identity::from_str(line).map_err(|_| {
                anyhow!(
                    "{shown} has a line that is no AGE-SECRET-KEY-1…; other kinds of keys (ssh, \
                     plugins, encrypted identities) need age itself: age -d -i {shown} BACKUP > plain"
                )
            })
        });
        let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
        if keys.is_empty() {
            bail!("the identity file {shown} has no key in it");
        }
        Ok(Self::Identities(keys))
    }

    pub(super) fn open<R: std::io::Read>(
        &self,
        decryptor: Decryptor<R>,
    ) -> Result<StreamReader<R>, DecryptError> {
        match self {
            Self::None => Err(DecryptError::NoMatchingKeys),
            Self::Identities(keys) => {
                decryptor.decrypt(keys.iter().map(|key| key as &dyn Identity))
            }
            Self::Passphrase(passphrase) => {
                let mut identity = scrypt::Identity::new(passphrase.clone());
                identity.set_max_work_factor(MOST_WORK);
                decryptor.decrypt(std::iter::once(&identity as &dyn Identity))
            }
        }
    }
}

/// The first line of a file that holds nothing but a passphrase.
///
/// # Errors
/// A file that can't be read, or that is empty.
pub fn read_passphrase(file: &Path) -> anyhow::Result<SecretString> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map(SecretString::from)
        .with_context(|| format!("the passphrase file {shown} can't be read"))?;
    let line = text.expose_secret().lines().next().unwrap_or_default();
    if line.is_empty() {
        bail!("the passphrase file {shown} is empty");
    }
    Ok(SecretString::from(line.to_owned()))
}
