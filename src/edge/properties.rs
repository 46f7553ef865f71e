//! What holds for whatever a client sends: one function for each reader of the client's bytes.
//!
//! Each takes any bytes and panics where its promise is broken. They are here for the tests below, which
//! try what chance finds in a second, and for the targets of cargo-fuzz in `fuzz/`, which search on for
//! as long as they are let. In the program they are not.

use std::net::IpAddr;
use std::path::Component;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use super::client_address::ClientAddress;
use super::compression::accept_encoding::Accepted;
use super::door::chunks::Chunks;
use super::door::head::{self, Framing};
use super::files::path::RelativePath;
use super::files::range::{self, Wanted};
use super::proxy_protocol::header;
use super::request_path;
use super::route::Router;
use crate::config::{Action, Coding, HostPattern, PathPattern, Route};

/// The limit of version 2 of the PROXY protocol here: 16 bytes, and 4 KiB of addresses and values.
const LONGEST_HEADER: usize = 16 + 4096;

/// An accepted path has one normal form, climbs nowhere however it is read, and is the name of something
/// below the root of a files route or of nothing.
pub fn path(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    if let Ok(normal) = request_path::check(text) {
        assert_eq!(request_path::check(&normal), Ok(normal.clone()), "{text:?}");
        assert_eq!(request_path::rest_as_written(text, &normal), Some(""));
        for reading in readings(&normal) {
            let climbs = |segment| matches!(segment, "." | ".." | "%2E%2E" | "%2E");
            assert!(!reading.split('/').any(climbs), "{text:?} as {reading:?}");
        }
    }
    if let Ok(path) = RelativePath::parse(text) {
        let name = path.as_path().to_str().expect("only text is accepted");
        assert!(!name.contains(['\0', '\\']), "{text:?}");
        let mut components = path.as_path().components();
        let is_below = |component| match component {
            Component::Normal(name) => {
                name == ".well-known" || !name.to_string_lossy().starts_with('.')
            }
            _ => false,
        };
        assert!(
            name == "." || components.all(is_below),
            "{text:?} became {name:?}"
        );
    }
}

/// The parts of a range exist, are not empty, and together are no more than the whole. The first eight
/// bytes are the length of the representation.
pub fn range(bytes: &[u8]) {
    let Some((length, field)) = bytes.split_first_chunk() else {
        return;
    };
    let length = u64::from_le_bytes(*length);
    let Wanted::Parts(parts) = range::parse(&String::from_utf8_lossy(field), length) else {
        return;
    };
    assert!(!parts.is_empty());
    let mut left = length;
    for part in parts {
        assert!(part.start < part.end && part.end <= length, "{part:?}");
        let size = part.end - part.start;
        left = left.checked_sub(size).expect("no byte is sent twice");
    }
}

/// No coding is named twice, and none that is refused, wherever the refusal stands. Each line of the
/// input is one of the header.
pub fn accept_encoding(bytes: &[u8]) {
    let lines: Vec<_> = bytes.split(|byte| *byte == b'\n').collect();
    let codings: Vec<_> = Accepted::read(lines.iter().copied(), &Coding::ALL)
        .codings()
        .collect();
    for (place, coding) in codings.iter().enumerate() {
        assert!(!codings[..place].contains(coding), "{coding:?} twice");
    }
    let refusal: &[u8] = b"gzip;q=0";
    for refusing in [
        [&lines[..], &[refusal]].concat(),
        [&[refusal], &lines[..]].concat(),
    ] {
        let mut codings = Accepted::read(refusing, &Coding::ALL).codings();
        assert!(!codings.any(|coding| coding == Coding::Gzip));
    }
}

/// A header is complete at its last byte and not before, however much follows it, and the reading is
/// decided within its bounds.
pub fn proxy_protocol(bytes: &[u8]) {
    match header::read(bytes) {
        whole @ header::Reading::Complete { length, .. } => {
            assert_eq!(header::read(&bytes[..length]), whole);
            for end in 0..length {
                assert_eq!(header::read(&bytes[..end]), header::Reading::Incomplete);
            }
        }
        header::Reading::Incomplete => assert!(bytes.len() < LONGEST_HEADER),
        header::Reading::Wrong(_) => {}
    }
}

/// A head that is let in means the same to another parser, has one host and one framing, and is read the
/// same when it comes in two pieces. The first byte says where it is cut.
pub fn head(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let whole = head::read(bytes, 0);
    let cut = usize::from(*cut) * bytes.len() / 256;
    if head::read(&bytes[..cut], 0) == head::Reading::Incomplete {
        assert_eq!(head::read(bytes, cut), whole, "cut at {cut}");
    }
    let head::Reading::Complete(head) = whole else {
        return;
    };
    if cut < head.length {
        assert_eq!(head::read(&bytes[..cut], 0), head::Reading::Incomplete);
    }
    assert!(head.length <= head::MAX_HEAD);
    let mut fields = [httparse::EMPTY_HEADER; head::MAX_FIELDS];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(
        other.parse(bytes),
        Ok(httparse::Status::Complete(head.length))
    );
    let all = |name: &str| -> Vec<&[u8]> {
        let same = |field: &&httparse::Header| field.name.eq_ignore_ascii_case(name);
        other
            .headers
            .iter()
            .filter(same)
            .map(|field| field.value)
            .collect()
    };
    let hosts = all("host").len();
    assert!(hosts == 1 || hosts == 0 && head.is_http_10, "{hosts} hosts");
    let (lengths, codings) = (all("content-length"), all("transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "framed twice");
    match head.body {
        Framing::Chunked => assert!(!codings.is_empty()),
        Framing::Length(length) if length > 0 => assert!(!lengths.is_empty()),
        Framing::Length(_) | Framing::Upgrade => assert!(codings.is_empty()),
    }
}

/// A chunked body ends at the same place however it comes in pieces, and another parser finds the same
/// sizes in it and the same end. The first byte says where it is cut.
pub fn chunks(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else {
        return;
    };
    let cut = usize::from(*cut) * bytes.len() / 256;
    let (mut whole, mut pieces) = (Chunks::default(), Chunks::default());
    let at_once = whole.read(bytes);
    let in_two = pieces.read(&bytes[..cut]).and_then(|first| {
        let second = pieces.read(&bytes[cut..])?;
        Ok(first + second)
    });
    assert_eq!(at_once, in_two, "cut at {cut}");
    let Ok(length) = at_once else {
        return;
    };
    assert_eq!(whole, pieces, "cut at {cut}");
    if !whole.has_ended() {
        assert_eq!(length, bytes.len());
        return;
    }
    let mut rest = &bytes[..length];
    loop {
        let Ok(httparse::Status::Complete((line, size))) = httparse::parse_chunk_size(rest) else {
            panic!("not a size: {:?}", rest.escape_ascii().to_string());
        };
        let size = usize::try_from(size).expect("less than there is");
        rest = &rest[line..];
        if size == 0 {
            break;
        }
        assert_eq!(&rest[size..size + 2], b"\r\n");
        rest = &rest[size + 2..];
    }
    let mut fields = [httparse::EMPTY_HEADER; 64];
    match httparse::parse_headers(rest, &mut fields) {
        Ok(httparse::Status::Complete((length, _))) => assert_eq!(length, rest.len()),
        Ok(httparse::Status::Partial) => panic!("no end: {:?}", rest.escape_ascii().to_string()),
        Err(error) => assert_eq!(error, httparse::Error::TooManyHeaders),
    }
}

/// Who is asking can't be changed by what the client itself has written: a stranger's headers are not read,
/// and what stands left of a trusted proxy's own words counts only if all of those are trusted addresses.
///
/// Each line of the input is a field; its first byte says which. The first line is the client's.
pub fn forwarded(bytes: &[u8]) {
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
    let fields: Vec<_> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(field)
        .collect();
    let [forged, honest @ ..] = &fields[..] else {
        return;
    };
    let stranger = IpAddr::from([192, 0, 2, 1]);
    let headers = fields.iter().cloned().collect();
    let client = ClientAddress::resolve(stranger, &headers, &trusted);
    assert_eq!((client.address, client.scheme_override), (stranger, None));

    let proxy = IpAddr::from([10, 0, 0, 1]);
    let resolve = |fields: &[(HeaderName, HeaderValue)]| {
        // Lines of one name keep their order.
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, value.clone());
        }
        ClientAddress::resolve(proxy, &headers, &trusted)
    };
    // A list that a proxy has continued; one that no proxy wrote is the client's alone.
    let Some(at) = honest.iter().position(|(name, _)| *name == forged.0) else {
        return;
    };
    // On the line that the client has begun, as most do.
    let mut joined = honest.to_vec();
    let line = [forged.1.as_bytes(), b", ", honest[at].1.as_bytes()].concat();
    joined[at].1 = HeaderValue::from_bytes(&line).expect("a field's bytes and a comma");
    let before = resolve(honest);
    let may_be_moved = trusted
        .iter()
        .any(|network: &IpNet| network.contains(&before.address));
    for continued in [&fields, &joined] {
        let after = resolve(continued);
        if before.scheme_override.is_some() {
            assert_eq!(
                after.scheme_override, before.scheme_override,
                "{continued:?}"
            );
        }
        assert!(
            after.address == before.address || may_be_moved,
            "{continued:?}"
        );
    }
}

fn field(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let (which, value) = line.split_first()?;
    let names = ["x-forwarded-for", "forwarded", "x-forwarded-proto"];
    let name = names[usize::from(*which) % names.len()];
    let value = HeaderValue::from_bytes(value).ok()?;
    Some((HeaderName::from_static(name), value))
}

/// However an upstream reads a path that a route gets, it reads one of that route. The input is a host and
/// a path: `a.test/b`.
pub fn route(bytes: &[u8]) {
    static ROUTER: LazyLock<Router> = LazyLock::new(some_routes);
    let Ok(text) = str::from_utf8(bytes) else {
        return;
    };
    let (host, path) = text.split_at(text.find('/').unwrap_or(text.len()));
    let Ok(normal) = request_path::check(path) else {
        return;
    };
    let Ok(selected) = ROUTER.select(host, &normal) else {
        return;
    };
    let selected = selected.map(|route| route.index());
    for reading in readings(&normal) {
        let other = ROUTER.find(host, &reading).map(|route| route.index());
        assert_eq!(other, selected, "{text:?} read as {reading:?}");
    }
}

/// Routes inside each other, exact ones among prefixes, with and without hosts.
fn some_routes() -> Router {
    let exact = |path: &str| PathPattern::Exact(path.to_owned());
    let prefix = |path: &str| PathPattern::Prefix(path.to_owned());
    let host = |name: &str| Some(HostPattern::Exact(name.to_owned()));
    let wildcard = |suffix: &str| Some(HostPattern::Wildcard(suffix.to_owned()));
    let routes = [
        (None, prefix("")),
        (None, prefix("/a")),
        (None, prefix("/a/b")),
        (None, exact("/a/b/a")),
        (None, exact("/b")),
        (host("a.test"), prefix("/a")),
        (host("a.test"), exact("/")),
        (wildcard("test"), prefix("/b")),
    ];
    Router::sort(&routes.map(|(host, path)| Route::new(host, path, Action::App)))
}

/// A normal path in all combinations of what upstreams do to it.
fn readings(path: &str) -> impl Iterator<Item = String> {
    (0..8).map(move |choice| {
        let mut reading = path.to_owned();
        if choice & 1 != 0 {
            reading = reading.replace("%2F", "/");
        }
        if choice & 2 != 0 {
            let cut = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
            reading = reading.split('/').map(cut).collect::<Vec<_>>().join("/");
        }
        while choice & 4 != 0 && reading.contains("//") {
            reading = reading.replace("//", "/");
        }
        reading
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Chance alone hardly finds what a reader takes: pieces of it, with stray bytes between them.
    fn of(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            9 => prop::sample::select(pieces).prop_map(|piece| piece.as_bytes().to_vec()),
            1 => prop::collection::vec(any::<u8>(), 1..4),
        ];
        prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn paths(bytes in of(&["/", "/", "a", "é", ".", "..", ";", "//", "\\", "%2F", "%2e", "%61", "%25", "%00", "%C0%AE"])) {
            path(&bytes);
        }

        #[test]
        fn paths_below_a_route(bytes in of(&["a/", "b", ".well-known/", ".", "%2e", "%20", "%C3%A9", "é"])) {
            path(&bytes);
        }

        #[test]
        fn ranges(
            length in prop_oneof![Just(u64::MAX), 0..200_u64],
            field in of(&["0", "1", "9", "99", "-", "-", ",", ", ", "18446744073709551615"]),
        ) {
            range(&[&length.to_le_bytes(), &b"bytes="[..], &field].concat());
        }

        #[test]
        fn codings(bytes in of(&["gzip", "br", "zstd", "*", "identity", ";q=0", ";q=1", ";q=0.5", ",", ", ", "\n", " "])) {
            accept_encoding(&bytes);
        }

        #[test]
        fn proxy_protocol_headers(
            start in prop::sample::select(vec![
                &b"PROXY "[..], b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n",
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0C", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0",
            ]),
            rest in of(&["TCP4 ", "TCP6 ", "UNKNOWN", "192.0.2.7 ", "::1 ", "443 ", "80", "\r\n", "\n", "\x21", "\x11", "\0\x0C", "abcdefghijkl"]),
        ) {
            proxy_protocol(&[start, &rest].concat());
        }

        #[test]
        fn heads(
            cut: u8,
            start in prop::sample::select(vec![&b"POST /a HTTP/1.1\r\nHost: a.test\r\n"[..], b"GET / HTTP/1.0\r\n", b"- / HTTP/1.0\r\n"]),
            fields in of(&[
                "Host: b.test\r\n", "X: y\r\n", "Content-Length: 3\r\n", "Content-Length: 4\r\n",
                "Transfer-Encoding: chunked\r\n", "Upgrade: websocket\r\nConnection: upgrade\r\n", " folded\r\n",
                "X : y\r\n", "\n", "\r", "\r\n",
            ]),
        ) {
            head(&[&[cut], start, &fields[..], b"\r\n"].concat());
        }

        #[test]
        fn chunked_bodies(
            cut: u8,
            body in of(&[
                "0\r\n", "1\r\nx\r\n", "3\r\n", "abc", "\r\n", "2;a=b\r\nxy\r\n", "0;a\r\n", "2 ;a\r\n", "X: y\r\n", "X : y\r\n", "\n", "g",
                "fffffffffffffff\r\n",
            ]),
        ) {
            chunks(&[&[cut], &body[..], b"\r\n"].concat());
        }

        #[test]
        fn forwarding_headers(
            lines in prop::collection::vec(
                (
                    0..3_u8,
                    of(&["10.0.0.2", "198.51.100.7", "for=", "10.1.1.1", ", ", ",", ";", "proto=https", "proto=http", "\"", "[fd00::1]", "https", "http", "unknown", ":80", "é"]),
                ),
                1..5,
            ),
        ) {
            let lines: Vec<_> = lines.into_iter().map(|(which, line)| [&[which], &line[..]].concat()).collect();
            forwarded(&lines.join(&b'\n'));
        }

        #[test]
        fn routes(
            host in prop::sample::select(vec!["a.test", "b.test", "localhost"]),
            path in of(&["/", "/", "a", "b", ".", ";", "%2F", "%2f", "%61", "%3B", "\\"]),
        ) {
            route(&[host.as_bytes(), b"/", &path].concat());
        }
    }
}
