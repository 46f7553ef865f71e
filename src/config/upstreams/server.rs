//! One of an upstream's `servers`.

use std::fmt;
use std::path::{Path, PathBuf};

use url::Host;

use crate::config::values::{Invalid, parse_port};

/// One server of an upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamServer {
    /// How to reach it.
    pub address: UpstreamAddress,
    /// How to speak to it.
    pub protocol: UpstreamProtocol,
    /// Its share of the requests, beside the others' weights. Default 1.
    pub weight: u32,
}

/// Where a server of an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A host (name or address) and a port.
    Tcp {
        /// Name or address, without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// What a server of an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1 in the clear.
    Http,
    /// HTTP/1.1 over verified TLS.
    Https,
    /// HTTP/2 over verified TLS.
    H2,
    /// HTTP/2 in the clear with prior knowledge (RFC 9113, section 3.3).
    H2c,
}

/// Largest weight of a server: the turns of an upstream are written out once.
const HEAVIEST: u32 = 100;

impl UpstreamServer {
    /// `127.0.0.1:3000`, `http://…`, `https://…`, `h2://…`, `h2c://…` or `unix:/run/app.sock`,
    /// perhaps with ` weight=3` behind. Ports default to 80 and 443 where a scheme is written.
    ///
    /// # Errors
    /// Says how to write a server.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (text, weight) = split_weight(text)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self {
                address: parse_socket(path)?,
                protocol: UpstreamProtocol::Http,
                weight,
            });
        }
        let (protocol, default_port, authority) = match text.split_once("://") {
            None => (UpstreamProtocol::Http, None, text),
            Some(("http", rest)) => (UpstreamProtocol::Http, Some(80), rest),
            Some(("https", rest)) => (UpstreamProtocol::Https, Some(443), rest),
            Some(("h2", rest)) => (UpstreamProtocol::H2, Some(443), rest),
            Some(("h2c", rest)) => (UpstreamProtocol::H2c, Some(80), rest),
            Some(_) => {
                return Err(Invalid::new(
                    "unknown scheme; http, https, h2, h2c and unix are known",
                ));
            }
        };
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.contains(['/', '?', '#', '@']) {
            return Err(Invalid::new(
                "a server is a host and a port, without path, query or user",
            ));
        }
        let (host, port) = split_port(authority, default_port)?;
        Ok(Self {
            address: UpstreamAddress::Tcp {
                host: parse_host(host)?,
                port,
            },
            protocol,
            weight,
        })
    }

    /// The server with a relative socket path resolved against `dir`.
    #[must_use]
    pub fn resolved(self, dir: &Path) -> Self {
        match self.address {
            UpstreamAddress::Unix(path) => Self {
                address: UpstreamAddress::Unix(dir.join(path)),
                ..self
            },
            UpstreamAddress::Tcp { .. } => self,
        }
    }
}

impl fmt::Display for UpstreamServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            UpstreamAddress::Unix(path) => write!(f, "unix:{}", path.display())?,
            UpstreamAddress::Tcp { host, port } => {
                let scheme = match self.protocol {
                    UpstreamProtocol::Http => "http",
                    UpstreamProtocol::Https => "https",
                    UpstreamProtocol::H2 => "h2",
                    UpstreamProtocol::H2c => "h2c",
                };
                if host.contains(':') {
                    write!(f, "{scheme}://[{host}]:{port}")?;
                } else {
                    write!(f, "{scheme}://{host}:{port}")?;
                }
            }
        }
        if self.weight == 1 {
            return Ok(());
        }
        write!(f, " weight={}", self.weight)
    }
}

impl UpstreamProtocol {
    /// Whether a connection is encrypted, and the server verified.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }
}

fn split_weight(text: &str) -> Result<(&str, u32), Invalid> {
    let Some((server, weight)) = text.rsplit_once(" weight=") else {
        return Ok((text, 1));
    };
    match weight.parse() {
        Ok(weight @ 1..=HEAVIEST) => Ok((server.trim_end(), weight)),
        _ => Err(Invalid::new("the weight is a number from 1 to 100")),
    }
}

fn parse_socket(path: &str) -> Result<UpstreamAddress, Invalid> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains('\0') {
        return Err(Invalid::new(
            r#"no socket named; write for example "unix:/run/app.sock""#,
        ));
    }
    Ok(UpstreamAddress::Unix(PathBuf::from(path)))
}

fn split_port(authority: &str, default: Option<u16>) -> Result<(&str, u16), Invalid> {
    let colon = authority
        .rfind(':')
        .filter(|&colon| !authority[colon..].contains(']'));
    match (colon, default) {
        (Some(colon), _) => {
            let port = parse_port(&authority[colon + 1..]).filter(|&port| port > 0);
            let port = port.ok_or_else(|| Invalid::new("the port is a number from 1 to 65535"))?;
            Ok((&authority[..colon], port))
        }
        (None, Some(port)) => Ok((authority, port)),
        (None, None) => Err(Invalid::new(
            r#"no port; write for example "127.0.0.1:3000""#,
        )),
    }
}

/// A name or address as it is connected to: no brackets, lower case, punycode.
fn parse_host(host: &str) -> Result<String, Invalid> {
    match Host::parse(host) {
        Ok(Host::Domain(name)) => Ok(name),
        Ok(Host::Ipv4(address)) => Ok(address.to_string()),
        Ok(Host::Ipv6(address)) => Ok(address.to_string()),
        Err(_) => Err(Invalid::new(
            "not a host name or address; an IPv6 address stands in brackets",
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn upstream_servers() {
        for (text, expected, why) in [
            (
                "127.0.0.1:3000",
                Some("http://127.0.0.1:3000"),
                "an address",
            ),
            (
                "Backend_1:3000",
                Some("http://backend_1:3000"),
                "a service name of Compose",
            ),
            ("[::1]:3000", Some("http://[::1]:3000"), "IPv6"),
            (
                "http://backend",
                Some("http://backend:80"),
                "the scheme's port",
            ),
            (
                "https://10.0.0.7:8443",
                Some("https://10.0.0.7:8443"),
                "TLS",
            ),
            (
                "https://backend/",
                Some("https://backend:443"),
                "a slash says nothing",
            ),
            (
                "https://[::1]",
                Some("https://[::1]:443"),
                "IPv6 with the scheme's port",
            ),
            (
                "h2c://10.0.0.8:50051",
                Some("h2c://10.0.0.8:50051"),
                "HTTP/2 in the clear",
            ),
            ("unix:/run/app.sock", Some("unix:/run/app.sock"), "a socket"),
            (
                "unix:///run/app.sock",
                Some("unix:/run/app.sock"),
                "a socket as a URL",
            ),
            ("unix:app.sock", Some("unix:app.sock"), "a relative socket"),
            ("h2://backend", Some("h2://backend:443"), "HTTP/2 with TLS"),
            (
                "a:1 weight=3",
                Some("http://a:1 weight=3"),
                "a larger share",
            ),
            ("a:1 weight=1", Some("http://a:1"), "the usual share"),
            (
                "unix:/a b.sock weight=2",
                Some("unix:/a b.sock weight=2"),
                "a socket's share",
            ),
            ("a:1 weight=0", None, "no share"),
            ("a:1 weight=101", None, "too large a share"),
            ("a:1 backup", None, "an unknown word"),
            ("backend", None, "no port"),
            ("backend:0", None, "port 0"),
            ("backend:http", None, "a word for a port"),
            ("::1:3000", None, "no brackets"),
            ("https://backend/api", None, "a path"),
            ("https://u:p@backend", None, "a user"),
            ("ftp://backend", None, "a scheme"),
            ("unix:", None, "no socket"),
            (":3000", None, "no host"),
            ("", None, "empty"),
        ] {
            let parsed = UpstreamServer::parse(text)
                .ok()
                .map(|server| server.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_server_reads_the_same(
            text in "((http|https|h2c)://)?([a-z][a-z0-9]{0,8}|\\[::[1-9a-f]\\]|127\\.0\\.0\\.[0-9]):[1-9][0-9]{0,3}"
        ) {
            let server = UpstreamServer::parse(&text).unwrap();
            prop_assert_eq!(UpstreamServer::parse(&server.to_string()), Ok(server));
        }

        #[test]
        fn parsing_never_panics(text in "(unix:|https://)?[\\[\\]:/@a-z0-9\\PC]{0,20}") {
            let _ = UpstreamServer::parse(&text);
        }
    }
}
