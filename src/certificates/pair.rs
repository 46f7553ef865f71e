//! A certificate chain with the private key that belongs to it: checked once, then only read.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use thiserror::Error;

use super::facts::Facts;
use super::pem::{self, PemError};

/// A chain and its key. One that exists can be served: the chain parses and the key is the leaf's.
#[derive(Debug, Clone)]
pub struct Pair {
    certified: Arc<CertifiedKey>,
    facts: Facts,
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
        Self::new(chain, &key)
    }

    /// Puts a chain (leaf first) and its key together.
    ///
    /// # Errors
    /// See [`PairError`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: &PrivateKeyDer<'static>,
    ) -> Result<Self, PairError> {
        let facts = Facts::of(&chain)?;
        let key = ring::sign::any_supported_type(key).map_err(|_| PairError::UnusableKey)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::testing::{Authority, leaf, openssl};

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
            let error = pair(&key).err();
            let expected = (!usable).then_some(PairError::UnusableKey);
            assert_eq!(error, expected, "{curve} in SEC1");
        }

        openssl(&["genpkey", "-algorithm", "ED25519", "-out", &key]);
        certificate(&key);
        assert!(pair(&key).is_ok(), "Ed25519");
    }
}
