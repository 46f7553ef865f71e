//! Every spelling of a header that is taken, and its neighbours that are not.

use super::*;
use proptest::prelude::*;

fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, rest].concat()
}

fn client(reading: &Reading) -> Result<String, &'static str> {
    match reading {
        Reading::Complete { client, .. } => {
            Ok(client.map_or("none".to_owned(), |client| client.to_string()))
        }
        Reading::Incomplete => Ok("more".to_owned()),
        Reading::Wrong(reason) => Err(reason),
    }
}

#[test]
fn version_1_has_one_spelling() {
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(91));
    assert_eq!(longest.len(), LONGEST_TEXT);
    let too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(92));
    for (text, expected, why) in [
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n",
            Ok("192.0.2.7:56324"),
            "IPv4",
        ),
        (
            "PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n",
            Ok("[2001:db8::7]:1"),
            "IPv6",
        ),
        ("PROXY UNKNOWN\r\n", Ok("none"), "no client"),
        (
            "PROXY UNKNOWN ffff::1 x y z\r\n",
            Ok("none"),
            "with what is ignored",
        ),
        (longest.as_str(), Ok("none"), "the longest"),
        (too_long.as_str(), Err(()), "one byte more"),
        ("PROXY UNKNOWNS\r\n", Err(()), "another word"),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\n",
            Err(()),
            "a bare line feed",
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443 \r\n",
            Err(()),
            "a blank at the end",
        ),
        (
            "PROXY TCP4  192.0.2.7 192.0.2.1 56324 443\r\n",
            Err(()),
            "two blanks",
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 56324\r\n",
            Err(()),
            "a port is missing",
        ),
        (
            "PROXY TCP4 2001:db8::7 2001:db8::1 1 443\r\n",
            Err(()),
            "another family",
        ),
        (
            "PROXY TCP4 192.0.2.07 192.0.2.1 1 443\r\n",
            Err(()),
            "a leading zero may be octal",
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 01 443\r\n",
            Err(()),
            "a port with a leading zero",
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 +1 443\r\n",
            Err(()),
            "a sign",
        ),
        (
            "PROXY TCP4 192.0.2.7 192.0.2.1 65536 443\r\n",
            Err(()),
            "no such port",
        ),
        (
            "PROXY UDP4 192.0.2.7 192.0.2.1 1 443\r\n",
            Err(()),
            "another protocol",
        ),
        ("proxy UNKNOWN\r\n", Err(()), "lower case"),
        ("GET / HTTP/1.1\r\n", Err(()), "no header at all"),
    ] {
        let read = client(&read(text.as_bytes()));
        let read = read.as_deref().map_err(|_| ());
        assert_eq!(read, expected, "{text}: {why}");
    }
}

#[test]
fn version_2_is_read_to_its_last_value() {
    let ipv4 = [192, 0, 2, 7, 192, 0, 2, 1, 0xdc, 0x04, 1, 187];
    let mut ipv6 = [0; 36];
    ipv6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
    ipv6[33] = 1;
    let with = |more: &[u8]| [&ipv4[..], more].concat();
    for (bytes, expected, why) in [
        (version_2(0x21, 0x11, &ipv4), Ok("192.0.2.7:56324"), "IPv4"),
        (version_2(0x21, 0x21, &ipv6), Ok("[2001:db8::7]:1"), "IPv6"),
        (
            version_2(0x21, 0x11, &with(&[4, 0, 2, 9, 9, 0xea, 0, 0])),
            Ok("192.0.2.7:56324"),
            "two values",
        ),
        (version_2(0x20, 0x00, &[]), Ok("none"), "LOCAL"),
        (
            version_2(0x20, 0x11, &ipv4),
            Ok("none"),
            "LOCAL with addresses that don't count",
        ),
        (version_2(0x21, 0x00, &[1, 2, 3]), Ok("none"), "unspecified"),
        (version_2(0x21, 0x31, &[0; 216]), Ok("none"), "unix"),
        (
            version_2(0x21, 0x31, &[0; 215]),
            Err(()),
            "a cut unix address",
        ),
        (version_2(0x21, 0x11, &ipv4[..11]), Err(()), "cut addresses"),
        (version_2(0x21, 0x21, &ipv6[..35]), Err(()), "cut addresses"),
        (
            version_2(0x21, 0x11, &with(&[4, 0, 3, 9, 9])),
            Err(()),
            "a cut value",
        ),
        (
            version_2(0x21, 0x11, &with(&[4])),
            Err(()),
            "a value without its length",
        ),
        (version_2(0x21, 0x12, &ipv4), Err(()), "UDP"),
        (version_2(0x21, 0x41, &ipv4), Err(()), "no such family"),
        (version_2(0x22, 0x11, &ipv4), Err(()), "no such command"),
        (version_2(0x11, 0x11, &ipv4), Err(()), "another version"),
        (
            version_2(0x20, 0x00, &[0; LONGEST_REST]),
            Ok("none"),
            "the longest",
        ),
        (
            version_2(0x20, 0x00, &[0; LONGEST_REST + 1])[..FIXED].to_vec(),
            Err(()),
            "longer, known from its length",
        ),
    ] {
        let read = client(&read(&bytes));
        let read = read.as_deref().map_err(|_| ());
        assert_eq!(read, expected, "{why}");
    }
}

fn any_header() -> impl Strategy<Value = Vec<u8>> {
    let text = prop::sample::select(vec![
        "PROXY TCP4 192.0.2.7 192.0.2.1 56324 443\r\n",
        "PROXY TCP6 2001:db8::7 ::1 1 443\r\n",
        "PROXY UNKNOWN\r\n",
    ]);
    let binary = (prop::collection::vec(any::<u8>(), 12), 0_u8..2)
        .prop_map(|(addresses, command)| version_2(0x20 | command, 0x11, &addresses));
    prop_oneof![text.prop_map(|text| text.as_bytes().to_vec()), binary]
}

proptest! {
    /// However a header is cut into reads, the same comes of it, and never a byte of the client's.
    #[test]
    fn a_header_is_complete_at_its_last_byte(header in any_header(), after in prop::collection::vec(any::<u8>(), 0..40)) {
        let whole = read(&[&header[..], &after].concat());
        let Reading::Complete { length, client } = whole else {
            panic!("{whole:?}")
        };
        prop_assert_eq!(length, header.len());
        prop_assert_eq!(read(&header), Reading::Complete { length, client });
        for end in 0..header.len() {
            prop_assert_eq!(read(&header[..end]), Reading::Incomplete, "cut at {}", end);
        }
    }

    /// Whatever comes, the reading ends, and it is decided within its bounds.
    #[test]
    fn reading_is_bounded(start in 0_usize..3, bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let start = [&b""[..], TEXT, SIGNATURE][start];
        let bytes = [start, &bytes].concat();
        match read(&bytes) {
            Reading::Complete { length, .. } => prop_assert!(length <= bytes.len()),
            Reading::Incomplete => prop_assert!(bytes.len() < FIXED + LONGEST_REST),
            Reading::Wrong(_) => {}
        }
        if bytes.len() >= SIGNATURE.len() {
            prop_assert_ne!(beginning(&bytes), Beginning::Undecided);
        }
    }
}
