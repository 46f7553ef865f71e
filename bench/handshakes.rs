//! The load of `bench/handshakes`: TLS handshakes with one server, as many as it takes.
//!
//! `handshakes ADDRESS NAME VERSION KIND SECONDS CLIENTS`, where `VERSION` is 1.2 or 1.3 and `KIND` is full
//! or resumed. Prints the number of handshakes, the seconds they took together, and the milliseconds that
//! half of them and 99 of a hundred took at most, from the SYN to the end of the handshake.
//!
//! Each connection does its handshake, says goodbye and waits for the server to have closed as well,
//! so that no work is left for later. It verifies nothing: the load must not be the slower side.

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What each client does.
#[derive(Clone)]
struct Job {
    server: SocketAddr,
    name: ServerName<'static>,
    tls: Arc<ClientConfig>,
    kind: HandshakeKind,
    is_tls13: bool,
    until: Instant,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [server, name, version, kind, seconds, clients] = arguments.as_slice() else {
        bail!("handshakes ADDRESS NAME 1.2|1.3 full|resumed SECONDS CLIENTS");
    };
    let begin = Instant::now();
    let is_tls13 = match version.as_str() {
        "1.2" => false,
        "1.3" => true,
        other => bail!("{other} is no version of TLS that is measured here"),
    };
    let kind = match kind.as_str() {
        "full" => HandshakeKind::Full,
        "resumed" => HandshakeKind::Resumed,
        other => bail!("{other} is neither full nor resumed"),
    };
    let until = begin + Duration::from_secs(seconds.parse().context("SECONDS")?);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..clients.parse::<u32>().context("CLIENTS")? {
        let job = Job {
            server: server.parse().context("ADDRESS")?,
            name: ServerName::try_from(name.clone()).context("NAME")?,
            // One each, so that every client has a session of its own to take up.
            tls: client(is_tls13, kind)?,
            kind,
            is_tls13,
            until,
        };
        tasks.spawn(async move { job.run().await });
    }
    let mut took = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        took.extend(ended??);
    }
    let seconds = begin.elapsed().as_secs_f64();
    took.sort_unstable();
    ensure!(!took.is_empty(), "no handshake in {seconds} s");
    let [half, most] = [50, 99].map(|part| took[took.len() * part / 100].as_secs_f64() * 1e3);
    println!("{} {seconds:.6} {half:.3} {most:.3}", took.len());
    Ok(())
}

impl Job {
    /// How long each handshake took.
    async fn run(&self) -> anyhow::Result<Vec<Duration>> {
        if self.kind == HandshakeKind::Resumed {
            self.shake_hands().await.context("the first handshake")?;
        }
        let mut all = Vec::new();
        while Instant::now() < self.until {
            let (kind, took) = self.shake_hands().await?;
            ensure!(kind == self.kind, "a handshake was {kind:?}");
            all.push(took);
        }
        Ok(all)
    }

    async fn shake_hands(&self) -> anyhow::Result<(HandshakeKind, Duration)> {
        let begin = Instant::now();
        let socket = connect(self.server).await?;
        let connector = TlsConnector::from(Arc::clone(&self.tls));
        let mut stream = connector.connect(self.name.clone(), socket).await?;
        if self.is_tls13 {
            ticket(&mut stream).await?;
        }
        let took = begin.elapsed();
        let kind = stream.get_ref().1.handshake_kind();
        stream.shutdown().await?;
        // A server may close without a word of its own.
        let _ = stream.read(&mut [0]).await;
        Ok((kind.context("the handshake is not over")?, took))
    }
}

/// From an address of its own, so that the system never runs out of ports.
async fn connect(server: SocketAddr) -> anyhow::Result<TcpStream> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let [_, _, high, low] = (next % 50_000 + 256).to_be_bytes();
    let socket = TcpSocket::new_v4()?;
    socket.set_nodelay(true)?;
    socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into())?;
    Ok(socket.connect(server).await?)
}

/// Waits for the ticket with which TLS 1.3 ends (RFC 8446, section 4.6.1), although nothing is sent
/// after it.
async fn ticket(stream: &mut TlsStream<TcpStream>) -> anyhow::Result<()> {
    std::future::poll_fn(|context| {
        let mut byte = [0];
        let read = Pin::new(&mut *stream).poll_read(context, &mut ReadBuf::new(&mut byte));
        if stream.get_ref().1.tls13_tickets_received() > 0 {
            return Poll::Ready(Ok(()));
        }
        match read {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(())) => Poll::Ready(Err(anyhow::anyhow!("closed without a ticket"))),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        }
    })
    .await
}

fn client(is_tls13: bool, kind: HandshakeKind) -> anyhow::Result<Arc<ClientConfig>> {
    let version = if is_tls13 { &TLS13 } else { &TLS12 };
    let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[version])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAll))
        .with_no_client_auth();
    tls.resumption = match kind {
        HandshakeKind::Resumed => Resumption::in_memory_sessions(4),
        _ => Resumption::disabled(),
    };
    Ok(Arc::new(tls))
}

#[derive(Debug)]
struct TakesAll;

impl ServerCertVerifier for TakesAll {
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
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::RSA_PSS_SHA256,
        ]
    }
}
