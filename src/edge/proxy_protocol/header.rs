//! One strict and bounded reading of a PROXY protocol header, version 1 (text) and 2 (binary).

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// How version 1 begins.
const TEXT: &[u8] = b"PROXY ";
/// Longest header of version 1, with its line end.
const LONGEST_TEXT: usize = 107;
/// How version 2 begins.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of version 2 before the addresses.
const FIXED: usize = 16;
/// Most bytes of addresses and further values of version 2. Balancers send a few hundred; the
/// protocol would allow 64 KiB.
const LONGEST_REST: usize = 4096;

/// What has been read so far.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::edge) enum Reading {
    /// A header may become of it.
    Incomplete,
    Complete {
        /// Bytes of the header; what follows is the client's.
        length: usize,
        /// The client; `None` where the header tells of none.
        client: Option<SocketAddr>,
    },
    /// No header, or none that is taken; why.
    Wrong(&'static str),
}

/// What bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    Undecided,
    /// A header of either version, right or wrong.
    Header,
    Other,
}

/// What `bytes` begin with.
pub(super) fn beginning(bytes: &[u8]) -> Beginning {
    let is_begun = |start: &[u8]| {
        let shared = start.len().min(bytes.len());
        start[..shared] == bytes[..shared]
    };
    if bytes.starts_with(TEXT) || bytes.starts_with(SIGNATURE) {
        Beginning::Header
    } else if is_begun(TEXT) || is_begun(SIGNATURE) {
        Beginning::Undecided
    } else {
        Beginning::Other
    }
}

/// Reads the header at the start of `bytes`.
pub(in crate::edge) fn read(bytes: &[u8]) -> Reading {
    match beginning(bytes) {
        Beginning::Undecided => Reading::Incomplete,
        Beginning::Other => Reading::Wrong("a trusted proxy sent no header"),
        Beginning::Header if bytes.starts_with(TEXT) => text(bytes),
        Beginning::Header => binary(bytes),
    }
}

fn text(bytes: &[u8]) -> Reading {
    let end = bytes
        .iter()
        .take(LONGEST_TEXT)
        .position(|&byte| byte == b'\n');
    let Some(end) = end else {
        return if bytes.len() < LONGEST_TEXT {
            Reading::Incomplete
        } else {
            Reading::Wrong("the line is too long")
        };
    };
    let line = bytes[TEXT.len()..end].strip_suffix(b"\r");
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let Some(line) = line else {
        return Reading::Wrong("the line does not end as it should");
    };
    let client = if line == "UNKNOWN" || line.starts_with("UNKNOWN ") {
        // The rest of that line is to be ignored.
        None
    } else {
        match addresses(line) {
            Some(client) => Some(client),
            None => return Reading::Wrong("the line is malformed"),
        }
    };
    Reading::Complete {
        length: end + 1,
        client,
    }
}

/// `TCP4 192.0.2.7 192.0.2.1 56324 443`: the first address with the first port.
fn addresses(line: &str) -> Option<SocketAddr> {
    let mut words = line.split(' ');
    let family = words.next()?;
    let mut address = || -> Option<IpAddr> {
        let word = words.next()?;
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let (source, _destination) = (address()?, address()?);
    let (port, _destination) = (port(words.next()?)?, port(words.next()?)?);
    words
        .next()
        .is_none()
        .then_some(SocketAddr::new(source, port))
}

/// Digits without a sign or a leading zero.
fn port(word: &str) -> Option<u16> {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = word == "0" || !word.starts_with('0');
    (is_plain && is_short).then(|| word.parse().ok()).flatten()
}

fn binary(bytes: &[u8]) -> Reading {
    let Some(fixed) = bytes.get(SIGNATURE.len()..FIXED) else {
        return Reading::Incomplete;
    };
    let rest = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    if rest > LONGEST_REST {
        return Reading::Wrong("the header is too long");
    }
    let is_local = match fixed[0] {
        0x20 => true,
        0x21 => false,
        _ => return Reading::Wrong("neither LOCAL nor PROXY of version 2"),
    };
    let length = FIXED + rest;
    let Some(rest) = bytes.get(FIXED..length) else {
        return Reading::Incomplete;
    };
    let client = if is_local {
        None
    } else {
        match addresses_and_more(fixed[1], rest) {
            Ok(client) => client,
            Err(reason) => return Reading::Wrong(reason),
        }
    };
    Reading::Complete { length, client }
}

fn addresses_and_more(family: u8, rest: &[u8]) -> Result<Option<SocketAddr>, &'static str> {
    let cut = || "the addresses are cut off";
    let (client, more) = match family {
        // Unspecified: whatever follows is to be ignored.
        0x00 => return Ok(None),
        // TCP over IPv4.
        0x11 => {
            let (addresses, more) = rest.split_first_chunk::<12>().ok_or_else(cut)?;
            let [a, b, c, d, _, _, _, _, high, low, ..] = *addresses;
            let port = u16::from_be_bytes([high, low]);
            let client = SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port);
            (Some(client), more)
        }
        // TCP over IPv6.
        0x21 => {
            let (addresses, more) = rest.split_first_chunk::<36>().ok_or_else(cut)?;
            let (source, ports) = (addresses.first_chunk::<16>(), &addresses[32..]);
            let source = Ipv6Addr::from(*source.expect("16 of 36 bytes"));
            let port = u16::from_be_bytes([ports[0], ports[1]]);
            (Some(SocketAddr::new(source.into(), port)), more)
        }
        // A unix socket has no address that means anything here.
        0x31 => (None, rest.get(216..).ok_or_else(cut)?),
        _ => return Err("neither TCP nor a unix socket"),
    };
    check_values(more)?;
    Ok(client)
}

/// The values that may follow the addresses: a type, two bytes of length, and as many bytes. None of them
/// is used.
fn check_values(mut values: &[u8]) -> Result<(), &'static str> {
    while let Some((_, after_kind)) = values.split_first() {
        let length = after_kind.first_chunk::<2>();
        let length = length.map(|length| usize::from(u16::from_be_bytes(*length)));
        values = length
            .and_then(|length| after_kind.get(2 + length..))
            .ok_or("the values after the addresses are malformed")?;
    }
    Ok(())
}
