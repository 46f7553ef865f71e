//! Where things are: listeners and networks.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::Invalid;

/// An address to listen on: `[::]:8080`, `0.0.0.0:80`, or `:80`, which is `[::]:80` (IPv4 as well).
///
/// # Errors
/// Says how to write a listener.
pub fn parse_listener(text: &str) -> Result<SocketAddr, Invalid> {
    if let Some(port) = text.strip_prefix(':')
        && let Some(port) = parse_port(port)
    {
        return Ok(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
    }
    text.parse().map_err(|_| {
        Invalid::new(
            r#"not an address to listen on; write for example "[::]:8080" or "127.0.0.1:8080""#,
        )
    })
}

/// A network in CIDR notation, or one address. Bits beyond the prefix are cleared.
///
/// # Errors
/// Says how to write a network.
pub fn parse_network(text: &str) -> Result<IpNet, Invalid> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: Result<IpNet, _> = text.parse();
    network.map(|network| network.trunc()).map_err(|_| {
        Invalid::new(r#"not a network; write for example "10.0.0.0/8", "fd00::/8" or one address"#)
    })
}

/// Digits only: `u16::from_str` would take `+80` as well.
pub(in crate::config) fn parse_port(text: &str) -> Option<u16> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listeners() {
        for (text, expected, why) in [
            ("[::]:8080", Some("[::]:8080"), "both families"),
            ("0.0.0.0:80", Some("0.0.0.0:80"), "IPv4"),
            (":80", Some("[::]:80"), "the short form"),
            ("127.0.0.1:0", Some("127.0.0.1:0"), "any free port"),
            ("8080", None, "no colon"),
            ("localhost:80", None, "a name"),
            ("::1:80", None, "no brackets"),
            (":+80", None, "a sign"),
            (":65536", None, "no such port"),
            ("", None, "empty"),
        ] {
            let parsed = parse_listener(text).ok().map(|address| address.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}: {why}");
        }
    }

    #[test]
    fn networks() {
        for (text, expected, why) in [
            ("10.0.0.0/8", Some("10.0.0.0/8"), "IPv4"),
            ("fd00::/8", Some("fd00::/8"), "IPv6"),
            ("192.0.2.7", Some("192.0.2.7/32"), "one address"),
            ("::1", Some("::1/128"), "one address"),
            ("10.1.2.3/8", Some("10.0.0.0/8"), "bits beyond the prefix"),
            ("10.0.0.0/33", None, "prefix too long"),
            ("private", None, "a word"),
        ] {
            let parsed = parse_network(text).ok().map(|network| network.to_string());
            assert_eq!(parsed.as_deref(), expected, "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "[\\[\\]:/@a-z0-9\\PC]{0,20}") {
            let _ = (parse_listener(&text), parse_network(&text));
        }
    }
}
