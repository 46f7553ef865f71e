//! The proofs that a CA may ask for at this moment.
//!
//! A running order offers its proof here; the plain listeners answer `http-01` from it, and the
//! [`resolver`](crate::certificates::resolver) answers `tls-alpn-01`. With the order the offer ends,
//! however that ends. Beside it stands what [other instances](super::instances) offer at this moment.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use anyhow::Context;
use parking_lot::RwLock;
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::CertifiedKey;
use tracing::warn;

use super::instances::Lookup;

/// The protocol whose handshake is the proof (RFC 8737, section 6.2).
pub const ALPN_ACME_TLS: &[u8] = b"acme-tls/1";

/// Everything on offer.
#[derive(Debug, Default)]
pub struct Challenges {
    /// By token.
    http: RwLock<HashMap<String, HttpProof>>,
    /// By the server name that the CA will send.
    tls: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    /// What other instances offer.
    shared: RwLock<Shared>,
    /// Where proofs are that have not come here yet.
    lookup: OnceLock<Lookup>,
}

/// A proof as instances tell each other: what every one of them can show it from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// DNS name or address.
    pub name: String,
    /// How it is shown.
    pub kind: ProofKind,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProofKind {
    /// By `http-01`.
    Http {
        /// What the CA asks for.
        token: String,
        /// What it must get.
        key_authorization: String,
    },
    /// By `tls-alpn-01`.
    Tls {
        /// SHA-256 of the key authorization.
        digest: Vec<u8>,
    },
}

/// The proofs of other instances, as they are looked up.
#[derive(Debug, Default)]
struct Shared {
    http: HashMap<String, HttpProof>,
    tls: HashMap<String, (Vec<u8>, Arc<CertifiedKey>)>,
}

#[derive(Debug)]
struct HttpProof {
    name: String,
    key_authorization: String,
}

/// Something on offer until it is dropped.
#[derive(Debug)]
pub struct Offer {
    challenges: Arc<Challenges>,
    key: OfferKey,
}

#[derive(Debug)]
enum OfferKey {
    Http(String),
    Tls(String),
}

impl Challenges {
    /// The key authorization for `token`, if it is on offer for `host` (lower case, no port; IPv6
    /// addresses in brackets or not).
    #[must_use]
    pub fn http(&self, host: &str, token: &str) -> Option<String> {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let find = |proofs: &HashMap<String, HttpProof>| {
            let proof = proofs.get(token).filter(|proof| proof.name == host)?;
            Some(proof.key_authorization.clone())
        };
        find(&self.http.read()).or_else(|| find(&self.shared.read().http))
    }

    /// As [`http`](Self::http), and looks where other instances put their proofs if there is none here.
    pub async fn http_anywhere(&self, host: &str, token: &str) -> Option<String> {
        if let Some(found) = self.http(host, token) {
            return Some(found);
        }
        let host = host.trim_start_matches('[').trim_end_matches(']');
        self.lookup.get()?.http(host, token).await
    }

    /// The certificate that proves `server_name` to a client that speaks [`ALPN_ACME_TLS`] only.
    #[must_use]
    pub fn tls(&self, server_name: &str) -> Option<Arc<CertifiedKey>> {
        let name = server_name.to_ascii_lowercase();
        let own = self.tls.read().get(&name).cloned();
        own.or_else(|| {
            let shared = self.shared.read();
            shared.tls.get(&name).map(|(_, proof)| Arc::clone(proof))
        })
    }

    /// Looks up in `lookup` what is not here.
    pub(super) fn look_up_in(&self, lookup: Lookup) {
        // There is one start.
        let _ = self.lookup.set(lookup);
    }

    /// Answers with `proofs`, too, in place of those shared before.
    pub(super) fn share(&self, proofs: &[Proof]) {
        let mut shared = Shared::default();
        for Proof { name, kind } in proofs {
            match kind {
                ProofKind::Http {
                    token,
                    key_authorization,
                } => {
                    let proof = HttpProof {
                        name: name.clone(),
                        key_authorization: key_authorization.clone(),
                    };
                    shared.http.insert(token.clone(), proof);
                }
                ProofKind::Tls { digest } => {
                    let server_name = server_name(name);
                    let before = self.shared.read().tls.get(&server_name).cloned();
                    let proof = match before.filter(|(known, _)| known == digest) {
                        Some((_, proof)) => proof,
                        None => match proof_certificate(name, digest) {
                            Ok(proof) => proof,
                            Err(error) => {
                                warn!(
                                    "{name}: another instance's proof cannot be shown: {error:#}"
                                );
                                continue;
                            }
                        },
                    };
                    shared.tls.insert(server_name, (digest.clone(), proof));
                }
            }
        }
        *self.shared.write() = shared;
    }

    /// Offers an `http-01` proof (RFC 8555, section 8.3).
    #[must_use]
    pub fn offer_http(self: &Arc<Self>, name: &str, token: &str, key_authorization: &str) -> Offer {
        let proof = HttpProof {
            name: name.to_owned(),
            key_authorization: key_authorization.to_owned(),
        };
        self.http.write().insert(token.to_owned(), proof);
        Offer {
            challenges: Arc::clone(self),
            key: OfferKey::Http(token.to_owned()),
        }
    }

    /// Offers a `tls-alpn-01` proof (RFC 8737, section 3); `digest` is the SHA-256 of the key authorization.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn offer_tls(self: &Arc<Self>, name: &str, digest: &[u8]) -> anyhow::Result<Offer> {
        let server_name = server_name(name);
        let certified = proof_certificate(name, digest)?;
        self.tls.write().insert(server_name.clone(), certified);
        Ok(Offer {
            challenges: Arc::clone(self),
            key: OfferKey::Tls(server_name),
        })
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        match &self.key {
            OfferKey::Http(token) => drop(self.challenges.http.write().remove(token)),
            OfferKey::Tls(name) => drop(self.challenges.tls.write().remove(name)),
        }
    }
}

/// What a CA sends as SNI to ask for `name`. For an address, which SNI cannot carry, that is its
/// name in reverse DNS (RFC 8738, section 6).
fn server_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(four)) => {
            let [a, b, c, d] = four.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(six)) => {
            let digits = six.octets().into_iter().rev();
            let nibbles = digits.flat_map(|byte| [byte & 0xF, byte >> 4]);
            let labels: Vec<_> = nibbles.map(|nibble| format!("{nibble:x}")).collect();
            format!("{}.ip6.arpa", labels.join("."))
        }
        Err(_) => name.to_owned(),
    }
}

fn proof_certificate(name: &str, digest: &[u8]) -> anyhow::Result<Arc<CertifiedKey>> {
    let key = KeyPair::generate().context("cannot make a P-256 key")?;
    let mut params =
        CertificateParams::new([name.to_owned()]).context("the name fits no certificate")?;
    params.distinguished_name = DistinguishedName::new();
    // Critical, which rcgen sees to.
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params
        .self_signed(&key)
        .context("cannot sign the certificate")?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let key = ring::sign::any_supported_type(&key).context("the new key cannot be used")?;
    // Not a `Pair`: rustls can't read a certificate with this critical extension, which is meant
    // to be understood by CAs only.
    let chain = vec![certificate.der().clone()];
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

#[cfg(test)]
mod tests {
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;

    #[test]
    fn only_the_name_that_is_proven_gets_the_answer() {
        let challenges = Arc::new(Challenges::default());
        let offer = challenges.offer_http("a.test", "token", "token.thumbprint");
        let address = challenges.offer_http("::1", "six", "six.thumbprint");
        let table = [
            ("a.test", "token", Some("token.thumbprint")),
            ("b.test", "token", None),
            ("a.test", "other", None),
            ("a.test", "", None),
            ("[::1]", "six", Some("six.thumbprint")),
        ];
        for (host, token, expected) in table {
            assert_eq!(
                challenges.http(host, token).as_deref(),
                expected,
                "{host} {token}"
            );
        }
        drop((offer, address));
        assert_eq!(
            challenges.http("a.test", "token"),
            None,
            "the order is over"
        );
    }

    #[test]
    fn the_certificate_says_what_rfc_8737_asks_for() {
        let challenges = Arc::new(Challenges::default());
        let digest = [7; 32];
        let offer = challenges.offer_tls("a.test", &digest).unwrap();
        let certified = challenges.tls("A.test").unwrap();
        let (_, certificate) = X509Certificate::from_der(&certified.cert[0]).unwrap();
        let extension = certificate
            .extensions()
            .iter()
            .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31")
            .unwrap();
        assert!(extension.critical);
        assert_eq!(extension.value, [&[4, 32], digest.as_slice()].concat());
        drop(offer);
        assert!(challenges.tls("a.test").is_none());
    }

    #[test]
    fn what_other_instances_offer_is_shown_as_long_as_they_do() {
        let challenges = Challenges::default();
        let proof = |kind| Proof {
            name: "a.test".into(),
            kind,
        };
        let http = proof(ProofKind::Http {
            token: "token".into(),
            key_authorization: "token.thumbprint".into(),
        });
        let tls = proof(ProofKind::Tls {
            digest: vec![7; 32],
        });
        challenges.share(&[http, tls.clone()]);
        assert!(challenges.http("a.test", "token").is_some());
        assert_eq!(challenges.http("b.test", "token"), None);
        let first = challenges.tls("A.test").unwrap();
        let other = proof(ProofKind::Tls {
            digest: vec![8; 32],
        });
        challenges.share(std::slice::from_ref(&tls));
        assert_eq!(challenges.http("a.test", "token"), None, "taken back");
        assert!(Arc::ptr_eq(&first, &challenges.tls("a.test").unwrap()));
        challenges.share(&[other]);
        assert!(!Arc::ptr_eq(&first, &challenges.tls("a.test").unwrap()));
        challenges.share(&[]);
        assert!(challenges.tls("a.test").is_none());
    }

    #[test]
    fn addresses_are_asked_for_by_their_name_in_reverse_dns() {
        let table = [
            ("a.test", "a.test"),
            ("192.0.2.7", "7.2.0.192.in-addr.arpa"),
            (
                "2001:db8::1",
                "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
            ),
        ];
        for (name, expected) in table {
            assert_eq!(server_name(name), expected);
        }
    }
}
