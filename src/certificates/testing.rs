//! What the tests of this folder share: an authority, its leaves, and the `openssl` program.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use parking_lot::Mutex;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use time::{Duration, OffsetDateTime};

use super::pair::Pair;
use crate::config::{Tls, TlsFiles, TlsMode, TlsVersion};

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
    Tls {
        mode,
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
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().clone();
    String::from_utf8(bytes).unwrap()
}
