//! What the tests of this folder share: an authority, its leaves, and the `openssl` program.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use time::{Duration, OffsetDateTime};
use tracing::instrument::WithSubscriber;

use super::pair::Pair;
use crate::config::{Tls, TlsFiles, TlsMode, TlsVersion, UnknownNames};

/// A private authority that lives as long as its test.
pub(super) struct Authority {
    pub(super) pem: String,
    pub(super) der: Vec<u8>,
    issuer: Issuer<'static, KeyPair>,
}

/// A leaf with its key, as PEM.
pub(super) struct Leaf {
    pub(super) chain: String,
    pub(super) key: String,
    pub(super) chain_der: Vec<Vec<u8>>,
}

/// A leaf of an authority that nobody knows.
pub(super) fn leaf(names: &[&str]) -> Leaf {
    Authority::new().leaf(names)
}

impl Authority {
    pub(super) fn new() -> Self {
        Self::named("Test authority")
    }

    pub(super) fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            der: certificate.der().to_vec(),
            issuer: Issuer::new(params, key),
        }
    }

    pub(super) fn leaf(&self, names: &[&str]) -> Leaf {
        let now = OffsetDateTime::now_utc();
        self.leaf_valid(names, now - Duration::hours(1), now + Duration::days(90))
    }

    pub(super) fn leaf_valid(
        &self,
        names: &[&str],
        not_before: OffsetDateTime,
        not_after: OffsetDateTime,
    ) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = not_before;
        params.not_after = not_after;
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Leaf {
            chain: certificate.pem(),
            key: key.serialize_pem(),
            chain_der: vec![certificate.der().to_vec()],
        }
    }
}

impl Leaf {
    /// A server with this certificate.
    pub(super) fn server_config(&self) -> ServerConfig {
        let resolver = SingleCertAndKey::from(CertifiedKey::clone(self.pair().certified()));
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver))
    }

    pub(super) fn pair(&self) -> Pair {
        Pair::parse(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// Runs `openssl`, for what rcgen cannot make; answers its standard output.
pub(super) fn openssl(arguments: &[&str]) -> String {
    let output = Command::new("openssl")
        .args(arguments)
        .output()
        .expect("the openssl program is installed (Debian: apt install openssl)");
    assert!(
        output.status.success(),
        "openssl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `[tls]` with this mode and directory, the rest as by default.
pub(super) fn tls(mode: TlsMode, certs_dir: &Path) -> Tls {
    let unknown_names = match mode {
        TlsMode::SelfSigned => UnknownNames::Default,
        _ => UnknownNames::Refuse,
    };
    Tls {
        mode,
        unknown_names,
        certs_dir: certs_dir.to_owned(),
        redirect: true,
        min_version: TlsVersion::Tls12,
        hsts: None,
    }
}

/// Writes `NAME.crt` and `NAME.key`.
pub(super) fn write_pair(directory: &Path, name: &str, leaf: &Leaf) -> TlsFiles {
    let files = TlsFiles {
        hosts: Vec::new(),
        cert: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
    };
    fs::write(&files.cert, &leaf.chain).unwrap();
    fs::write(&files.key, &leaf.key).unwrap();
    files
}

/// Everything logged while `work` runs.
pub(super) fn logged(work: impl FnOnce()) -> String {
    let lines = Lines::default();
    tracing::subscriber::with_default(lines.subscriber(), work);
    lines.text()
}

/// Everything logged by `work` itself, not by what it spawns.
pub(crate) async fn logged_while(work: impl Future<Output = ()>) -> String {
    let lines = Lines::default();
    work.with_subscriber(lines.subscriber()).await;
    lines.text()
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn subscriber(&self) -> impl tracing::Subscriber + Send + Sync + 'static {
        let writer = self.clone();
        tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish()
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().clone()).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
