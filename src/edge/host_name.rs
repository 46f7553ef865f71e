//! The host a request is for, read strictly from `Host` or `:authority`.
//!
//! Only what DNS can hold, an IPv4 address, or an IPv6 address in brackets is a host, with or
//! without a port (RFC 9110, section 7.2; RFC 3986, section 3.2). Everything that another program
//! could read differently is refused, so that nobody is led to one site's cache or policy with
//! another site's name.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::HostPattern;

/// Longest name and longest label of DNS, in bytes (RFC 1035, section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// A host and the port written with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostName<'a> {
    /// Lower case, without a trailing dot; IPv6 addresses in their shortest form, in brackets.
    pub(crate) name: Cow<'a, str>,
    /// `None` stands for the scheme's own port.
    pub(crate) port: Option<u16>,
}

/// Why an authority names no host. All are the client's fault: 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadHost {
    /// Nothing is there, or only a port or a dot.
    #[error("the host is empty")]
    Empty,
    /// Characters, labels or addresses that no host has; user information and paths too.
    #[error("the host is neither a name nor an address")]
    Name,
    /// Not a number from 1 to 65535.
    #[error("the host's port is not a number from 1 to 65535")]
    Port,
}

impl<'a> HostName<'a> {
    /// Reads `name`, `name:port` and their forms with addresses.
    pub(crate) fn parse(authority: &'a str) -> Result<Self, BadHost> {
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (address, after) = bracketed.split_once(']').ok_or(BadHost::Name)?;
                let address: Ipv6Addr = address.parse().map_err(|_| BadHost::Name)?;
                let port = match after {
                    "" => None,
                    _ => Some(after.strip_prefix(':').ok_or(BadHost::Name)?),
                };
                (Cow::Owned(format!("[{address}]")), port)
            }
            None => match authority.split_once(':') {
                Some((name, port)) => (parse_name(name)?, Some(port)),
                None => (parse_name(authority)?, None),
            },
        };
        Ok(Self {
            name: host,
            port: port.map(parse_port).transpose()?,
        })
    }
}

/// Whether `host`, as [`HostName`] has it, is among the names served; an empty list serves any.
pub(crate) fn served(patterns: &[HostPattern], host: &str) -> bool {
    patterns.is_empty() || patterns.iter().any(|pattern| is_meant(pattern, host))
}

/// An IPv6 address may be listed with brackets or without.
fn is_meant(pattern: &HostPattern, host: &str) -> bool {
    pattern.matches(host)
        || host
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|address| pattern.matches(address))
}

fn parse_name(text: &str) -> Result<Cow<'_, str>, BadHost> {
    let name = text.strip_suffix('.').unwrap_or(text);
    if name.is_empty() {
        return Err(BadHost::Empty);
    }
    if name.len() > MAX_NAME || !name.split('.').all(is_label) {
        return Err(BadHost::Name);
    }
    // A name that ends in a number is an address to browsers: `127.1`, `0x7f.1`, `1.2.3.999`.
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit())
        || last
            .get(..2)
            .is_some_and(|radix| radix.eq_ignore_ascii_case("0x"));
    if is_number && name.parse::<Ipv4Addr>().is_err() {
        return Err(BadHost::Name);
    }
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Ok(Cow::Owned(name.to_ascii_lowercase()));
    }
    Ok(Cow::Borrowed(name))
}

/// Letters, digits, hyphens, and the underscore that internal names like `my_app` have.
fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL).contains(&label.len())
        && label
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

fn parse_port(text: &str) -> Result<u16, BadHost> {
    // `u16`'s own parser would also take a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(BadHost::Port);
    }
    match text.parse() {
        Ok(port) if port > 0 => Ok(port),
        _ => Err(BadHost::Port),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hosts_are_read() {
        let table = [
            ("localhost", "localhost", None),
            ("Notes.Example.COM:8443", "notes.example.com", Some(8443)),
            ("example.com.", "example.com", None),
            ("example.com.:80", "example.com", Some(80)),
            ("my_app", "my_app", None),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
            ("127.0.0.1:1", "127.0.0.1", Some(1)),
            ("[::1]", "[::1]", None),
            ("[0:0:0:0:0:0:0:1]:65535", "[::1]", Some(65535)),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
            ("1.example", "1.example", None),
        ];
        for (authority, name, port) in table {
            let host = HostName::parse(authority).unwrap();
            assert_eq!((&*host.name, host.port), (name, port), "{authority}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        use BadHost::{Empty, Name, Port};
        let long_label = "a".repeat(64);
        let long_name = "a.".repeat(127) + "a";
        let table = [
            ("", Empty),
            (".", Empty),
            (":80", Empty),
            ("a.test/../x", Name),
            ("a test", Name),
            (" a.test", Name),
            ("a.test\t", Name),
            ("a\0.test", Name),
            ("user@a.test", Name),
            ("user:pass@a.test", Port),
            ("http://a.test", Port),
            ("a.test?x", Name),
            ("a.test#x", Name),
            ("a,b", Name),
            ("a..test", Name),
            (".a.test", Name),
            ("a.test..", Name),
            ("*.a.test", Name),
            ("a%2etest", Name),
            ("b\u{fc}cher.example", Name),
            (&long_label, Name),
            (&long_name, Name),
            ("a.test:", Port),
            ("a.test:0", Port),
            ("a.test:99999", Port),
            ("a.test:65536", Port),
            ("a.test:+80", Port),
            ("a.test:8o", Port),
            ("a.test:80:80", Port),
            ("::1", Empty),
            ("2001:db8::1", Name),
            ("[::1", Name),
            ("[::1]80", Name),
            ("[::1]:", Port),
            ("[::1%eth0]", Name),
            ("[v1.x]", Name),
            ("[127.0.0.1]", Name),
            ("127.1", Name),
            ("2130706433", Name),
            ("0x7f.1", Name),
            ("a.0x7F", Name),
            ("1.2.3.256", Name),
            ("1.2.3.04", Name),
        ];
        for (authority, error) in table {
            assert_eq!(HostName::parse(authority), Err(error), "{authority:?}");
        }
    }

    #[test]
    fn only_listed_hosts_are_served() {
        let listed = [
            HostPattern::Exact("localhost".into()),
            HostPattern::Wildcard("example.com".into()),
            HostPattern::Exact("::1".into()),
            HostPattern::Exact("10.0.0.1".into()),
        ];
        let table = [
            ("localhost", true),
            ("a.example.com", true),
            ("example.com", false),
            ("a.b.example.com", false),
            ("[::1]", true),
            ("10.0.0.1", true),
            ("10.0.0.2", false),
        ];
        for (host, expected) in table {
            assert_eq!(served(&listed, host), expected, "{host}");
        }
        assert!(served(&[], "anything.test"));
    }

    proptest! {
        /// What was read reads the same again, and holds nothing that could break a header or URL.
        #[test]
        fn a_host_is_a_fixed_point(authority in "[-a-zA-Z0-9_.:\\[\\]@/ %\0é]{0,30}") {
            if let Ok(host) = HostName::parse(&authority) {
                let again = HostName::parse(&host.name).unwrap();
                prop_assert_eq!(&again.name, &host.name);
                prop_assert!(host.name.bytes().all(|byte| byte.is_ascii_graphic() && !b"@/\\?#%".contains(&byte)));
            }
        }
    }
}
