//! `[acme]`, and which names `tls.mode = "acme"` gets certificates for.

use std::net::IpAddr;
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD_NO_PAD, BASE64_URL_SAFE_NO_PAD};
use url::Url;

use super::node::Node;
use super::read::{choice, existing_file, some, string, text, unless_empty};
use super::reader::Section;
use super::secrets::secret;
use super::{Config, HostPattern, Secret, TlsMode};

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
/// The profile without which Let's Encrypt certifies no address.
const SHORT_LIVED: &str = "shortlived";
/// Last labels of names that no public CA may certify (RFC 6761, RFC 6762, RFC 8375, RFC 9476 and ICANN's `internal`).
const NOT_PUBLIC: [&str; 9] = [
    "localhost",
    "local",
    "internal",
    "test",
    "example",
    "invalid",
    "alt",
    "onion",
    "home.arpa",
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

/// Notes what keeps `tls.mode = "acme"` from ever working, once everything else is read.
pub(super) fn check(root: &Section<'_>, config: &Config) {
    if config.tls.mode != TlsMode::Acme {
        return;
    }
    let server = root.table("server");
    let (hosts, wildcards) = hosts(config);
    for wildcard in wildcards {
        server.note_combination_at(
            "hosts",
            &format!(
                "tls.mode = \"acme\" proves each name over HTTP or TLS, which cannot prove {wildcard}; \
                 name the hosts one by one, or use tls.mode = \"files\" with a wildcard certificate"
            ),
        );
    }
    if hosts.is_empty() {
        let what = "tls.mode = \"acme\" needs the names to get certificates for, such as \"notes.example.com\"";
        server.note_combination_at("hosts", what);
    }
    let mut addresses = hosts.iter().filter(|host| host.parse::<IpAddr>().is_ok());
    if let (Some(first), Some(second)) = (addresses.next(), addresses.next()) {
        server.note_combination_at(
            "hosts",
            &format!(
                "clients that ask for an address send no name, so all of them get the same certificate: \
                 name one of {first} and {second}"
            ),
        );
    }
    if is_public(&config.acme.directory) {
        for host in &hosts {
            if let Some(why) = uncertifiable(host, config.acme.profile.as_deref()) {
                server.note_combination_at("hosts", &format!("{host}: {why}"));
            }
        }
    }
    if config.server.http.is_empty() && config.acme.challenges == [Challenge::Http01] {
        let what = "acme.challenges = [\"http-01\"] needs a plain listener; name an address here, or allow \"tls-alpn-01\"";
        server.note_combination_at("http", what);
    }
}

impl Config {
    /// The names that `tls.mode = "acme"` gets certificates for, each once, in the order of the
    /// file: those of `server.hosts`, then those of routes. Addresses are without brackets.
    #[must_use]
    pub fn acme_hosts(&self) -> Vec<String> {
        hosts(self).0
    }

    /// What follows `*.` in the wildcards among them, each once.
    #[must_use]
    pub fn wildcard_hosts(&self) -> Vec<String> {
        let suffix = |host: &HostPattern| match host {
            HostPattern::Wildcard(suffix) => Some(suffix.clone()),
            HostPattern::Exact(_) => None,
        };
        hosts(self).1.into_iter().filter_map(suffix).collect()
    }
}

/// Exact names, and the wildcards among them.
fn hosts(config: &Config) -> (Vec<String>, Vec<&HostPattern>) {
    let of_routes = config.routes.iter().filter_map(|route| route.host.as_ref());
    let (mut exact, mut wildcards) = (Vec::new(), Vec::new());
    for host in config.server.hosts.iter().chain(of_routes) {
        match host {
            HostPattern::Exact(name) => {
                let name = name.trim_start_matches('[').trim_end_matches(']');
                if !exact.iter().any(|known| known == name) {
                    exact.push(name.to_owned());
                }
            }
            HostPattern::Wildcard(_) => {
                if !wildcards.contains(&host) {
                    wildcards.push(host);
                }
            }
        }
    }
    (exact, wildcards)
}

/// Whether the directory is one whose CA certifies public names only.
fn is_public(directory: &str) -> bool {
    const OPERATORS: [&str; 5] = [
        "letsencrypt.org",
        "zerossl.com",
        "buypass.com",
        "pki.goog",
        "ssl.com",
    ];
    Url::parse(directory)
        .ok()
        .and_then(|url| url.host_str().map(str::to_owned))
        .is_some_and(|host| {
            OPERATORS
                .iter()
                .any(|operator| host == *operator || host.ends_with(&format!(".{operator}")))
        })
}

/// Why a public CA gives no certificate for `host`.
fn uncertifiable(host: &str, profile: Option<&str>) -> Option<&'static str> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return if !is_public_address(address) {
            Some(
                "no public CA certifies a private address; use tls.mode = \"self-signed\", or acme.directory of a CA of your own",
            )
        } else if profile != Some(SHORT_LIVED) {
            Some(
                "public CAs certify addresses for a few days only; write acme.profile = \"shortlived\"",
            )
        } else {
            None
        };
    }
    let ends_with = |end: &&str| host == *end || host.ends_with(&format!(".{end}"));
    let private = !host.contains('.') || NOT_PUBLIC.iter().any(ends_with);
    private.then_some(
        "is no public name, so no public CA certifies it; name your domain, use tls.mode = \"self-signed\", or acme.directory of a CA of your own",
    )
}

fn is_public_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(four) => {
            !(four.is_private()
                || four.is_loopback()
                || four.is_link_local()
                || four.is_unspecified()
                || four.is_documentation()
                || four.is_broadcast()
                || four.is_multicast())
        }
        IpAddr::V6(six) => {
            !(six.is_loopback()
                || six.is_unspecified()
                || six.is_unique_local()
                || six.is_unicast_link_local()
                || six.is_multicast())
        }
    }
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
