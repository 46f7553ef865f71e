//! A handshake with ourselves: what do clients really get?
//!
//! A certificate that is stored but not served is what users of such software lose their sites by.
//! So after every change, and at every look, a client of our own asks the listener itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::certificates::facts::Facts;
use crate::config;

/// For connection and handshake.
const DEADLINE: Duration = Duration::from_secs(10);

/// A certificate as seen from somewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Serial number in upper-case hexadecimal.
    pub serial: String,
    /// End of its validity.
    pub not_after: OffsetDateTime,
}

impl Seen {
    pub(in crate::certificates) fn of(facts: &Facts) -> Self {
        Self {
            serial: facts.serial.clone(),
            not_after: facts.not_after,
        }
    }
}

/// One of our TLS listeners, as a client on this machine reaches it.
#[derive(Debug, Clone, Copy)]
pub struct Listener {
    address: SocketAddr,
    /// What it wants to hear before the handshake.
    greeting: &'static [u8],
}

impl Listener {
    /// The listener that `server` has bound to `address`.
    #[must_use]
    pub fn new(address: SocketAddr, server: &config::Server) -> Self {
        let address = reachable(address);
        Self {
            address,
            greeting: server.greeting(address.ip()),
        }
    }

    /// Which certificate a client gets that asks for `name`.
    pub(in crate::certificates) async fn served(self, name: &str) -> io::Result<Seen> {
        let name = ServerName::try_from(name.to_owned()).map_err(io::Error::other)?;
        let handshake = async {
            let mut socket = TcpStream::connect(self.address).await?;
            socket.write_all(self.greeting).await?;
            let connector = TlsConnector::from(Arc::new(observing_client()?));
            let stream = connector.connect(name, socket).await?;
            let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let chain: Vec<_> = chain.iter().map(|der| der.clone().into_owned()).collect();
            Facts::of(&chain).map_err(io::Error::other)
        };
        let facts = timeout(DEADLINE, handshake).await.map_err(|_| {
            io::Error::new(io::ErrorKind::TimedOut, "no handshake within ten seconds")
        })??;
        Ok(Seen::of(&facts))
    }
}

impl std::fmt::Display for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// A listener on every address is reached by the loopback.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(four) if four.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(six) if six.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// TLS towards ourselves, whatever certificate we have just now.
pub(crate) fn observing_client() -> io::Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let verifier = Arc::new(Observer(Arc::clone(&provider)));
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// SECURITY: takes any certificate, because it wants to know which one it is, or whether anything
/// answers. Never for what must not reach another server; that this one holds the key is checked all
/// the same.
#[derive(Debug)]
struct Observer(Arc<CryptoProvider>);

impl ServerCertVerifier for Observer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_every_address_is_reached_by_the_loopback() {
        let table = [
            ("0.0.0.0:8443", "127.0.0.1:8443"),
            ("[::]:8443", "[::1]:8443"),
            ("127.0.0.3:1", "127.0.0.3:1"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
        ];
        for (bound, expected) in table {
            let found = reachable(bound.parse().unwrap());
            assert_eq!(found, expected.parse().unwrap());
        }
    }
}
