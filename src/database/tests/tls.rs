//! `sslmode` against a real server with real certificates.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Stdio};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use super::*;
use crate::database::testing::directory;

/// A server on loopback with this certificate.
struct TlsServer {
    process: Child,
    port: u16,
    password: String,
    _directory: TempDir,
}

impl TlsServer {
    /// `files`: the paths of certificate and key; `None` switches TLS off.
    async fn start(files: Option<(&str, &str)>) -> Self {
        let directory = directory();
        let embedded = embedded::start(directory.path(), None).await.unwrap();
        let url = embedded.url().reveal().to_owned();
        embedded.stop().await;

        let mut command = embedded::server_command(directory.path()).unwrap();
        // Keys must belong to the server's user and be closed to others.
        let mut option = |setting: String| {
            command.args(["-c", &setting]);
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = port.local_addr().unwrap().port();
        option("listen_addresses=127.0.0.1".into());
        option(format!("port={port}"));
        option("unix_socket_directories=".into());
        if let Some((certificate, key)) = files {
            let cluster = directory.path().join("postgres");
            for (name, content) in [("server.crt", certificate), ("server.key", key)] {
                let file = cluster.join(name);
                std::fs::write(&file, content).unwrap();
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
                embedded::give_to_owner(directory.path(), &file).unwrap();
            }
            option("ssl=on".into());
        }
        let process = command.stderr(Stdio::null()).spawn().unwrap();
        Self {
            process,
            port,
            password: url.split([':', '@']).nth(2).unwrap().to_owned(),
            _directory: directory,
        }
    }

    /// Whether the connection is encrypted, or why there is none.
    async fn connect(&self, host: &str, query: &str) -> Result<bool, String> {
        let (port, password) = (self.port, &self.password);
        let url = format!("postgres://unibody:{password}@{host}:{port}/unibody?{query}");
        let database =
            Database::open(&settings(), &Secret::new(url)).map_err(|error| error.to_string())?;
        let client = database.client().await.map_err(|error| error.to_string())?;
        let question = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        Ok(client.query_one(question, &[]).await.unwrap().get(0))
    }

    async fn wait(&self) {
        let begin = Instant::now();
        while let Err(error) = self.connect("127.0.0.1", "").await {
            assert!(begin.elapsed() < Duration::from_secs(30), "{error}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        let _ = kill(
            Pid::from_raw(self.process.id().cast_signed()),
            Signal::SIGINT,
        );
        let _ = self.process.wait();
    }
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Authority {
        issuer: Issuer::new(params, key),
        certificate,
    }
}

fn write(directory: &Path, name: &str, certificate: &Certificate) -> String {
    let file = directory.join(name);
    std::fs::write(&file, certificate.pem()).unwrap();
    file.display().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_mode_checks_what_it_promises() {
    let (ours, theirs) = (authority("ours"), authority("theirs"));
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    let leaf = params.signed_by(&key, &ours.issuer).unwrap();
    let files = tempfile::tempdir().unwrap();
    let root = write(files.path(), "ours.pem", &ours.certificate);
    let wrong = write(files.path(), "theirs.pem", &theirs.certificate);
    let server = TlsServer::start(Some((&leaf.pem(), &key.serialize_pem()))).await;
    server.wait().await;

    let by_name = "localhost";
    let by_address = "127.0.0.1"; // is not in the certificate
    let table: [(&str, String, Result<bool, &str>); 11] = [
        (by_address, String::new(), Ok(true)), // prefer
        (by_address, "sslmode=disable".into(), Ok(false)),
        (by_address, "sslmode=require".into(), Ok(true)),
        (
            by_address,
            format!("sslmode=require&sslrootcert={root}"),
            Ok(true),
        ),
        (
            by_address,
            format!("sslmode=require&sslrootcert={wrong}"),
            Err("UnknownIssuer"),
        ),
        (
            by_address,
            format!("sslmode=verify-ca&sslrootcert={root}"),
            Ok(true),
        ),
        (
            by_address,
            format!("sslmode=verify-ca&sslrootcert={wrong}"),
            Err("UnknownIssuer"),
        ),
        (
            by_name,
            format!("sslmode=verify-full&sslrootcert={root}"),
            Ok(true),
        ),
        (
            by_address,
            format!("sslmode=verify-full&sslrootcert={root}"),
            Err("not valid for name"),
        ),
        (
            by_name,
            format!("sslmode=verify-full&sslrootcert={wrong}"),
            Err("UnknownIssuer"),
        ),
        (
            by_name,
            "sslmode=verify-full&sslrootcert=/nowhere.pem".into(),
            Err("can't be read"),
        ),
    ];
    for (host, query, expected) in table {
        match (server.connect(host, &query).await, expected) {
            (Ok(encrypted), Ok(expected)) => assert_eq!(encrypted, expected, "{host} {query}"),
            (Err(found), Err(expected)) => assert!(found.contains(expected), "{query}: {found}"),
            (found, _) => panic!("{host} {query}: {found:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_self_signed_certificate_is_its_own_root() {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".into()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained); // as `openssl req -x509` makes it
    let own = params.self_signed(&key).unwrap();
    let files = tempfile::tempdir().unwrap();
    let root = write(files.path(), "own.pem", &own);
    let server = TlsServer::start(Some((&own.pem(), &key.serialize_pem()))).await;
    server.wait().await;
    let query = format!("sslmode=verify-full&sslrootcert={root}");
    assert_eq!(server.connect("localhost", &query).await, Ok(true));
    assert!(
        server.connect("127.0.0.1", &query).await.is_err(),
        "the name still counts"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_prefer_goes_on_and_require_does_not() {
    let server = TlsServer::start(None).await;
    server.wait().await;
    assert_eq!(
        server.connect("127.0.0.1", "sslmode=prefer").await,
        Ok(false)
    );
    let refused = server
        .connect("127.0.0.1", "sslmode=require")
        .await
        .unwrap_err();
    assert!(refused.contains("does not support TLS"), "{refused}");
}
