//! What a command needs of the file to find the running server, and no more: a mistake elsewhere in it is
//! none of the server's that runs, and must not take its operator's commands away.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::read::{boolean, list, text, unless_empty};
use super::reader::Section;
use super::server::greeting;
use super::values::{parse_listener, parse_network};
use super::{Config, HostPattern, tls};

/// The keys that [`admin`] reads, and the tables on their way.
pub(super) const ADMIN: &[&str] = &["server", "admin"];
/// The keys that [`reach`] reads, and the tables on their way.
pub(super) const REACH: &[&str] = &[
    "server",
    "http",
    "https",
    "hosts",
    "trusted_proxies",
    "proxy_protocol",
    "tls",
    "mode",
];

/// Where a server's visitors reach it, and how they have to begin.
#[derive(Debug, Clone, PartialEq)]
pub struct Reach {
    /// Plain HTTP listeners.
    pub http: Vec<SocketAddr>,
    /// TLS listeners; empty without TLS.
    pub https: Vec<SocketAddr>,
    /// Names served; empty means any.
    pub hosts: Vec<HostPattern>,
    trusted_proxies: Vec<IpNet>,
    proxy_protocol: bool,
}

impl Reach {
    /// As [`Server::greeting`](super::Server::greeting).
    #[must_use]
    pub fn greeting(&self, own: IpAddr) -> &'static [u8] {
        greeting(self.proxy_protocol, &self.trusted_proxies, own)
    }
}

impl From<&Config> for Reach {
    fn from(config: &Config) -> Self {
        let server = &config.server;
        Self {
            http: server.http.clone(),
            https: server.https.clone(),
            hosts: server.hosts.clone(),
            trusted_proxies: server.trusted_proxies.clone(),
            proxy_protocol: server.proxy_protocol,
        }
    }
}

/// Reads `server.admin`.
pub(super) fn admin(root: &Section<'_>) -> Option<SocketAddr> {
    let server = root.table("server");
    server.value("admin", unless_empty(text(parse_listener)))
}

/// Reads where visitors reach the server.
pub(super) fn reach(root: &Section<'_>) -> Reach {
    let server = root.table("server");
    let listeners = |key| server.value(key, list(text(parse_listener)));
    Reach {
        http: listeners("http"),
        https: if tls::is_off(&root.table("tls")) {
            Vec::new()
        } else {
            listeners("https")
        },
        hosts: server.value("hosts", list(text(HostPattern::parse))),
        trusted_proxies: server.value("trusted_proxies", list(text(parse_network))),
        proxy_protocol: server.value("proxy_protocol", boolean),
    }
}
