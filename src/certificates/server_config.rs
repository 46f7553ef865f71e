//! How this server speaks TLS: versions, protocols, resumption, and the one crypto provider.

use std::sync::Arc;

use anyhow::Context;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::version::{TLS12, TLS13};

use super::resolver::Resolver;
use super::resumption::Tickets;
use crate::config::TlsVersion;

/// HTTP/2 over TLS (RFC 9113, section 3.2).
pub const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1 (RFC 7301, section 6).
pub const ALPN_HTTP11: &[u8] = b"http/1.1";
/// HTTP/1.0, which `curl --http1.0` offers and nothing else.
pub const ALPN_HTTP10: &[u8] = b"http/1.0";

/// Makes ring the provider of everything in this process that does not name one (the proxy's
/// connections, the database's). The first caller wins, so this comes first in `main`; calling it
/// again changes nothing.
pub fn install_crypto_provider() {
    // The error only says that a provider is installed already.
    let _ = ring::default_provider().install_default();
}

/// The configuration of a TLS listener. `alpn` is in the server's order of preference; a client
/// that offers ALPN and none of it is refused (RFC 7301, section 3.2).
///
/// # Errors
/// When the crypto provider lacks a version of TLS.
pub fn server_config(
    resolver: Arc<Resolver>,
    min_version: TlsVersion,
    alpn: &[&[u8]],
    tickets: &Tickets,
) -> anyhow::Result<ServerConfig> {
    let versions: &[&rustls::SupportedProtocolVersion] = match min_version {
        TlsVersion::Tls12 => &[&TLS13, &TLS12],
        TlsVersion::Tls13 => &[&TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .context("the crypto provider lacks a version of TLS")?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Tickets instead of the default session cache of 256 entries, which a busy listener evicts
    // before anybody returns.
    config.ticketer = tickets.ticketer();
    // Every suite offered is strong, so the client's order counts: phones without AES
    // instructions ask for ChaCha20 first, and are right.
    config.ignore_client_order = false;
    // SECURITY: early data can be replayed (RFC 8446, section 8), and nothing here guards against it.
    config.max_early_data_size = 0;
    Ok(config)
}
