//! Real handshakes: rustls's client against the configuration that listeners use.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, ServerConfig,
    SupportedProtocolVersion,
};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::watch;
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use super::Certificates;
use super::resumption::Tickets;
use super::testing::{Authority, tls, write_pair};
use crate::config::{HostPattern, TlsFiles, TlsMode, TlsVersion};

/// A client's clock that stands still.
#[derive(Debug)]
struct Fixed(OffsetDateTime);

impl TimeProvider for Fixed {
    fn current_time(&self) -> Option<UnixTime> {
        let seconds = self.0.unix_timestamp().try_into().ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
    }
}

/// Both ends of a connection whose handshake is done.
struct Connection {
    client: client::TlsStream<DuplexStream>,
    server: server::TlsStream<DuplexStream>,
}

impl Connection {
    /// Sends a byte each way. With it the client has read the tickets of TLS 1.3 as well.
    async fn echo(&mut self) {
        self.client.write_u8(1).await.unwrap();
        assert_eq!(self.server.read_u8().await.unwrap(), 1);
        self.server.write_u8(2).await.unwrap();
        assert_eq!(self.client.read_u8().await.unwrap(), 2);
    }

    fn leaf(&self) -> CertificateDer<'static> {
        let (_, session) = self.client.get_ref();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    }

    fn alpn(&self) -> Option<&[u8]> {
        self.server.get_ref().1.alpn_protocol()
    }

    fn kind(&self) -> HandshakeKind {
        self.client.get_ref().1.handshake_kind().unwrap()
    }

    fn version(&self) -> ProtocolVersion {
        self.client.get_ref().1.protocol_version().unwrap()
    }
}

async fn connect(
    server: &Arc<ServerConfig>,
    client: &Arc<ClientConfig>,
    name: &str,
) -> io::Result<Connection> {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let (client, server) = tokio::join!(
        TlsConnector::from(Arc::clone(client)).connect(name, near),
        TlsAcceptor::from(Arc::clone(server)).accept(far),
    );
    // The client's error first: it names the alert it was sent.
    Ok(Connection {
        client: client?,
        server: server?,
    })
}

/// A client that trusts `root` only, and verifies names and times as every client does.
fn client(
    root: &[u8],
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
) -> Arc<ClientConfig> {
    client_with_clock(root, versions, alpn, Arc::new(DefaultTimeProvider))
}

fn client_with_clock(
    root: &[u8],
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&str],
    clock: Arc<dyn TimeProvider>,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(root.to_vec())).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_details(provider, clock)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn
        .iter()
        .map(|protocol| protocol.as_bytes().to_vec())
        .collect();
    Arc::new(config)
}

fn modern(root: &[u8]) -> Arc<ClientConfig> {
    client(root, &[&TLS13, &TLS12], &["h2", "http/1.1"])
}

fn files(files: &[TlsFiles]) -> Arc<Certificates> {
    let tls = tls(TlsMode::Files(files.to_vec()), Path::new("unused"));
    Arc::new(Certificates::load_parts(&tls, &[]).unwrap())
}

fn server(certificates: &Certificates) -> Arc<ServerConfig> {
    Arc::new(
        certificates
            .server_config(&Tickets::new().unwrap())
            .unwrap(),
    )
}

#[tokio::test]
async fn the_self_signed_certificate_is_verified_by_a_client_that_trusts_it() {
    let root = tempfile::tempdir().unwrap();
    let hosts = [
        HostPattern::Exact("notes.test".into()),
        HostPattern::Wildcard("apps.test".into()),
    ];
    let tls = tls(TlsMode::SelfSigned, root.path());
    let certificates = Certificates::load_parts(&tls, &hosts).unwrap();
    let server = server(&certificates);
    let certificate = certificates.resolver().lookup(None).unwrap().cert[0].clone();
    let client = modern(&certificate);
    for name in ["localhost", "127.0.0.1", "::1", "notes.test", "x.apps.test"] {
        connect(&server, &client, name).await.unwrap().echo().await;
    }
    // Another name is served as well; it is the client that refuses it.
    let error = connect(&server, &client, "other.test").await.err().unwrap();
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

#[tokio::test]
async fn own_certificates_are_chosen_by_name_and_unknown_names_refused() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let leaves = [
        ("one", authority.leaf(&["one.test", "127.0.0.1"])),
        ("two", authority.leaf(&["*.two.test"])),
    ];
    let pairs: Vec<_> = leaves
        .iter()
        .map(|(name, leaf)| write_pair(root.path(), name, leaf))
        .collect();
    let server = server(&files(&pairs));
    let client = modern(&authority.der);
    // An address is never sent as SNI, so it gets the first pair.
    for (name, expected) in [("one.test", 0), ("x.two.test", 1), ("127.0.0.1", 0)] {
        let connection = connect(&server, &client, name).await.unwrap();
        assert_eq!(
            connection.leaf().as_ref(),
            leaves[expected].1.chain_der[0],
            "{name}"
        );
    }
    let error = connect(&server, &client, "three.test").await.err().unwrap();
    assert!(error.to_string().contains("alert"), "{error}");
}

#[tokio::test]
async fn http2_is_preferred_and_http11_spoken() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = write_pair(root.path(), "a", &authority.leaf(&["a.test"]));
    let server = server(&files(&[pair]));
    let cases = [
        (vec!["h2", "http/1.1"], Some("h2")),
        (vec!["http/1.1", "h2"], Some("h2")),
        (vec!["http/1.1"], Some("http/1.1")),
        (vec![], None),
    ];
    for (offered, expected) in cases {
        let client = client(&authority.der, &[&TLS13, &TLS12], &offered);
        let connection = connect(&server, &client, "a.test").await.unwrap();
        assert_eq!(connection.alpn(), expected.map(str::as_bytes));
    }
    let client = client(&authority.der, &[&TLS13], &["spdy/3"]);
    assert!(connect(&server, &client, "a.test").await.is_err());
}

#[tokio::test]
async fn both_versions_are_resumed() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = write_pair(root.path(), "a", &authority.leaf(&["a.test"]));
    let server = server(&files(&[pair]));
    for version in [&TLS13, &TLS12] {
        let client = client(&authority.der, &[version], &["h2"]);
        for expected in [
            HandshakeKind::Full,
            HandshakeKind::Resumed,
            HandshakeKind::Resumed,
        ] {
            let mut connection = connect(&server, &client, "a.test").await.unwrap();
            connection.echo().await;
            assert_eq!(connection.version(), version.version);
            assert_eq!(connection.kind(), expected, "{:?}", version.version);
        }
    }
}

#[tokio::test]
async fn resumption_does_not_depend_on_a_cache_of_sessions() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = write_pair(root.path(), "a", &authority.leaf(&["a.test"]));
    let mut config = files(&[pair])
        .server_config(&Tickets::new().unwrap())
        .unwrap();
    config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
    let server = Arc::new(config);
    for version in [&TLS13, &TLS12] {
        let client = client(&authority.der, &[version], &[]);
        connect(&server, &client, "a.test")
            .await
            .unwrap()
            .echo()
            .await;
        let again = connect(&server, &client, "a.test").await.unwrap();
        assert_eq!(
            again.kind(),
            HandshakeKind::Resumed,
            "{:?}",
            version.version
        );
    }
}

#[tokio::test]
async fn the_minimum_version_is_kept() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let pair = write_pair(root.path(), "a", &authority.leaf(&["a.test"]));
    let mut tls = tls(TlsMode::Files(vec![pair]), Path::new("unused"));
    let cases = [
        (TlsVersion::Tls12, &TLS12, true),
        (TlsVersion::Tls12, &TLS13, true),
        (TlsVersion::Tls13, &TLS12, false),
        (TlsVersion::Tls13, &TLS13, true),
    ];
    for (minimum, offered, accepted) in cases {
        tls.min_version = minimum;
        let server = server(&Certificates::load_parts(&tls, &[]).unwrap());
        let client = client(&authority.der, &[offered], &[]);
        let connected = connect(&server, &client, "a.test").await.is_ok();
        assert_eq!(connected, accepted, "{minimum:?} {offered:?}");
    }
}

#[tokio::test]
async fn a_replaced_certificate_is_served_within_seconds_and_open_connections_go_on() {
    let root = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let (old, new) = (authority.leaf(&["a.test"]), authority.leaf(&["a.test"]));
    let pair = write_pair(root.path(), "a", &old);
    let certificates = files(std::slice::from_ref(&pair));
    let server = server(&certificates);
    // A new client each time: a resumed session would show the certificate it began with.
    let fresh = || modern(&authority.der);
    let mut open = connect(&server, &fresh(), "a.test").await.unwrap();
    assert_eq!(open.leaf().as_ref(), old.chain_der[0]);

    let (stop, stopped) = watch::channel(false);
    let task = tokio::spawn(Arc::clone(&certificates).keep_fresh(Vec::new(), stopped));
    // As certbot does: one file after the other.
    fs::write(&pair.cert, &new.chain).unwrap();
    fs::write(&pair.key, &new.key).unwrap();
    let served_new = async {
        loop {
            let connection = connect(&server, &fresh(), "a.test").await.unwrap();
            if connection.leaf().as_ref() == new.chain_der[0] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), served_new)
        .await
        .expect("the new certificate is served within 5 s");
    open.echo().await;

    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(1), task)
        .await
        .expect("the task ends when told")
        .unwrap();
}

#[tokio::test]
async fn a_renewed_self_signed_certificate_is_served_to_the_next_handshake() {
    let root = tempfile::tempdir().unwrap();
    let tls = tls(TlsMode::SelfSigned, root.path());
    let certificates = Certificates::load_parts(&tls, &[]).unwrap();
    let server = server(&certificates);
    let first = certificates.resolver().lookup(None).unwrap().cert[0].clone();
    let mut open = connect(&server, &modern(&first), "localhost")
        .await
        .unwrap();
    assert_eq!(open.leaf(), first);

    let later = OffsetDateTime::now_utc() + time::Duration::days(340);
    certificates.refresh(later);
    let second = certificates.resolver().lookup(None).unwrap().cert[0].clone();
    assert_ne!(second, first);
    let client = client_with_clock(&second, &[&TLS13], &[], Arc::new(Fixed(later)));
    let connection = connect(&server, &client, "localhost").await.unwrap();
    assert_eq!(connection.leaf(), second);
    open.echo().await;
}
