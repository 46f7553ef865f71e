//! A look at the CA and at our own ledgers that changes nothing, for `unibody doctor`.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::SystemTime;

use http::header::DATE;
use serde::Deserialize;
use time::OffsetDateTime;

use super::client::Client;
use super::ledger::Ledger;
use super::problem::Failure;
use super::schedule::{SAME_NAMES, SAME_NAMES_WINDOW};
use super::storage::{Files, LEDGER};
use crate::certificates::pair::Pair;
use crate::certificates::store::PAIR;
use crate::config::{Acme, Config};

/// A CA as its directory shows it (RFC 8555, section 7.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ca {
    /// Its host, for people.
    pub host: String,
    /// The kinds of certificates it offers by name, if it does.
    pub profiles: Vec<String>,
    /// Whether it wants to be told which customer an account belongs to.
    pub external_account_required: bool,
    /// What its clock said, from the answer's `Date`.
    pub clock: Option<SystemTime>,
}

/// What the ledger and the stored certificate of one name say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// Certificates that counted towards the CA's limit in the last seven days.
    pub issued: usize,
    /// When the oldest of them leaves the window.
    pub next_free: Option<OffsetDateTime>,
    /// End of the stored certificate.
    pub not_after: Option<OffsetDateTime>,
    /// Why the last order failed.
    pub last_error: Option<String>,
}

/// Certificates for the same names that unibody orders by itself in seven days: one fewer than
/// public CAs allow, so that one is left for a person.
pub const ORDERS_IN_WINDOW: usize = SAME_NAMES - 1;

/// What is read of a directory here.
#[derive(Deserialize)]
struct Listing {
    // Whatever lacks it is no CA.
    #[serde(rename = "newOrder")]
    _new_order: String,
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    /// Their descriptions, which are for people.
    profiles: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    external_account_required: bool,
}

/// Asks the CA for its directory.
///
/// # Errors
/// Why there is none, and what to do, in one line.
pub async fn ca(acme: &Acme) -> anyhow::Result<Ca> {
    let client = Client::new(&acme.directory, acme.ca_file.as_deref())?;
    let (headers, listing) = client
        .json_with_headers::<Listing>(&acme.directory)
        .await
        .map_err(|error| anyhow::anyhow!(Failure::of(&error, &client).words))?;
    let clock = headers
        .get(DATE)
        .and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    Ok(Ca {
        host: client.host().to_owned(),
        profiles: listing.meta.profiles.into_keys().collect(),
        external_account_required: listing.meta.external_account_required,
        clock,
    })
}

/// What is remembered of `name`; nothing of a name that is new.
///
/// # Errors
/// A ledger that cannot be read, in one line.
pub fn remembered(config: &Config, name: &str, now: OffsetDateTime) -> anyhow::Result<Remembered> {
    let acme = &config.acme;
    let files = Files::new(
        &config.tls.certs_dir,
        &acme.directory,
        acme.email.as_deref(),
    );
    let directory = files.directory(name);
    let path = directory.join(LEDGER);
    let ledger = match fs::read(&path) {
        Ok(json) => {
            Ledger::parse(&json).map_err(|error| anyhow::anyhow!("{} {error}", path.display()))?
        }
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ledger::new()
        }
        Err(error) => anyhow::bail!(
            "{} cannot be read ({error}); run this command as the user that runs the server",
            path.display()
        ),
    };
    let certificate = fs::read(directory.join(PAIR))
        .ok()
        .and_then(|pem| Pair::parse(&pem, &pem).ok());
    let recent: Vec<_> = ledger
        .history()
        .issued
        .into_iter()
        .filter(|at| *at > now - SAME_NAMES_WINDOW && *at <= now)
        .collect();
    Ok(Remembered {
        issued: recent.len(),
        next_free: recent
            .iter()
            .min()
            .map(|oldest| *oldest + SAME_NAMES_WINDOW),
        not_after: certificate.map(|pair| pair.facts().not_after),
        last_error: ledger.last_error().map(str::to_owned),
    })
}
