//! TLS in front of a server that has none, with certificates of the test's own authorities.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::server::PATIENCE;

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// Decrypts on a free port of 127.0.0.1, for as long as the test runs.
pub struct TlsFront {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Receiver<Asked>,
}

/// What a handshake asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name in SNI.
    pub name: Option<String>,
    /// The protocol that was agreed on.
    pub alpn: Option<String>,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Two authorities of one name: only their keys tell them apart.
        params
            .distinguished_name
            .push(DnType::CommonName, "Test CA");
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes its certificate.
    pub fn write(&self, path: &Path) {
        std::fs::write(path, &self.pem).unwrap();
    }

    /// Writes a certificate for `names`, and its key.
    pub fn write_pair(&self, names: &[&str], certificate: &Path, key: &Path) {
        let (issued, its_key) = self.issue(names);
        std::fs::write(certificate, issued.pem()).unwrap();
        std::fs::write(key, its_key.serialize_pem()).unwrap();
    }

    fn issue(&self, names: &[&str]) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Decrypts in front of `target`, showing a certificate for `names`.
    pub fn front(&self, names: &[&str], alpn: &[&str], target: SocketAddr) -> TlsFront {
        let (certificate, key) = self.issue(names);
        let chain = vec![CertificateDer::from(certificate)];
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsFront::start(TlsAcceptor::from(Arc::new(config)), target)
    }
}

impl TlsFront {
    fn start(acceptor: TlsAcceptor, target: SocketAddr) -> Self {
        let (told, address) = channel();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async move {
                let any = SocketAddr::from((IpAddr::from([127, 0, 0, 1]), 0));
                let listener = TcpListener::bind(any).await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                loop {
                    let client = listener.accept().await.unwrap().0;
                    tokio::spawn(serve(acceptor.clone(), client, target, sender.clone()));
                }
            });
        });
        Self {
            address: address.recv().unwrap(),
            asked,
        }
    }

    /// The next handshake that succeeded.
    pub fn asked(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("a handshake")
    }
}

async fn serve(acceptor: TlsAcceptor, client: TcpStream, target: SocketAddr, asked: Sender<Asked>) {
    // A client that doesn't trust us goes.
    let Ok(mut client) = acceptor.accept(client).await else {
        return;
    };
    let session = client.get_ref().1;
    let alpn = session.alpn_protocol();
    let handshake = Asked {
        name: session.server_name().map(str::to_owned),
        alpn: alpn.map(|name| String::from_utf8(name.to_vec()).unwrap()),
    };
    // Nobody may want to know.
    let _ = asked.send(handshake);
    let mut server = TcpStream::connect(target).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
