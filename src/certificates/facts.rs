//! What a certificate says of itself, as far as anybody here asks.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::pair::PairError;
use super::pem::PemError;
use crate::config::HostPattern;

/// What the leaf certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Subject alternative names: DNS names in lower case, addresses as text.
    pub names: BTreeSet<String>,
    /// Start of validity.
    pub not_before: OffsetDateTime,
    /// End of validity.
    pub not_after: OffsetDateTime,
    /// Common name of the issuer, or its whole name when it has none.
    pub issuer: String,
    /// Serial number in upper-case hexadecimal, as `openssl x509 -serial` prints it.
    pub serial: String,
    /// Whether each certificate of the chain was issued by the one after it.
    pub chain_in_order: bool,
}

impl Facts {
    /// Whether a client that verifies `host` accepts the certificate for it.
    #[must_use]
    pub fn covers(&self, host: &HostPattern) -> bool {
        match host {
            HostPattern::Wildcard(suffix) => self.names.contains(&format!("*.{suffix}")),
            HostPattern::Exact(name) => {
                self.names.contains(name)
                    || name
                        .split_once('.')
                        .is_some_and(|(_, suffix)| self.names.contains(&format!("*.{suffix}")))
            }
        }
    }

    /// The DNS names as patterns. Addresses are left out: a client never sends one as SNI (RFC 6066, section 3).
    #[must_use]
    pub fn hosts(&self) -> Vec<HostPattern> {
        self.names
            .iter()
            .filter(|name| name.parse::<IpAddr>().is_err())
            .map(|name| match name.strip_prefix("*.") {
                Some(suffix) => HostPattern::Wildcard(suffix.to_owned()),
                None => HostPattern::Exact(name.clone()),
            })
            .collect()
    }

    /// Reads the chain, leaf first.
    pub(super) fn of(chain: &[CertificateDer<'static>]) -> Result<Self, PairError> {
        let parsed = chain
            .iter()
            .enumerate()
            .map(|(index, der)| match X509Certificate::from_der(der) {
                Ok(([], certificate)) => Ok(certificate),
                _ => Err(PairError::Certificate { number: index + 1 }),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let leaf = parsed
            .first()
            .ok_or(PairError::Chain(PemError::NoCertificate { has_key: false }))?;
        Ok(Self {
            names: names(leaf)?,
            not_before: leaf.validity().not_before.to_datetime(),
            not_after: leaf.validity().not_after.to_datetime(),
            issuer: display_name(leaf.issuer()),
            serial: hexadecimal(leaf.raw_serial()),
            chain_in_order: parsed
                .windows(2)
                .all(|pair| pair[0].issuer().as_raw() == pair[1].subject().as_raw()),
        })
    }
}

fn names(leaf: &X509Certificate<'_>) -> Result<BTreeSet<String>, PairError> {
    let extension = leaf
        .subject_alternative_name()
        .map_err(|_| PairError::Certificate { number: 1 })?;
    let Some(extension) = extension else {
        return Ok(BTreeSet::new());
    };
    Ok(extension
        .value
        .general_names
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes),
            _ => None,
        })
        .collect())
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(four).to_string());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(sixteen).to_string())
}

fn display_name(name: &X509Name<'_>) -> String {
    let common_name = name.iter_common_name().next();
    common_name
        .and_then(|attribute| attribute.as_str().ok())
        .map_or_else(|| name.to_string(), str::to_owned)
}

fn hexadecimal(serial: &[u8]) -> String {
    use std::fmt::Write;

    // DER puts a zero in front of a number whose first bit is set; it is not part of the number.
    let digits = match serial {
        [0, rest @ ..] if !rest.is_empty() => rest,
        whole => whole,
    };
    digits.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::testing::{Authority, leaf, openssl};

    #[test]
    fn facts_are_read_from_the_leaf() {
        let leaf = Authority::new().leaf(&["B.test", "*.a.test", "127.0.0.1", "::1"]);
        let facts = leaf.pair().facts().clone();
        assert_eq!(
            facts.names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["*.a.test", "127.0.0.1", "::1", "b.test"]
        );
        assert_eq!(facts.issuer, "Test authority");
        assert!(facts.not_before < facts.not_after);
        assert!(facts.chain_in_order);
        assert_eq!(
            facts.hosts(),
            [
                HostPattern::Wildcard("a.test".into()),
                HostPattern::Exact("b.test".into())
            ]
        );
    }

    #[test]
    fn the_serial_reads_as_openssl_prints_it() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("leaf.pem");
        for _ in 0..4 {
            let leaf = leaf(&["a.test"]);
            std::fs::write(&file, &leaf.chain).unwrap();
            let printed = openssl(&["x509", "-noout", "-serial", "-in", file.to_str().unwrap()]);
            assert_eq!(
                printed.trim(),
                format!("serial={}", leaf.pair().facts().serial)
            );
        }
    }

    #[test]
    fn names_are_covered_as_clients_verify_them() {
        let facts = leaf(&["a.test", "*.b.test"]).pair().facts().clone();
        let exact = |name: &str| HostPattern::Exact(name.into());
        let wildcard = |name: &str| HostPattern::Wildcard(name.into());
        let cases = [
            (exact("a.test"), true, "its own name"),
            (exact("www.a.test"), false, "no wildcard above it"),
            (exact("www.b.test"), true, "one label under the wildcard"),
            (
                exact("b.test"),
                false,
                "the wildcard's own suffix is not under it",
            ),
            (
                exact("x.www.b.test"),
                false,
                "two labels under the wildcard",
            ),
            (wildcard("b.test"), true, "the wildcard itself"),
            (wildcard("a.test"), false, "an exact name is no wildcard"),
        ];
        for (host, expected, why) in cases {
            assert_eq!(facts.covers(&host), expected, "{host:?}: {why}");
        }
    }
}
