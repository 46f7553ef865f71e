//! TLS to the database: what is checked of its certificate.
//!
//! Encrypting without checking (`sslmode=prefer` and `require`) keeps out who listens, not who
//! pretends to be the database: that takes `verify-full`. See `docs/database.md`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::config::database_url::Verify;

/// Makes TLS connections with this much verification.
pub(super) fn connector(verify: &Verify) -> anyhow::Result<MakeRustlsConnect> {
    let provider = Arc::new(ring::default_provider());
    let (roots, name) = match verify {
        Verify::Nothing => (None, false),
        Verify::Chain(file) => (Some(Roots::from_file(file)?), false),
        Verify::Full(Some(file)) => (Some(Roots::from_file(file)?), true),
        Verify::Full(None) => (Some(Roots::of_the_system()?), true),
    };
    let verifier = Verifier {
        roots,
        name,
        provider: Arc::clone(&provider),
    };
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no version of TLS is available")?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    // PostgreSQL 17 asks for it with sslnegotiation=direct; older versions ignore it.
    config.alpn_protocols = vec![b"postgresql".to_vec()];
    Ok(MakeRustlsConnect::new(config))
}

#[derive(Debug)]
struct Roots {
    store: RootCertStore,
    /// The same, as they are: a server's own self-signed certificate may be its root.
    certificates: Vec<CertificateDer<'static>>,
}

impl Roots {
    fn from_file(file: &Path) -> anyhow::Result<Self> {
        let shown = file.display();
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .with_context(|| format!("sslrootcert {shown} can't be read as PEM certificates"))?;
        if certificates.is_empty() {
            bail!("sslrootcert {shown} contains no certificate");
        }
        let mut store = RootCertStore::empty();
        for certificate in &certificates {
            store
                .add(certificate.clone())
                .with_context(|| format!("sslrootcert {shown} contains a bad certificate"))?;
        }
        Ok(Self {
            store,
            certificates,
        })
    }

    fn of_the_system() -> anyhow::Result<Self> {
        let mut store = RootCertStore::empty();
        let (added, _) =
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if added == 0 {
            bail!(
                "sslmode=verify-full finds no certificates of the system: install ca-certificates \
                 or name the database's own with sslrootcert=/path/to/ca.pem"
            );
        }
        Ok(Self {
            store,
            certificates: Vec::new(),
        })
    }
}

/// Checks as much as libpq would with the same `sslmode`.
#[derive(Debug)]
struct Verifier {
    roots: Option<Roots>,
    name: bool,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(roots) = &self.roots else {
            return Ok(ServerCertVerified::assertion());
        };
        let parsed = ParsedCertificate::try_from(end_entity)?;
        // OpenSSL, and so libpq, accepts a certificate that is itself among the roots; webpki calls
        // it an authority used as a server and refuses. Nothing is left to prove but its dates.
        if roots.certificates.iter().any(|root| root == end_entity) {
            verify_dates(end_entity, now)?;
        } else {
            verify_server_cert_signed_by_trust_anchor(
                &parsed,
                &roots.store,
                intermediates,
                now,
                self.provider.signature_verification_algorithms.all,
            )?;
        }
        if self.name {
            verify_server_name(&parsed, server_name)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

fn verify_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate)
        .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = certificate.validity();
    if now < validity.not_before.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::NotValidYet));
    }
    if now > validity.not_after.timestamp() {
        return Err(Error::InvalidCertificate(CertificateError::Expired));
    }
    Ok(())
}
