//! A real CA on this machine: Pebble with its DNS server, and in front of it a proxy that breaks
//! what the test wants broken.
//!
//! Each CA has a loopback address of its own, and so has every port on it: the server under test
//! must listen where Pebble looks for proofs, and Pebble must know that before.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tempfile::TempDir;
use tokio::net::TcpStream as AsyncTcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::fault_proxy::FaultProxy;
use super::server::{PATIENCE, Setup};

/// The first port of each CA. Its address is its own, so nobody is in the way; and the system gives these
/// to nobody who listens on every address, not even while the server under test is down.
const PORTS: u16 = 20_000;

/// A CA whose certificates are for `*.test`.
pub struct Pebble {
    /// What stands between the server and Pebble.
    pub proxy: FaultProxy,
    /// Where every name leads, and everything of it listens.
    pub address: Ipv4Addr,
    /// Where it looks for http-01 proofs.
    pub http: u16,
    /// Where it looks for tls-alpn-01 proofs.
    pub tls: u16,
    management: u16,
    directory: TempDir,
    /// Each a shell that ends its program when this process is gone, however it went.
    programs: Vec<Child>,
}

/// How a CA is to be.
pub struct CaSetup {
    validity: Duration,
    deaf: Option<&'static str>,
    /// Names and MAC keys.
    customers: Vec<(&'static str, &'static str)>,
}

/// A certificate that a verified handshake got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Upper-case hexadecimal.
    pub serial: String,
}

impl CaSetup {
    /// Certificates are valid for this long.
    pub fn validity(mut self, validity: Duration) -> Self {
        self.validity = validity;
        self
    }

    /// Looks for proofs of this kind where nothing listens.
    pub fn deaf_to(mut self, challenge: &'static str) -> Self {
        self.deaf = Some(challenge);
        self
    }

    /// Serves this customer only, known to it by a MAC key (base64url).
    pub fn customer(mut self, kid: &'static str, key: &'static str) -> Self {
        self.customers.push((kid, key));
        self
    }

    /// Starts it.
    pub async fn start(self) -> Pebble {
        unibody::certificates::install_crypto_provider();
        let directory = tempfile::tempdir().unwrap();
        let address = own_address();
        let [http, tls, dns, dns_management, listen, management, nothing] =
            std::array::from_fn(|index| PORTS + u16::try_from(index).unwrap());
        let (chain, key) = make_authority(directory.path(), address);
        let looks_at = |challenge, port| {
            if self.deaf == Some(challenge) {
                nothing
            } else {
                port
            }
        };
        let config = serde_json::json!({"pebble": {
            "listenAddress": format!("{address}:{listen}"),
            "managementListenAddress": format!("{address}:{management}"),
            "certificate": directory.path().join("chain.pem"),
            "privateKey": directory.path().join("key.pem"),
            "httpPort": looks_at("http-01", http),
            "tlsPort": looks_at("tls-alpn-01", tls),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": !self.customers.is_empty(),
            "externalAccountMACKeys": self.customers.iter().copied().collect::<HashMap<_, _>>(),
            "certificateValidityPeriod": self.validity.as_secs(),
        }});
        let config_file = directory.path().join("pebble.json");
        std::fs::write(&config_file, config.to_string()).unwrap();

        let dns_address = format!("{address}:{dns}");
        let names = [
            "-dns01".to_owned(),
            dns_address.clone(),
            "-management".to_owned(),
            format!("{address}:{dns_management}"),
        ];
        let none = [
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-defaultIPv6",
            "",
        ];
        let answers = ["-defaultIPv4".to_owned(), address.to_string()];
        let challtestsrv = program(
            directory.path(),
            "pebble-challtestsrv",
            names
                .into_iter()
                .chain(none.map(str::to_owned))
                .chain(answers),
        );
        let pebble = program(
            directory.path(),
            "pebble",
            [
                "-strict".to_owned(),
                "-config".to_owned(),
                config_file.display().to_string(),
                "-dnsserver".to_owned(),
                dns_address,
            ],
        );
        let upstream = SocketAddr::from((address, listen));
        let proxy = FaultProxy::start(address, upstream, &chain, &key).await;
        let pebble = Pebble {
            proxy,
            address,
            http,
            tls,
            management,
            directory,
            programs: vec![challtestsrv, pebble],
        };
        for port in [dns, listen, management] {
            pebble.wait_for_port(port);
        }
        pebble
    }
}

impl Pebble {
    /// A CA that rejects half of all nonces, and whose certificates are valid for 90 days.
    pub fn setup() -> CaSetup {
        CaSetup {
            validity: Duration::from_hours(90 * 24),
            deaf: None,
            customers: Vec::new(),
        }
    }

    /// A server that is to get certificates from it for `hosts`, with these challenges.
    pub fn server(&self, hosts: &[&str], challenges: &[&str]) -> Setup {
        self.server_at(self.address, hosts, challenges, "")
    }

    /// The same on another address than the one that every name leads to, with `more` in `[acme]`.
    pub fn server_at(
        &self,
        address: Ipv4Addr,
        hosts: &[&str],
        challenges: &[&str],
        more: &str,
    ) -> Setup {
        let Self { http, tls, .. } = self;
        let ca_file = self.root();
        let ca_file = ca_file.display();
        let directory = self.proxy.directory();
        Setup::new().config(&format!(
            "[server]\nhttp = [\"{address}:{http}\"]\nhttps = [\"{address}:{tls}\"]\nhosts = {hosts:?}\n\
             [tls]\nmode = \"acme\"\n\
             [acme]\ndirectory = \"{directory}\"\nca_file = \"{ca_file}\"\nchallenges = {challenges:?}\n{more}\n"
        ))
    }

    /// A TLS certificate with its key, of the authority that `acme.ca_file` names, for another
    /// server at [`address`](Self::address).
    pub fn certified(&self) -> TlsAcceptor {
        let read = |name| std::fs::read(self.directory.path().join(name)).unwrap();
        super::fault_proxy::acceptor(&read("chain.pem"), &read("key.pem"))
    }

    /// The root certificate of its own server.
    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root.pem")
    }

    /// The address of the server's TLS listener.
    pub fn https(&self) -> SocketAddr {
        (self.address, self.tls).into()
    }

    /// The URL of `path` on the server's plain listener.
    pub fn plain_url(&self, path: &str) -> String {
        format!("http://{}:{}{path}", self.address, self.http)
    }

    /// What a client that trusts this CA gets when it asks the server for `name`.
    pub async fn handshake(&self, name: &str) -> Result<Handshake, String> {
        let tls = self.client().await;
        handshake(&tls, self.https(), name).await
    }

    /// A client that trusts this CA's root, which is another one at every start.
    pub async fn client(&self) -> Arc<ClientConfig> {
        let url = format!("https://{}:{}/roots/0", self.address, self.management);
        let pem = super::http::client()
            .get(url)
            .send()
            .await
            .unwrap()
            .bytes()
            .await
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(&pem).unwrap())
            .unwrap();
        let client = ClientConfig::builder().with_root_certificates(roots);
        Arc::new(client.with_no_client_auth())
    }

    fn wait_for_port(&self, port: u16) {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect((self.address, port)).is_err() {
            assert!(Instant::now() < deadline, "not listening:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything Pebble has said.
    pub fn log(&self) -> String {
        let mut log = String::new();
        let path = log_of(self.directory.path(), "pebble");
        let _ = File::open(path).and_then(|mut file| file.read_to_string(&mut log));
        log
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for program in &mut self.programs {
            drop(program.stdin.take());
            let _ = program.wait();
        }
    }
}

/// A handshake with `address` for `name`, verified by `client`.
pub async fn handshake(
    client: &Arc<ClientConfig>,
    address: SocketAddr,
    name: &str,
) -> Result<Handshake, String> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let socket = AsyncTcpStream::connect(address)
        .await
        .map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(client.clone())
        .connect(name, socket)
        .await
        .map_err(|error| error.to_string())?;
    let chain = stream.get_ref().1.peer_certificates().unwrap();
    let (_, leaf) = X509Certificate::from_der(&chain[0]).unwrap();
    let digits = leaf.raw_serial().iter().map(|byte| format!("{byte:02X}"));
    let serial: String = digits.collect();
    Ok(Handshake {
        serial: serial.strip_prefix("00").unwrap_or(&serial).to_owned(),
    })
}

/// A loopback address that no other test of this machine's runs uses at the same time.
pub fn own_address() -> Ipv4Addr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let process = std::process::id().to_be_bytes();
    Ipv4Addr::new(
        127,
        100 + process[2] % 100,
        process[3],
        NEXT.fetch_add(1, Ordering::Relaxed),
    )
}

/// Makes the root and the leaf of the CA's own HTTPS; answers chain and key.
fn make_authority(directory: &Path, address: Ipv4Addr) -> (String, String) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root_pem = root.self_signed(&root_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned(), address.to_string()]).unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let chain = format!("{}{root_pem}", leaf.pem());
    std::fs::write(directory.join("root.pem"), root_pem).unwrap();
    std::fs::write(directory.join("chain.pem"), &chain).unwrap();
    std::fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    (chain, key.serialize_pem())
}

/// Starts `name`, with its output in a file, below a shell that ends it with this process.
fn program(directory: &Path, name: &str, arguments: impl IntoIterator<Item = String>) -> Child {
    let log = File::create(log_of(directory, name)).unwrap();
    Command::new("sh")
        .arg("-c")
        .arg(r#""$@" </dev/null & pid=$!; read -r _; kill -KILL "$pid"; wait"#)
        .arg("sh")
        .arg(name)
        .args(arguments)
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env("PEBBLE_WFE_NONCEREJECT", "50")
        .env("PEBBLE_AUTHZREUSE", "0")
        .stdin(Stdio::piped())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

fn log_of(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.log"))
}
