//! `[acme]`: the CA, and how names are proven to it.

mod hosts;

use std::path::PathBuf;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use url::Url;

pub(super) use self::hosts::check;
use super::node::Node;
use super::printer::Printer;
use super::read::{choice, existing_file, some, string, text, unless_empty};
use super::reader::Section;
use super::secrets::secret;
use super::values::{Secret, mask_url};

/// `[acme]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acme {
    /// URL of the CA's directory (RFC 8555, section 7.1.1). Default Let's Encrypt's.
    pub directory: String,
    /// Where the CA writes to. Default nowhere.
    pub email: Option<String>,
    /// How names are proven, at least one way, the preferred one first.
    pub challenges: Vec<Challenge>,
    /// PEM file with further roots that the directory's own certificate may descend from.
    pub ca_file: Option<PathBuf>,
    /// The CA's name for a kind of certificate, such as `shortlived`. Default the CA's own choice.
    pub profile: Option<String>,
    /// What ties the account to one that exists at the CA (RFC 8555, section 7.3.4).
    pub eab: Option<Eab>,
    /// Where account, certificates and ledger lie. Default in files.
    pub storage: AcmeStorage,
    /// Where issuance, failure and nearing expiry are told, by POST: `https://`, or `http://` on a
    /// network of one's own. Default nowhere.
    pub webhook: Option<Secret>,
}

/// Whose limits are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ca {
    /// Let's Encrypt.
    LetsEncrypt,
    /// Let's Encrypt's staging, for trials.
    LetsEncryptStaging,
    /// Any other: a company's own, or a public one.
    Other,
}

/// Where what belongs to a CA's certificates lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AcmeStorage {
    /// In `tls.certs_dir`.
    Files,
    /// In the database, for several instances, with a copy in `tls.certs_dir`.
    Database,
}

/// External account binding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eab {
    /// Key identifier.
    pub kid: String,
    /// MAC key in base64url, as CAs show it.
    pub hmac_key: Secret,
}

/// How a name is proven to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// A file over plain HTTP, asked for at port 80 (RFC 8555, section 8.3).
    Http01,
    /// A special certificate, asked for at port 443 (RFC 8737).
    TlsAlpn01,
}

impl Eab {
    /// The MAC key itself.
    #[must_use]
    pub fn mac_key(&self) -> Vec<u8> {
        // It was decoded once already, when it was read.
        decode_mac_key(self.hmac_key.reveal()).unwrap_or_default()
    }
}

impl Acme {
    /// Which CA it is, as far as that matters.
    #[must_use]
    pub fn ca(&self) -> Ca {
        match self.directory.as_str() {
            LETS_ENCRYPT => Ca::LetsEncrypt,
            LETS_ENCRYPT_STAGING => Ca::LetsEncryptStaging,
            _ => Ca::Other,
        }
    }
}

/// Let's Encrypt's directories.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
const STORAGE: [(&str, AcmeStorage); 2] = [
    ("files", AcmeStorage::Files),
    ("database", AcmeStorage::Database),
];
/// Reads `[acme]`.
pub(super) fn acme(section: &Section<'_>) -> Acme {
    let kid = section.value("eab_kid", unless_empty(string));
    let key = secret(section, "eab_hmac_key", "eab_hmac_key_file", check_mac_key);
    let eab = match (kid, key) {
        (Some(kid), Some(hmac_key)) => Some(Eab { kid, hmac_key }),
        (Some(_), None) => {
            let what = "needs eab_hmac_key as well; the CA gives you both";
            section.note_combination_at("eab_kid", what);
            None
        }
        (None, Some(_)) => {
            let what = "needs eab_kid as well; the CA gives you both";
            section.note_combination_at("eab_hmac_key", what);
            None
        }
        (None, None) => None,
    };
    Acme {
        directory: section.value("directory", text(parse_directory)),
        email: section.value("email", unless_empty(text(parse_email))),
        challenges: section.value("challenges", challenges),
        ca_file: section.value("ca_file", unless_empty(existing_file)),
        profile: section.value("profile", unless_empty(string)),
        eab,
        storage: section.value("storage", choice(&STORAGE)),
        webhook: secret(section, "webhook", "webhook_file", check_webhook),
    }
}

/// Prints it.
pub(super) fn print(out: &mut Printer, acme: &Acme) {
    let challenges = acme.challenges.iter().map(|challenge| match challenge {
        Challenge::Http01 => "http-01",
        Challenge::TlsAlpn01 => "tls-alpn-01",
    });
    let ca_file = acme.ca_file.as_ref().map(|file| file.display().to_string());
    out.heading("[acme]");
    out.text("directory", &acme.directory);
    out.text("email", acme.email.as_deref().unwrap_or_default());
    out.texts("challenges", challenges);
    out.text("ca_file", ca_file.unwrap_or_default());
    out.text("profile", acme.profile.as_deref().unwrap_or_default());
    let kid = acme.eab.as_ref().map(|eab| eab.kid.as_str());
    out.text("eab_kid", kid.unwrap_or_default());
    out.secret(
        "eab_hmac_key",
        acme.eab.as_ref().map(|eab| &eab.hmac_key),
        |_| "***".to_owned(),
    );
    let storage = match acme.storage {
        AcmeStorage::Files => "files",
        AcmeStorage::Database => "database",
    };
    out.text("storage", storage);
    out.secret("webhook", acme.webhook.as_ref(), mask_url);
}

fn parse_directory(text: &str) -> Result<String, &'static str> {
    const WHAT: &str =
        r#"must be "letsencrypt", "letsencrypt-staging" or the https:// URL of a CA's directory"#;
    match text {
        "letsencrypt" => return Ok(LETS_ENCRYPT.to_owned()),
        "letsencrypt-staging" => return Ok(LETS_ENCRYPT_STAGING.to_owned()),
        _ => {}
    }
    let url = Url::parse(text).map_err(|_| WHAT)?;
    if url.scheme() != "https" || url.host_str().is_none() {
        return Err(WHAT);
    }
    Ok(url.into())
}

fn check_mac_key(text: &str) -> Result<(), String> {
    match decode_mac_key(text) {
        Some(_) => Ok(()),
        None => Err("is not base64url; copy it again as the CA shows it".to_owned()),
    }
}

/// In base64url, or in the common base64 that some CAs show it in.
fn decode_mac_key(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let key = BASE64_URL_SAFE_NO_PAD
        .decode(text)
        .or_else(|_| BASE64_STANDARD_NO_PAD.decode(text));
    key.ok().filter(|key| !key.is_empty())
}

fn check_webhook(text: &str) -> Result<(), String> {
    let url = Url::parse(text).ok();
    let fits = |url: &Url| ["https", "http"].contains(&url.scheme()) && url.host_str().is_some();
    match url.filter(fits) {
        // The client would leave them out, and the receiver would refuse every message.
        Some(url) if !url.username().is_empty() || url.password().is_some() => {
            Err("must hold no user and password; put a token into its path or query".to_owned())
        }
        Some(_) => Ok(()),
        None => Err("must be an https:// or http:// URL".to_owned()),
    }
}

fn parse_email(text: &str) -> Result<String, &'static str> {
    let valid = text
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'));
    let plain = text
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !b"?&#<>,;".contains(&byte));
    if valid && plain {
        return Ok(text.to_owned());
    }
    Err("not an e-mail address; write one such as \"admin@example.com\"")
}

fn challenges(node: &Node<'_>) -> Option<Vec<Challenge>> {
    let words = [
        ("tls-alpn-01", Challenge::TlsAlpn01),
        ("http-01", Challenge::Http01),
    ];
    let mut challenges: Vec<Challenge> = Vec::new();
    for challenge in some(choice(&words))(node)? {
        if !challenges.contains(&challenge) {
            challenges.push(challenge);
        }
    }
    Some(challenges)
}
