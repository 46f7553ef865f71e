//! One of an upstream's `servers`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
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
    /// Its share of the requests.
    pub share: Share,
}

/// Which part of the requests of its upstream a server gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Its turns, beside the others' weights. Default 1.
    pub weight: u32,
    /// Whether it is asked only when no other server is in. Default false.
    pub is_backup: bool,
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
    /// perhaps with ` weight=3` and ` backup` behind. Ports default to 80 and 443 where a scheme is written.
    ///
    /// # Errors
    /// Says how to write a server.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let (text, share) = split_share(text)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self {
                address: parse_socket(path)?,
                protocol: UpstreamProtocol::Http,
                share,
            });
        }
        if text.contains(char::is_whitespace) {
            return Err(Invalid::new(
                "nothing but weight=2 and backup can stand behind a server",
            ));
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
            share,
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

impl UpstreamAddress {
    /// Whether who connects to it comes to `listener` of the same machine. Names are not looked up.
    #[must_use]
    pub fn leads_to(&self, listener: SocketAddr) -> bool {
        let Self::Tcp { host, port } = self else {
            return false;
        };
        let address: Result<IpAddr, _> = match host.as_str() {
            "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
            host => host.parse(),
        };
        let listens = listener.ip();
        address.is_ok_and(|it| it == listens || listens.is_unspecified() && it.is_loopback())
            && listener.port() == *port
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
        let Share { weight, is_backup } = self.share;
        if weight != 1 {
            write!(f, " weight={weight}")?;
        }
        f.write_str(if is_backup { " backup" } else { "" })
    }
}

impl UpstreamProtocol {
    /// Whether a connection is encrypted, and the server verified.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2)
    }
}

/// The server alone, and what the words behind it say.
fn split_share(mut text: &str) -> Result<(&str, Share), Invalid> {
    let (mut weight, mut is_backup) = (None, false);
    while let Some((server, word)) = text.rsplit_once(' ') {
        if word == "backup" && !is_backup {
            is_backup = true;
        } else if let Some(number) = word.strip_prefix("weight=")
            && weight.is_none()
        {
            weight = match number.parse() {
                Ok(number @ 1..=HEAVIEST) => Some(number),
                _ => return Err(Invalid::new("the weight is a number from 1 to 100")),
            };
        } else {
            break;
        }
        text = server.trim_end();
    }
    let share = Share {
        weight: weight.unwrap_or(1),
        is_backup,
    };
    Ok((text, share))
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
    fn a_server_may_be_ourselves() {
        for (server, listener, is_it) in [
            ("127.0.0.1:80", "127.0.0.1:80", true),
            ("127.0.0.1:81", "127.0.0.1:80", false),
            ("127.0.0.2:80", "127.0.0.1:80", false),
            ("127.0.0.1:80", "[::]:80", true),
            ("http://localhost", "0.0.0.0:80", true),
            ("https://[::1]", "[::]:443", true),
            ("10.0.0.1:80", "[::]:80", false),
            ("backend:80", "[::]:80", false),
            ("unix:/a", "[::]:80", false),
        ] {
            let address = UpstreamServer::parse(server).unwrap().address;
            let listener = listener.parse().unwrap();
            assert_eq!(address.leads_to(listener), is_it, "{server} {listener}");
        }
    }

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
            ("a:1 down", None, "an unknown word"),
            ("a:1 weight=2 weight=2", None, "two weights"),
            ("a:1 backup", Some("http://a:1 backup"), "a backup"),
            (
                "a:1  backup weight=2",
                Some("http://a:1 weight=2 backup"),
                "one with a weight",
            ),
            (
                "unix:/a.sock backup",
                Some("unix:/a.sock backup"),
                "a socket as one",
            ),
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
