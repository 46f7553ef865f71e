//! A certificate chain with the private key that belongs to it: checked once, then only read.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::x509::X509Name;

use super::pem::{self, PemError};
use crate::config::HostPattern;

/// A chain and its key. One that exists can be served: the chain parses and the key is the leaf's.
#[derive(Debug, Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    facts: Facts,
}

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

/// Why a chain and a key are no pair.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PairError {
    /// The certificate side is at fault.
    #[error("{0}")]
    Chain(PemError),
    /// The key side is at fault.
    #[error("{0}")]
    Key(PemError),
    /// The DER inside the PEM is damaged, or an X.509 version from before 1996.
    #[error(
        "certificate {number} of the chain cannot be parsed; write the file again from its source"
    )]
    Certificate {
        /// Position in the file, from 1.
        number: usize,
    },
    /// Curves such as P-521, RSA below 2048 bits, or damaged DER.
    #[error(
        "the private key is damaged or of a kind that is not supported; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits"
    )]
    UnusableKey,
    /// Most often only one of the two files was replaced.
    #[error(
        "the private key does not belong to the certificate; install the two files that were issued together"
    )]
    Mismatch,
    /// RFC 8446, section 4.4.2: the server's own certificate comes first.
    #[error(
        "the private key belongs to certificate {number} of the chain; put the server's own certificate first"
    )]
    LeafNotFirst {
        /// Position in the file, from 1.
        number: usize,
    },
}

impl Pair {
    /// Reads chain and key from PEM; both may lie in one text.
    ///
    /// # Errors
    /// See [`PairError`].
    pub fn parse(chain_pem: &[u8], key_pem: &[u8]) -> Result<Self, PairError> {
        let chain = pem::parse_chain(chain_pem).map_err(PairError::Chain)?;
        let key = pem::parse_key(key_pem).map_err(PairError::Key)?;
        Self::new(chain, key)
    }

    /// Puts a chain (leaf first) and its key together.
    ///
    /// # Errors
    /// See [`PairError`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, PairError> {
        let facts = Facts::of(&chain)?;
        let key = ring::sign::any_supported_type(&key).map_err(|_| PairError::UnusableKey)?;
        let certified = CertifiedKey::new(chain, key);
        match certified.keys_match() {
            Ok(()) => {}
            Err(TlsError::InconsistentKeys(InconsistentKeys::KeyMismatch)) => {
                return Err(mismatch(&certified));
            }
            Err(_) => return Err(PairError::Certificate { number: 1 }),
        }
        Ok(Self {
            certified: Arc::new(certified),
            facts,
        })
    }

    /// What rustls serves.
    #[must_use]
    pub fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    /// What the leaf says of itself.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
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

    fn of(chain: &[CertificateDer<'static>]) -> Result<Self, PairError> {
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

/// Finds the certificate that the key does belong to, for a message that says what to do.
fn mismatch(certified: &CertifiedKey) -> PairError {
    let belongs = |der: &CertificateDer<'static>| {
        CertifiedKey::new(vec![der.clone()], Arc::clone(&certified.key))
            .keys_match()
            .is_ok()
    };
    match certified.cert.iter().position(belongs) {
        Some(index) => PairError::LeafNotFirst { number: index + 1 },
        None => PairError::Mismatch,
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

    #[test]
    fn a_chain_and_a_foreign_key_are_no_pair() {
        let authority = Authority::new();
        let (one, two) = (authority.leaf(&["a.test"]), authority.leaf(&["a.test"]));
        let parse = |chain: &str, key: &str| Pair::parse(chain.as_bytes(), key.as_bytes());
        assert_eq!(
            parse(&one.chain, &two.key).unwrap_err(),
            PairError::Mismatch
        );
        assert_eq!(
            parse(&format!("{}{}", authority.pem, one.chain), &one.key).unwrap_err(),
            PairError::LeafNotFirst { number: 2 }
        );
        assert!(parse(&one.chain, &one.key).is_ok());
    }

    #[test]
    fn a_chain_out_of_order_is_noticed() {
        let authority = Authority::new();
        let leaf = authority.leaf(&["a.test"]);
        let stranger = Authority::named("Somebody else");
        for (rest, in_order) in [(&authority.pem, true), (&stranger.pem, false)] {
            let chain = format!("{}{rest}", leaf.chain);
            let pair = Pair::parse(chain.as_bytes(), leaf.key.as_bytes()).unwrap();
            assert_eq!(pair.facts().chain_in_order, in_order);
        }
    }

    #[test]
    fn der_that_is_no_certificate_is_refused_with_its_position() {
        let leaf = leaf(&["a.test"]);
        let junk = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
        let chain = format!("{}{junk}", leaf.chain);
        assert_eq!(
            Pair::parse(chain.as_bytes(), leaf.key.as_bytes()).unwrap_err(),
            PairError::Certificate { number: 2 }
        );
    }

    #[test]
    fn a_file_cut_off_anywhere_is_never_a_pair() {
        let leaf = leaf(&["a.test"]);
        let whole = format!("{}{}", leaf.chain, leaf.key);
        let parse = |text: &str| Pair::parse(text.as_bytes(), text.as_bytes());
        let complete = whole.trim_end().len();
        for length in 0..complete {
            assert!(parse(&whole[..length]).is_err(), "cut at {length}");
        }
        assert!(parse(&whole).is_ok());
    }

    #[test]
    fn every_kind_of_key_that_openssl_writes_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let (key, other, cert) = (path("key.pem"), path("other.pem"), path("cert.pem"));
        let certificate = |key: &str| {
            openssl(&[
                "req",
                "-x509",
                "-key",
                key,
                "-subj",
                "/CN=a.test",
                "-days",
                "1",
                "-out",
                &cert,
            ]);
        };
        let pair =
            |key: &str| Pair::parse(&std::fs::read(&cert).unwrap(), &std::fs::read(key).unwrap());

        openssl(&[
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
            "-out",
            &key,
        ]);
        certificate(&key);
        assert!(pair(&key).is_ok(), "RSA in PKCS#8");
        openssl(&["rsa", "-in", &key, "-traditional", "-out", &other]);
        assert!(
            std::fs::read_to_string(&other)
                .unwrap()
                .contains("BEGIN RSA PRIVATE KEY")
        );
        assert!(pair(&other).is_ok(), "RSA in PKCS#1");
        openssl(&[
            "rsa",
            "-in",
            &key,
            "-aes128",
            "-passout",
            "pass:secret",
            "-traditional",
            "-out",
            &other,
        ]);
        assert_eq!(
            pair(&other).unwrap_err(),
            PairError::Key(PemError::Encrypted)
        );
        openssl(&[
            "pkcs8",
            "-topk8",
            "-in",
            &key,
            "-passout",
            "pass:secret",
            "-out",
            &other,
        ]);
        assert_eq!(
            pair(&other).unwrap_err(),
            PairError::Key(PemError::Encrypted)
        );
        openssl(&["pkey", "-in", &key, "-outform", "der", "-out", &other]);
        assert_eq!(pair(&other).unwrap_err(), PairError::Key(PemError::Binary));

        for (curve, usable) in [
            ("prime256v1", true),
            ("secp384r1", true),
            ("secp521r1", false),
        ] {
            // Without -noout an EC PARAMETERS section stands in front of the key.
            openssl(&["ecparam", "-name", curve, "-genkey", "-out", &key]);
            certificate(&key);
            let text = std::fs::read_to_string(&key).unwrap();
            assert!(text.contains("BEGIN EC PARAMETERS") && text.contains("BEGIN EC PRIVATE KEY"));
            match usable {
                true => assert!(pair(&key).is_ok(), "{curve} in SEC1"),
                false => assert_eq!(pair(&key).unwrap_err(), PairError::UnusableKey),
            }
        }

        openssl(&["genpkey", "-algorithm", "ED25519", "-out", &key]);
        certificate(&key);
        assert!(pair(&key).is_ok(), "Ed25519");
    }
}
