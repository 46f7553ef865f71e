//! TLS as a client sees it: what was negotiated, and which certificate was shown.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, DigitallySignedStruct, HandshakeKind, ProtocolVersion, SignatureScheme,
    SupportedProtocolVersion,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A client that takes any certificate and remembers sessions.
pub struct Handshakes(Arc<ClientConfig>);

/// A finished handshake.
pub struct Handshake {
    /// The connection, to go on with.
    pub stream: TlsStream<TcpStream>,
}

impl Handshakes {
    /// Offers both versions of TLS and `alpn`.
    pub fn new(alpn: &[&str]) -> Self {
        Self::of_versions(&[&TLS13, &TLS12], alpn)
    }

    /// Offers TLS 1.2 only.
    pub fn tls12() -> Self {
        Self::of_versions(&[&TLS12], &["http/1.1"])
    }

    fn of_versions(versions: &[&'static SupportedProtocolVersion], alpn: &[&str]) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Self(Arc::new(config))
    }

    /// Connects to `address` and asks for `name`: a host, or an address, which sends no SNI.
    pub async fn connect(&self, address: SocketAddr, name: &str) -> std::io::Result<Handshake> {
        let socket = TcpStream::connect(address).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let connector = TlsConnector::from(self.0.clone());
        let stream = connector.connect(name, socket).await?;
        Ok(Handshake { stream })
    }
}

impl Handshake {
    /// The certificate of the server.
    pub fn certificate(&self) -> CertificateDer<'static> {
        let (_, session) = self.stream.get_ref();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The protocol chosen by ALPN.
    pub fn alpn(&self) -> Option<&str> {
        let (_, session) = self.stream.get_ref();
        let name = session.alpn_protocol()?;
        Some(std::str::from_utf8(name).unwrap())
    }

    /// The version of TLS.
    pub fn version(&self) -> ProtocolVersion {
        self.stream.get_ref().1.protocol_version().unwrap()
    }

    /// Whether an earlier session was taken up again.
    pub fn is_resumed(&self) -> bool {
        self.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed)
    }
}

/// Checks signatures, but not who has signed the certificate.
#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
