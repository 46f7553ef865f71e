//! Who is asking: one client address for logs, limits, upstreams and the app.
//!
//! 1. A peer outside `trusted_proxies` *is* the client; what it writes into forwarding headers is
//!    not read at all.
//! 2. Behind a trusted peer the list of `X-Forwarded-For` is walked from its right end, where the
//!    nearest proxy wrote: trusted addresses are skipped, the first other one is the client.
//! 3. What cannot be read ends the walk at the last address that could: nothing left of it was
//!    written by somebody we trust.
//! 4. `Forwarded` (RFC 7239) is read where there is no `X-Forwarded-For`. A proxy that writes only
//!    `Forwarded` must therefore remove the client's `X-Forwarded-For`.

mod forwarded;

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Bits of an IPv6 address that stand for one customer: providers hand out a /64 or more.
const IPV6_NETWORK_BITS: u32 = 64;

/// The client of one request, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Client {
    /// Its address; never an IPv4-mapped IPv6 address.
    pub(crate) address: IpAddr,
    /// The scheme the client used towards a trusted proxy, where that differs or is told.
    pub(crate) scheme_override: Option<Proto>,
    /// Whether the connection came from a trusted proxy.
    pub(crate) trusted_peer: bool,
}

/// A URI scheme of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proto {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// The way from a connection's peer to the client behind it.
#[derive(Debug)]
pub(crate) struct ClientAddress;

impl ClientAddress {
    /// Finds the client of a request that came from `peer` with `headers`, believing forwarding
    /// headers as far as `trusted` networks wrote them.
    pub(crate) fn resolve(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Client {
        let peer = peer.to_canonical();
        if !is_trusted(peer, trusted) {
            return Client {
                address: peer,
                scheme_override: None,
                trusted_peer: false,
            };
        }
        let (address, forwarded_scheme) = if headers.contains_key(X_FORWARDED_FOR) {
            (walk(peer, forwarded_for(headers), trusted), None)
        } else {
            (
                walk(peer, forwarded::addresses(headers), trusted),
                forwarded::nearest_scheme(headers),
            )
        };
        Client {
            address,
            scheme_override: forwarded_proto(headers).or(forwarded_scheme),
            trusted_peer: true,
        }
    }
}

impl Proto {
    /// The scheme as it is written in a URI.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// Reads a scheme; a WebSocket's counts as the scheme that carries it.
    fn parse(text: &str) -> Option<Self> {
        if text.eq_ignore_ascii_case("https") || text.eq_ignore_ascii_case("wss") {
            Some(Self::Https)
        } else if text.eq_ignore_ascii_case("http") || text.eq_ignore_ascii_case("ws") {
            Some(Self::Http)
        } else {
            None
        }
    }
}

/// What connection caps and rate limits count by: the address itself for IPv4, its /64 for IPv6,
/// because one customer there has 2⁶⁴ addresses to come from.
pub(crate) fn network_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host_bits = u128::BITS - IPV6_NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(
                address.to_bits() >> host_bits << host_bits,
            ))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Whether `address` belongs to a proxy that is believed.
pub(crate) fn is_trusted(address: IpAddr, trusted: &[IpNet]) -> bool {
    trusted.iter().any(|network| network.contains(&address))
}

/// Walks hops from the nearest outwards. An item is `None` where it could not be read.
fn walk(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &[IpNet]) -> IpAddr {
    let mut nearest_known = peer;
    for hop in hops {
        let Some(address) = hop else {
            return nearest_known;
        };
        if !is_trusted(address, trusted) {
            return address;
        }
        nearest_known = address;
    }
    nearest_known
}

/// The addresses of all lines of `X-Forwarded-For`, rightmost first. Empty members do not count
/// (RFC 9110, section 5.6.1).
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> {
    headers
        .get_all(X_FORWARDED_FOR)
        .iter()
        .rev()
        .flat_map(members_from_right)
        .filter(|member| !member.is_empty())
        .map(|member| parse_node(str::from_utf8(member).ok()?))
}

/// The last value of `X-Forwarded-Proto`, which the peer itself wrote.
fn forwarded_proto(headers: &HeaderMap) -> Option<Proto> {
    let line = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?;
    Proto::parse(str::from_utf8(members_from_right(line).next()?).ok()?)
}

/// The members of a list, rightmost first.
///
/// SECURITY: bytes, each member to be read on its own. A line whose left end is no text has at its right end
/// what the proxy has appended all the same.
fn members_from_right(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    let members = line.as_bytes().rsplit(|byte| *byte == b',');
    members.map(<[u8]>::trim_ascii)
}

/// An address with or without brackets and port: `192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`,
/// `[2001:db8::1]`, `[2001:db8::1]:80`.
fn parse_node(text: &str) -> Option<IpAddr> {
    let address = text
        .parse()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .or_else(|| {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        })?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) const PROXY: &str = "10.0.0.1";

    fn trusted() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    fn headers(lines: &[(&str, impl AsRef<[u8]>)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_bytes(value.as_ref()).unwrap(),
            );
        }
        headers
    }

    pub(super) fn resolve(peer: &str, lines: &[(&str, impl AsRef<[u8]>)]) -> Client {
        ClientAddress::resolve(peer.parse().unwrap(), &headers(lines), &trusted())
    }

    #[test]
    fn an_untrusted_peer_is_the_client_whatever_it_claims() {
        let claims = [
            ("x-forwarded-for", "198.51.100.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=198.51.100.1;proto=https"),
        ];
        let client = resolve("203.0.113.9", &claims);
        assert_eq!(client.address.to_string(), "203.0.113.9");
        assert_eq!(client.scheme_override, None);
        assert!(!client.trusted_peer);
    }

    #[test]
    fn x_forwarded_for_is_walked_from_the_right() {
        let table: &[(&[&str], &str, &str)] = &[
            (&[], PROXY, "no header: the peer"),
            (&["203.0.113.9"], "203.0.113.9", "one hop"),
            (
                &["6.6.6.6, 203.0.113.9"],
                "203.0.113.9",
                "the left is the client's own",
            ),
            (
                &["203.0.113.9, 10.0.0.2"],
                "203.0.113.9",
                "trusted hops are skipped",
            ),
            (
                &["203.0.113.9,,\t10.0.0.2 ,"],
                "203.0.113.9",
                "empty members, blanks",
            ),
            (
                &["6.6.6.6, 203.0.113.9", "10.0.0.2"],
                "203.0.113.9",
                "over several lines",
            ),
            (
                &["6.6.6.6", "203.0.113.9"],
                "203.0.113.9",
                "the last line is the nearest",
            ),
            (
                &["10.0.0.3, 10.0.0.2"],
                "10.0.0.3",
                "all trusted: the farthest",
            ),
            (
                &["6.6.6.6, garbage, 10.0.0.2"],
                "10.0.0.2",
                "unreadable ends the walk",
            ),
            (&["6.6.6.6, unknown"], PROXY, "unreadable at once: the peer"),
            (&["6.6.6.6, \u{e9}"], PROXY, "not ASCII"),
            (&["203.0.113.9:4711"], "203.0.113.9", "with port"),
            (&["[2001:db8::7]:4711"], "2001:db8::7", "brackets and port"),
            (&["[2001:db8::7]"], "2001:db8::7", "brackets"),
            (&["2001:db8::7"], "2001:db8::7", "bare"),
            (&["::ffff:203.0.113.9"], "203.0.113.9", "IPv4-mapped"),
            (
                &["203.0.113.9, ::ffff:10.0.0.2"],
                "203.0.113.9",
                "mapped and trusted",
            ),
            (&["203.0.113.9, fd00::1"], "203.0.113.9", "trusted IPv6"),
            (&["[203.0.113.9]"], PROXY, "brackets are for IPv6"),
            (&["203.0.113.9:99999"], PROXY, "no such port"),
            (&["203.0.113.009"], PROXY, "leading zeros may be octal"),
        ];
        for (lines, expected, why) in table {
            let lines: Vec<_> = lines
                .iter()
                .map(|line| ("x-forwarded-for", *line))
                .collect();
            assert_eq!(
                resolve(PROXY, &lines).address.to_string(),
                *expected,
                "{why}"
            );
        }
    }

    #[test]
    fn bytes_that_are_no_text_hide_nothing() {
        let table: &[(&[u8], &str, &str)] = &[
            (b"\xe9, 203.0.113.9", "203.0.113.9", "further left"),
            (b"\xe9,203.0.113.9,10.0.0.2", "203.0.113.9", "two hops"),
            (
                b"6.6.6.6, \xe9, 10.0.0.2",
                "10.0.0.2",
                "in place of an address: the walk ends",
            ),
            (b"6.6.6.6, 203.0.113.9\xe9", PROXY, "beside an address"),
            (b"6.6.6.6, \xa0", PROXY, "no white space"),
        ];
        for (line, expected, why) in table {
            let client = resolve(PROXY, &[("x-forwarded-for", line)]);
            assert_eq!(client.address.to_string(), *expected, "{why}");
        }
        let client = resolve(PROXY, &[("x-forwarded-proto", b"\xe9, https")]);
        assert_eq!(client.scheme_override, Some(Proto::Https));
    }

    #[test]
    fn the_scheme_is_what_the_nearest_proxy_says() {
        type Lines = &'static [(&'static str, &'static str)];
        let table: &[(Lines, Option<Proto>, &str)] = &[
            (&[], None, "not told"),
            (
                &[("x-forwarded-proto", "https")],
                Some(Proto::Https),
                "told",
            ),
            (
                &[("x-forwarded-proto", "HTTP")],
                Some(Proto::Http),
                "any case",
            ),
            (
                &[("x-forwarded-proto", "wss")],
                Some(Proto::Https),
                "a WebSocket's",
            ),
            (
                &[("x-forwarded-proto", "https, http")],
                Some(Proto::Http),
                "the last value",
            ),
            (
                &[
                    ("x-forwarded-proto", "http"),
                    ("x-forwarded-proto", "https"),
                ],
                Some(Proto::Https),
                "the last line",
            ),
            (
                &[("x-forwarded-proto", "gopher")],
                None,
                "no scheme of ours",
            ),
            (
                &[("forwarded", "for=203.0.113.9;proto=https")],
                Some(Proto::Https),
                "RFC 7239",
            ),
            (
                &[
                    ("forwarded", "proto=https"),
                    ("x-forwarded-for", "203.0.113.9"),
                ],
                None,
                "Forwarded is not read beside X-Forwarded-For",
            ),
        ];
        for (lines, expected, why) in table {
            assert_eq!(resolve(PROXY, lines).scheme_override, *expected, "{why}");
        }
    }

    #[test]
    fn a_mapped_peer_is_its_ipv4_self() {
        let lines = [("x-forwarded-for", "203.0.113.9")];
        let client = resolve("::ffff:10.0.0.1", &lines);
        assert!(client.trusted_peer);
        assert_eq!(client.address.to_string(), "203.0.113.9");
        let client = resolve("::ffff:203.0.113.9", &lines[..0]);
        assert_eq!(client.address.to_string(), "203.0.113.9");
    }

    #[test]
    fn networks_are_what_one_customer_has() {
        let table = [
            ("203.0.113.9", "203.0.113.9"),
            ("::ffff:203.0.113.9", "203.0.113.9"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::1", "::"),
        ];
        for (address, key) in table {
            assert_eq!(network_key(address.parse().unwrap()).to_string(), key);
        }
    }

    /// What a field may hold: now and then what means something in a list, or is no text.
    fn claim() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![
            1 => Just(b'\t'),
            1 => Just(b','),
            1 => Just(b'"'),
            1 => Just(b'\\'),
            2 => 0x80..=0xff_u8,
            6 => b' '..=b'~',
        ];
        prop::collection::vec(byte, 0..40)
    }

    proptest! {
        /// Whatever the client put into the header, the proxy's own entry decides.
        #[test]
        fn the_client_cannot_choose_its_address(
            name in prop::sample::select(vec!["x-forwarded-for", "forwarded"]),
            claims in prop::collection::vec(claim(), 0..4),
            lines in any::<bool>(),
            client in any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
            hops in 0_u8..3,
        ) {
            prop_assume!(!is_trusted(client, &trusted()));
            let node = |address: &str| match name {
                "forwarded" => format!("for=\"{address}\""),
                _ => address.to_owned(),
            };
            let mut proxies = node(&client.to_string());
            for hop in 0..hops {
                proxies += ", ";
                proxies += &node(&format!("10.1.1.{hop}"));
            }
            let mut values = claims;
            match values.last_mut() {
                Some(last) if !lines => last.extend_from_slice(format!(", {proxies}").as_bytes()),
                _ => values.push(proxies.into_bytes()),
            }
            let lines: Vec<_> = values.iter().map(|value| (name, value)).collect();
            prop_assert_eq!(resolve(PROXY, &lines).address, client);
        }

        /// A client that is the peer cannot leave its address, nor make the walk fail.
        #[test]
        fn nothing_an_untrusted_peer_sends_counts(
            claims in prop::collection::vec(("x-forwarded-for|forwarded|x-forwarded-proto", "[ -~\u{80}-\u{ff}]{0,60}"), 0..5),
        ) {
            let lines: Vec<_> = claims.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let client = resolve("203.0.113.9", &lines);
            prop_assert_eq!(client.address.to_string(), "203.0.113.9");
            prop_assert_eq!(client.scheme_override, None);
            let through_proxy = resolve(PROXY, &lines).address;
            prop_assert_eq!(through_proxy, through_proxy.to_canonical());
        }
    }
}
