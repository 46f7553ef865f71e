//! Where things are: listeners and networks.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::{IpNet, Ipv4Net};

use super::Invalid;

/// Bits before an IPv4 address that is written as one of IPv6.
const MAPPED_BITS: u8 = 96;

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

/// A network in CIDR notation, or one address. Bits beyond the prefix are cleared. IPv4 within IPv6
/// (`::ffff:192.0.2.0/120`: RFC 4291, section 2.5.5.2) is what it means, `192.0.2.0/24`, for that is how
/// clients are known here.
///
/// # Errors
/// Says how to write a network.
pub fn parse_network(text: &str) -> Result<IpNet, Invalid> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| {
            Invalid::new(
                r#"not a network; write for example "10.0.0.0/8", "fd00::/8" or one address"#,
            )
        })?,
    };
    let IpNet::V6(within) = network else {
        return Ok(network.trunc());
    };
    let Some(address) = within.addr().to_ipv4_mapped() else {
        return Ok(network.trunc());
    };
    let length = within.prefix_len().checked_sub(MAPPED_BITS);
    let network = length.and_then(|length| Ipv4Net::new(address, length).ok());
    // With fewer bits nothing would be left of the address that somebody has taken the trouble to write.
    network.map(|network| network.trunc().into()).ok_or_else(|| {
        Invalid::new(
            r#"no IPv4 client is in IPv4 with an IPv6 prefix below 96; write for example "10.0.0.0/8""#,
        )
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
            ("::ffff:192.0.2.7", Some("192.0.2.7/32"), "IPv4 within IPv6"),
            ("::ffff:c000:207", Some("192.0.2.7/32"), "the same in hex"),
            (
                "::ffff:192.0.2.9/120",
                Some("192.0.2.0/24"),
                "a network of it",
            ),
            ("::ffff:0:0/96", Some("0.0.0.0/0"), "all of it"),
            (
                "::ffff:10.0.0.0/8",
                None,
                "most likely 10.0.0.0/8, and would be ::/8",
            ),
            ("::ffff:0:0/95", None, "more than all of it"),
            ("::/0", Some("::/0"), "all of IPv6"),
            ("::/64", Some("::/64"), "not written as IPv4"),
            ("::192.0.2.7", Some("::c000:207/128"), "never was IPv4"),
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
