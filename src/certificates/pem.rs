//! PEM text (RFC 7468) to certificates and keys, with the mistakes people really make told apart.

use rustls::pki_types::pem::{PemObject, SectionKind};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer, PrivateSec1KeyDer,
};
use thiserror::Error;

/// Why a file is of no use. The messages continue "FILE: …" and say what to do.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PemError {
    /// Nothing in it: often a renewal that was interrupted, or a full disk.
    #[error("is empty")]
    Empty,
    /// Starts like an ASN.1 SEQUENCE: a `.der`, `.cer` or `.pfx` file.
    #[error(
        "is binary (DER or PKCS#12), not PEM text; convert it with `openssl x509 -inform der`, \
         `openssl pkey -inform der` or `openssl pkcs12 -nodes`"
    )]
    Binary,
    /// A key that asks for a passphrase: a server that restarts by itself cannot type it.
    #[error(
        "holds an encrypted private key; decrypt it with `openssl pkey -in FILE -out NEW_FILE` \
         and protect the new file by its permissions (0600)"
    )]
    Encrypted,
    /// A section is cut off or is not base64.
    #[error("is damaged or cut off ({0}); write it again from its source")]
    Damaged(&'static str),
    /// Another kind of file, or cert and key exchanged.
    #[error("holds no certificate (no BEGIN CERTIFICATE){}", if *.has_key { ", but a private key: are `cert` and `key` exchanged?" } else { "" })]
    NoCertificate {
        /// It holds a private key instead.
        has_key: bool,
    },
    /// Another kind of file, or cert and key exchanged.
    #[error("holds no private key (no BEGIN PRIVATE KEY){}", if *.has_certificate { ", but a certificate: are `cert` and `key` exchanged?" } else { "" })]
    NoKey {
        /// It holds a certificate instead.
        has_certificate: bool,
    },
    /// Which one is meant cannot be known.
    #[error("holds {0} private keys; keep only the one of the certificate")]
    SeveralKeys(usize),
}

/// The certificates of `pem` in their order; other sections are passed over.
///
/// # Errors
/// When `pem` is not PEM, is damaged, or holds no certificate.
pub fn parse_chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let sections = sections(pem)?;
    let has_key = sections.iter().any(|(kind, _)| is_key(*kind));
    let chain: Vec<_> = sections
        .into_iter()
        .filter(|(kind, _)| *kind == SectionKind::Certificate)
        .map(|(_, der)| CertificateDer::from(der))
        .collect();
    if chain.is_empty() {
        return Err(PemError::NoCertificate { has_key });
    }
    Ok(chain)
}

/// The one private key of `pem`: PKCS#8, SEC1 (RFC 5915) or PKCS#1 (RFC 8017).
///
/// # Errors
/// When `pem` is not PEM, is damaged, is encrypted, or holds no key or several.
pub fn parse_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    if is_encrypted(pem) {
        return Err(PemError::Encrypted);
    }
    let sections = sections(pem)?;
    let has_certificate = sections
        .iter()
        .any(|(kind, _)| *kind == SectionKind::Certificate);
    let mut keys: Vec<PrivateKeyDer<'static>> = sections
        .into_iter()
        .filter_map(|(kind, der)| match kind {
            SectionKind::PrivateKey => Some(PrivatePkcs8KeyDer::from(der).into()),
            SectionKind::EcPrivateKey => Some(PrivateSec1KeyDer::from(der).into()),
            SectionKind::RsaPrivateKey => Some(PrivatePkcs1KeyDer::from(der).into()),
            _ => None,
        })
        .collect();
    match (keys.len(), keys.pop()) {
        (1, Some(key)) => Ok(key),
        (0, _) => Err(PemError::NoKey { has_certificate }),
        (several, _) => Err(PemError::SeveralKeys(several)),
    }
}

fn sections(pem: &[u8]) -> Result<Vec<(SectionKind, Vec<u8>)>, PemError> {
    // A byte order mark would hide the first BEGIN line, and with it the leaf.
    let pem = pem.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(pem);
    if pem.trim_ascii().is_empty() {
        return Err(PemError::Empty);
    }
    // 0x30 0x80..: an ASN.1 SEQUENCE with a length of more than 127 bytes, which every certificate has.
    if matches!(pem, [0x30, 0x80..=0xFF, ..]) {
        return Err(PemError::Binary);
    }
    <(SectionKind, Vec<u8>)>::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            use rustls::pki_types::pem::Error;
            PemError::Damaged(match error {
                Error::MissingSectionEnd { .. } => "an END line is missing",
                Error::IllegalSectionStart { .. } => "a BEGIN line is malformed",
                Error::Base64Decode(_) => "invalid base64",
                _ => "unreadable",
            })
        })
}

fn is_key(kind: SectionKind) -> bool {
    matches!(
        kind,
        SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey
    )
}

/// Both encryptions of private keys: PKCS#8's own label, and the older header inside RSA and EC sections (RFC 1421).
fn is_encrypted(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.contains("Proc-Type: 4,ENCRYPTED")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificates::testing::{Authority, leaf};

    #[test]
    fn what_is_not_a_chain_says_why() {
        let pair = leaf(&["a.test"]);
        let der = Authority::new().leaf(&["a.test"]).chain_der;
        let cut = &pair.chain[..pair.chain.len() / 2];
        let cases: &[(&[u8], PemError)] = &[
            (b"", PemError::Empty),
            (b" \n\n", PemError::Empty),
            (&der[0], PemError::Binary),
            (b"hello", PemError::NoCertificate { has_key: false }),
            (
                pair.key.as_bytes(),
                PemError::NoCertificate { has_key: true },
            ),
            (cut.as_bytes(), PemError::Damaged("an END line is missing")),
            (
                b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
                PemError::Damaged("invalid base64"),
            ),
            (
                b"-----BEGIN CERTIFICATE\nMIIB\n",
                PemError::Damaged("a BEGIN line is malformed"),
            ),
        ];
        for (pem, error) in cases {
            assert_eq!(parse_chain(pem).unwrap_err(), *error);
        }
    }

    #[test]
    fn what_is_not_a_key_says_why() {
        let pair = leaf(&["a.test"]);
        let twice = format!("{0}{0}", pair.key);
        let cases: &[(&str, PemError)] = &[
            ("", PemError::Empty),
            (
                &pair.chain,
                PemError::NoKey {
                    has_certificate: true,
                },
            ),
            (
                "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----\n",
                PemError::NoKey {
                    has_certificate: false,
                },
            ),
            (&twice, PemError::SeveralKeys(2)),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
                PemError::Encrypted,
            ),
            (
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n\
                 -----END RSA PRIVATE KEY-----\n",
                PemError::Encrypted,
            ),
        ];
        for (pem, error) in cases {
            assert_eq!(parse_key(pem.as_bytes()).unwrap_err(), *error, "{pem}");
        }
    }

    #[test]
    fn a_byte_order_mark_windows_line_ends_and_comments_do_no_harm() {
        let authority = Authority::new();
        let leaf = authority.leaf(&["a.test"]);
        let text = format!(
            "\u{FEFF}{}Subject: CN = the authority\n{}",
            leaf.chain, authority.pem
        );
        let chain = parse_chain(text.replace('\n', "\r\n").as_bytes()).unwrap();
        assert_eq!(chain.len(), 2);
        assert_eq!(chain[0].as_ref(), leaf.chain_der[0].as_slice());
    }
}
