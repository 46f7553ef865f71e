//! What is a chunked body, where it ends, and what is none.

use super::super::chunks::{Chunks, MAX_EXCESS, Malformed};

const NEXT: &str = "GET /next HTTP/1.1\r\n";

/// Reads `bytes` in pieces of `size`; how many were of the body, and whether it has ended.
fn read(bytes: &str, size: usize) -> Result<(usize, bool), Malformed> {
    let (mut chunks, mut read) = (Chunks::default(), 0);
    for piece in bytes.as_bytes().chunks(size) {
        read += chunks.read(piece)?;
    }
    Ok((read, chunks.has_ended()))
}

#[test]
fn a_body_ends_where_it_says() {
    for (body, why) in [
        ("0\r\n\r\n", "nothing"),
        ("000\r\n\r\n", "nothing, at length"),
        ("5\r\nhello\r\n0\r\n\r\n", "one chunk"),
        ("1\r\na\r\nA\r\n0123456789\r\n0\r\n\r\n", "two chunks"),
        (
            "00000000000000a\r\n0123456789\r\n0\r\n\r\n",
            "fifteen digits",
        ),
        ("4\r\n\r\n\r\n\r\n0\r\n\r\n", "line ends are data too"),
        ("1;a=b\r\nx\r\n0;c\r\n\r\n", "extensions"),
        (
            "1 \t; a=\"b; c\"\r\nx\r\n0\r\n\r\n",
            "white space before them",
        ),
        ("0\r\nDigest: \u{fc} =\r\nX-Y:\r\n\r\n", "trailers"),
    ] {
        let bytes = format!("{body}{NEXT}");
        for size in [1, 2, 3, bytes.len()] {
            assert_eq!(
                read(&bytes, size),
                Ok((body.len(), true)),
                "{why}, by {size}"
            );
        }
        for end in 0..body.len() {
            if body.is_char_boundary(end) {
                assert_eq!(
                    read(&body[..end], 7),
                    Ok((end, false)),
                    "{why}, cut at {end}"
                );
            }
        }
    }
}

#[test]
fn what_has_no_one_meaning_is_refused() {
    for (body, why) in [
        ("\r\n0\r\n\r\n", "no size"),
        (";a\r\n", "no size, but an extension"),
        (" 5\r\n", "white space before the size"),
        ("-5\r\n", "a sign"),
        ("+5\r\n", "another sign"),
        ("0x5\r\n", "a prefix"),
        ("5g\r\n", "not a digit"),
        ("\u{0665}\r\n", "a digit of another script"),
        ("5 5\r\n", "two sizes"),
        ("5 \r\n", "white space and nothing after it"),
        ("5,5\r\n", "a list"),
        ("5\n", "a bare line feed"),
        ("5\rh", "a bare carriage return"),
        ("5;a\n", "a bare line feed after an extension"),
        ("5;a\0\r\n", "a control byte in an extension"),
        ("5;a\x7f\r\n", "another one"),
        ("0000000000000005\r\n", "sixteen digits"),
        ("5\r\nhello!\r\n", "more data than it says"),
        ("5\r\nhello\n", "data that ends in a bare line feed"),
        ("5\r\nhello\r\r\n", "data that ends in two carriage returns"),
        ("5\r\nhell\r\n0\r\n\r\n", "less data than it says"),
        ("0\r\n X: y\r\n", "a folded trailer"),
        ("0\r\nX : y\r\n", "white space before the colon"),
        ("0\r\nX\r\n", "a trailer without a colon"),
        ("0\r\n: y\r\n", "a trailer without a name"),
        ("0\r\nX: y\n", "a bare line feed after a trailer"),
        ("0\r\nX: y\0\r\n", "a NUL in a trailer"),
        (
            "0\r\nGET / HTTP/1.1\r\n",
            "the next request instead of the end",
        ),
        ("0\r\n\n", "a bare line feed at the end"),
    ] {
        for size in [1, 2, 100] {
            assert!(read(body, size).is_err(), "{why}, by {size}");
        }
    }
}

#[test]
fn extensions_are_measured_by_the_data_they_come_with() {
    let signed = |size: usize| format!("{size:x};signature={:064x}\r\n{}\r\n", 1, "x".repeat(size));
    let many = signed(64).repeat(1000) + "0\r\n\r\n";
    assert_eq!(read(&many, 4096), Ok((many.len(), true)), "as much data");
    assert!(
        read(&signed(1).repeat(1000), 4096).is_err(),
        "hardly any data"
    );
    let limit = usize::try_from(MAX_EXCESS).unwrap();
    assert!(read(&format!("1;{}", "a".repeat(limit)), 4096).is_err());
    assert!(read(&format!("0\r\n{}", "X: y\r\n".repeat(limit / 6 + 1)), 4096).is_err());
    let small = "1\r\nx\r\n".repeat(10_000) + "0\r\n\r\n";
    assert_eq!(
        read(&small, 4096),
        Ok((small.len(), true)),
        "the smallest chunks"
    );
}
