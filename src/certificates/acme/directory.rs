//! The CA as its directory shows it, and our account there.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{
    Account, AccountBuilder, AccountCredentials, CertificateIdentifier, Error, ExternalAccountKey,
    Key, NewAccount,
};
use rustls::pki_types::PrivatePkcs8KeyDer;
use serde::{Deserialize, Serialize};
use tracing::info;

use super::ari::RenewalInfo;
use super::client::Client;
use super::problem::Failure;
use super::storage::Storage;
use crate::config::{Acme, Eab};

/// The name under which the account is locked; no host has it.
const ACCOUNT_LOCK: &str = "@account";
/// How long another instance may take to register the account.
const PATIENCE: u32 = 240;
const PAUSE: Duration = Duration::from_millis(250);
/// How often a request that the CA refuses for its nonce is repeated, beyond the library's own three times.
pub(super) const NONCES: usize = 8;

/// Repeats `$request` while the CA refuses it for its nonce only: three times, as the library does,
/// are few for a CA with many servers behind one name.
macro_rules! patiently {
    ($request:expr) => {{
        let mut left = $crate::certificates::acme::directory::NONCES;
        loop {
            match $request.await {
                Err(error)
                    if left > 0 && $crate::certificates::acme::problem::is_bad_nonce(&error) =>
                {
                    left -= 1;
                }
                answer => break answer,
            }
        }
    }};
}
pub(super) use patiently;

/// One CA, as the configuration names it.
pub(super) struct Directory {
    pub(super) client: Client,
    settings: Acme,
}

/// What is known of our account.
enum Known {
    Account(Account),
    /// Of one that may be registered with it already.
    Key(PrivatePkcs8KeyDer<'static>),
    Nothing,
}

/// What is kept in an account's place until it is one.
#[derive(Serialize, Deserialize)]
struct Unregistered {
    /// PKCS#8 in base64url.
    unregistered_key: String,
}

/// What this program reads of a directory (RFC 8555, section 7.1.1).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listing {
    renewal_info: Option<String>,
}

impl Directory {
    pub(super) fn new(settings: &Acme) -> anyhow::Result<Self> {
        Ok(Self {
            client: Client::new(&settings.directory, settings.ca_file.as_deref())?,
            settings: settings.clone(),
        })
    }

    /// The same CA for another errand, which is not told to wait for what this one asked.
    pub(super) fn apart(&self) -> Self {
        Self {
            client: self.client.apart(),
            settings: self.settings.clone(),
        }
    }

    /// Our account: the one in `storage`, or a new one.
    pub(super) async fn account(&self, storage: &dyn Storage) -> Result<Account, Failure> {
        if let Known::Account(account) = self.known(storage).await? {
            return Ok(account);
        }
        let lock = self.lock(storage).await?;
        // Whoever held the lock may have registered.
        let account = match self.known(storage).await? {
            Known::Account(account) => account,
            Known::Key(key) => self.register(storage, key).await?,
            Known::Nothing => self.register_new(storage).await?,
        };
        drop(lock);
        Ok(account)
    }

    /// Forgets the account `gone`, which the CA does not know any more; not the one that somebody else may
    /// have registered meanwhile in its place.
    pub(super) async fn forget(
        &self,
        storage: &dyn Storage,
        gone: &Account,
    ) -> Result<(), Failure> {
        let lock = self.lock(storage).await?;
        if let Known::Account(account) = self.known(storage).await?
            && account.id() == gone.id()
        {
            storage.save_account(None).await.map_err(ours)?;
        }
        drop(lock);
        Ok(())
    }

    /// When the CA would like `certificate` renewed, and how long that answer holds; `None` where
    /// the CA has no opinion.
    pub(super) async fn renewal_info(
        &self,
        certificate: &CertificateIdentifier<'_>,
    ) -> Result<Option<(RenewalInfo, Option<Duration>)>, Failure> {
        let failure = |error| Failure::of(&error, &self.client);
        let listing: Listing = self
            .client
            .json(&self.settings.directory)
            .await
            .map_err(failure)?;
        let Some(url) = listing.renewal_info else {
            return Ok(None);
        };
        let url = format!("{}/{certificate}", url.trim_end_matches('/'));
        let answer = self.client.json(&url).await.map_err(failure)?;
        Ok(Some((answer, self.client.retry_after())))
    }

    async fn known(&self, storage: &dyn Storage) -> Result<Known, Failure> {
        let Some(json) = storage.account().await.map_err(ours)? else {
            return Ok(Known::Nothing);
        };
        if let Ok(unregistered) = serde_json::from_str::<Unregistered>(&json) {
            return Ok(unregistered.key().map_or(Known::Nothing, Known::Key));
        }
        // A damaged file is no account, and the next one takes its place.
        let Ok(credentials) = serde_json::from_str::<AccountCredentials>(&json) else {
            return Ok(Known::Nothing);
        };
        let account = self.builder().from_credentials(credentials).await;
        match account {
            Ok(account) => Ok(Known::Account(account)),
            Err(Error::KeyRejected | Error::Crypto) => Ok(Known::Nothing),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Registers an account with a key that is kept before the CA hears of it: whoever crashes in
    /// between, and comes again, finds the account it made. CAs allow few new ones from one address.
    async fn register_new(&self, storage: &dyn Storage) -> Result<Account, Failure> {
        if let Some(eab) = &self.settings.eab {
            return self.register_customer(storage, eab).await;
        }
        let (_, key) = Key::generate_pkcs8()
            .map_err(|error| Failure::ours(format!("cannot make a P-256 key: {error}")))?;
        self.keep(storage, &Unregistered::of(&key)).await?;
        self.register(storage, key).await
    }

    async fn register(
        &self,
        storage: &dyn Storage,
        key: PrivatePkcs8KeyDer<'static>,
    ) -> Result<Account, Failure> {
        let create = || async {
            let signer = Key::from_pkcs8_der(key.clone_key())?;
            let key = (signer, key.clone_key().into());
            let directory = self.settings.directory.clone();
            self.builder().create_from_key(key, directory).await
        };
        let (account, credentials) = patiently!(create()).map_err(|error| self.failure(&error))?;
        if let Some(contact) = self.contact() {
            patiently!(account.update_contacts(&[&contact]))
                .map_err(|error| self.failure(&error))?;
        }
        self.keep(storage, &credentials).await?;
        info!("registered an account at {}", self.client.host());
        Ok(account)
    }

    /// The same where the account is tied to one that exists at the CA: the library makes the key itself
    /// then, and gives it away only afterwards.
    async fn register_customer(
        &self,
        storage: &dyn Storage,
        eab: &Eab,
    ) -> Result<Account, Failure> {
        let contact = self.contact();
        let new = NewAccount {
            contact: &contact.iter().map(String::as_str).collect::<Vec<_>>(),
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = ExternalAccountKey::new(eab.kid.clone(), &eab.mac_key());
        let create = || {
            let directory = self.settings.directory.clone();
            self.builder().create(&new, directory, Some(&external))
        };
        let (account, credentials) =
            patiently!(create()).map_err(|error| Failure::of_customer(&error, &self.client))?;
        self.keep(storage, &credentials).await?;
        info!("registered an account at {}", self.client.host());
        Ok(account)
    }

    async fn keep(&self, storage: &dyn Storage, account: &impl Serialize) -> Result<(), Failure> {
        let json = serde_json::to_string(account).map_err(|error| ours(error.into()))?;
        storage.save_account(Some(&json)).await.map_err(ours)
    }

    fn builder(&self) -> AccountBuilder {
        Account::builder_with_http(Box::new(self.client.clone()))
    }

    fn contact(&self) -> Option<String> {
        let email = self.settings.email.as_ref()?;
        Some(format!("mailto:{email}"))
    }

    async fn lock(&self, storage: &dyn Storage) -> Result<super::storage::Lock, Failure> {
        for _ in 0..PATIENCE {
            if let Some(lock) = storage.try_lock(ACCOUNT_LOCK).await.map_err(ours)? {
                return Ok(lock);
            }
            tokio::time::sleep(PAUSE).await;
        }
        Err(Failure::ours(
            "another instance has been registering the account for a minute; this is tried again",
        ))
    }

    fn failure(&self, error: &Error) -> Failure {
        Failure::of(error, &self.client)
    }
}

/// A failure of the storage.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` asks for"
)]
pub(super) fn ours(error: anyhow::Error) -> Failure {
    Failure::ours(format!("{error:#}"))
}

impl Unregistered {
    fn of(key: &PrivatePkcs8KeyDer<'_>) -> Self {
        Self {
            unregistered_key: BASE64_URL_SAFE_NO_PAD.encode(key.secret_pkcs8_der()),
        }
    }

    /// The key, unless the file is damaged.
    fn key(&self) -> Option<PrivatePkcs8KeyDer<'static>> {
        let der = BASE64_URL_SAFE_NO_PAD.decode(&self.unregistered_key).ok()?;
        let key = PrivatePkcs8KeyDer::from(der);
        Key::from_pkcs8_der(key.clone_key()).ok().map(|_| key)
    }
}
