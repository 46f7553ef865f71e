//! A look at the CA and at our own ledgers that changes nothing, for `unibody doctor` and `check`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::time::SystemTime;

use http::header::DATE;
use serde::Deserialize;
use time::OffsetDateTime;
use tokio_postgres::types::{ToSql, Type};

use super::client::Client;
use super::ledger::Ledger;
use super::problem::Failure;
use super::storage::{Files, LEDGER};
use crate::certificates::pair::Pair;
use crate::certificates::store::PAIR;
use crate::config::{Acme, AcmeStorage, Config};
use crate::database::{Database, embedded};

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
    /// What was ordered.
    pub ledger: Ledger,
    /// End of the stored certificate.
    pub not_after: Option<OffsetDateTime>,
}

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

/// Whether the CA's server can be verified at all, by `acme.ca_file` and the system's roots.
///
/// # Errors
/// Why not, and what to do, in one line.
pub fn roots(acme: &Acme) -> anyhow::Result<()> {
    Client::new(&acme.directory, acme.ca_file.as_deref()).map(drop)
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

/// What is remembered of every name that the database knows; `None` where it is not shared there, or
/// cannot be asked, and the copy in `tls.certs_dir` is all there is.
pub async fn shared(config: &Config) -> Option<HashMap<String, Remembered>> {
    const SELECT: &str = "SELECT name, ledger, not_after FROM acme_ledgers \
         LEFT JOIN acme_certificates USING (directory, name) WHERE directory = $1";
    if config.acme.storage != AcmeStorage::Database {
        return None;
    }
    let url = match &config.database.url {
        Some(url) => url.clone(),
        None => embedded::url_of_running(&config.server.data_dir).ok()??,
    };
    let database = Database::open(&config.database, &url).ok()?;
    let client = database.client().await.ok()?;
    let directory = (&config.acme.directory as &(dyn ToSql + Sync), Type::TEXT);
    let rows = client.query_typed(SELECT, &[directory]).await.ok()?;
    let read = |row: &tokio_postgres::Row| {
        let json: &str = row.get(1);
        let remembered = Remembered {
            ledger: Ledger::parse(json.as_bytes()).ok()?,
            not_after: row.get(2),
        };
        Some((row.get(0), remembered))
    };
    Some(rows.iter().filter_map(read).collect())
}

/// What is remembered of `name` in `tls.certs_dir`; nothing of a name that is new.
///
/// # Errors
/// A ledger that cannot be read, in one line.
pub fn remembered(config: &Config, name: &str) -> anyhow::Result<Remembered> {
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
    Ok(Remembered {
        ledger,
        not_after: certificate.map(|pair| pair.facts().not_after),
    })
}

/// What `acme` asks for and `ca` does not offer, one line each with its remedy.
#[must_use]
pub fn unmet(acme: &Acme, ca: &Ca) -> Vec<String> {
    let host = &ca.host;
    let mut unmet = Vec::new();
    if let Some(profile) = &acme.profile
        && !ca.profiles.contains(profile)
    {
        unmet.push(format!(
            "{host} has no profile \"{profile}\" (acme.profile); it offers {}; name one that it offers, or remove acme.profile",
            ca.offered()
        ));
    }
    if ca.external_account_required && acme.eab.is_none() {
        unmet.push(format!(
            "{host} serves known customers only; set acme.eab_kid and acme.eab_hmac_key as your account there shows them"
        ));
    }
    unmet
}

impl Ca {
    /// Its profiles, in words.
    #[must_use]
    pub fn offered(&self) -> String {
        match self.profiles.as_slice() {
            [] => "no profiles".to_owned(),
            profiles => format!("the profiles {}", profiles.join(", ")),
        }
    }
}
