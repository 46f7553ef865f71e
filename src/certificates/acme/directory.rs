//! The CA as its directory shows it, and our account there.

use std::time::Duration;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use instant_acme::{
    Account, AccountCredentials, CertificateIdentifier, Error, ExternalAccountKey, NewAccount,
};
use serde::Deserialize;
use tracing::info;

use super::ari::RenewalInfo;
use super::client::Client;
use super::problem::{Failure, is_bad_nonce};
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

    /// Our account: the one in `storage`, or a new one.
    pub(super) async fn account(&self, storage: &dyn Storage) -> Result<Account, Failure> {
        if let Some(account) = self.stored(storage).await? {
            return Ok(account);
        }
        let lock = self.lock(storage).await?;
        // Whoever held the lock may have registered.
        let account = match self.stored(storage).await? {
            Some(account) => account,
            None => self.register(storage).await?,
        };
        drop(lock);
        Ok(account)
    }

    /// Forgets an account that the CA does not know any more.
    pub(super) async fn forget(&self, storage: &dyn Storage) -> Result<(), Failure> {
        storage.save_account(None).await.map_err(ours)
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

    async fn stored(&self, storage: &dyn Storage) -> Result<Option<Account>, Failure> {
        let Some(json) = storage.account().await.map_err(ours)? else {
            return Ok(None);
        };
        // A damaged file is no account, and the next one takes its place.
        let Ok(credentials) = serde_json::from_str::<AccountCredentials>(&json) else {
            return Ok(None);
        };
        let account = Account::builder_with_http(Box::new(self.client.clone()))
            .from_credentials(credentials)
            .await;
        match account {
            Ok(account) => Ok(Some(account)),
            Err(Error::KeyRejected | Error::Crypto) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    async fn register(&self, storage: &dyn Storage) -> Result<Account, Failure> {
        let contact = self
            .settings
            .email
            .as_ref()
            .map(|email| format!("mailto:{email}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let external = self.settings.eab.as_ref().map(external_key).transpose()?;
        let mut left = NONCES;
        let (account, credentials) = loop {
            let answer = Account::builder_with_http(Box::new(self.client.clone()))
                .create(&new, self.settings.directory.clone(), external.as_ref())
                .await;
            match answer {
                Ok(created) => break created,
                Err(error) if left > 0 && is_bad_nonce(&error) => left -= 1,
                Err(error) => {
                    let is_customer = self.settings.eab.is_some();
                    return Err(Failure::of_registration(&error, &self.client, is_customer));
                }
            }
        };
        let json = serde_json::to_string(&credentials).map_err(|error| ours(error.into()))?;
        storage.save_account(Some(&json)).await.map_err(ours)?;
        info!("registered an account at {}", self.client.host());
        Ok(account)
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

fn external_key(eab: &Eab) -> Result<ExternalAccountKey, Failure> {
    let text = eab.hmac_key.reveal().trim_end_matches('=');
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| BASE64_STANDARD_NO_PAD.decode(text))
        .map_err(|_| {
            Failure::ours("acme.eab_hmac_key is not base64url; copy it again as the CA shows it")
        })?;
    Ok(ExternalAccountKey::new(eab.kid.clone(), &key))
}
