//! Which names `tls.mode = "acme"` gets certificates for, and which no CA would ever certify.

use std::net::IpAddr;

use url::Url;

use super::Challenge;
use crate::config::reader::Section;
use crate::config::{Config, HostPattern, TlsMode};

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

/// Notes what keeps `tls.mode = "acme"` from ever working, once everything else is read.
pub(in crate::config) fn check(root: &Section<'_>, config: &Config) {
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
