//! Bytes that two readers could take for different requests.

use super::{expect_refusals, get};

#[test]
fn a_body_framed_in_two_ways_is_refused() {
    expect_refusals(
        [
            (
                400,
                "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
                "both framings",
            ),
            (
                400,
                "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
                "both, the other way round",
            ),
            (
                400,
                "Content-Length: 3\r\nContent-Length: 4\r\n",
                "two lengths",
            ),
            (
                400,
                "Content-Length: 3\r\nContent-Length: 3\r\n",
                "two lengths, even equal ones",
            ),
            (400, "Content-Length: 3, 3\r\n", "a list of lengths"),
            (400, "Content-Length: +3\r\n", "a sign"),
            (400, "Content-Length: -3\r\n", "a negative length"),
            (400, "Content-Length: 0x3\r\n", "hexadecimal"),
            (400, "Content-Length: 3 3\r\n", "white space inside"),
            (400, "Content-Length: 3.0\r\n", "not a whole number"),
            (
                400,
                "Content-Length: \u{0663}\r\n",
                "digits that aren't ASCII",
            ),
            (400, "Content-Length:\r\n", "no length at all"),
            (
                400,
                "Content-Length: 1000000000000000000\r\n",
                "more than any body has",
            ),
            (
                400,
                "Content-Length: 99999999999999999999999\r\n",
                "more than any number has",
            ),
            (
                400,
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                "chunked twice",
            ),
            (
                400,
                "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                "two codings",
            ),
            (400, "Content-Length : 3\r\n", "a space before the colon"),
            (417, "Expect: 200-ok\r\n", "an unknown expectation"),
        ]
        .map(|(status, fields, why)| (status, get(fields).into_bytes(), why)),
    );
    let old = "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    expect_refusals([(400, old.into(), "HTTP/1.0 knew no chunks")]);
}

#[test]
fn a_coding_that_is_not_chunked_alone_is_refused() {
    expect_refusals(
        [
            (
                501,
                "Transfer-Encoding: gzip, chunked\r\n",
                "a coding nobody here undoes",
            ),
            (
                501,
                "Transfer-Encoding: GZip , br,Chunked\r\n",
                "two of them",
            ),
            (
                400,
                "Transfer-Encoding: , chunked\r\n",
                "a list with nothing in it",
            ),
            (400, "Transfer-Encoding: chunked,\r\n", "and at its end"),
            (400, "Transfer-Encoding: gzip chunked\r\n", "no list"),
            (
                400,
                "Transfer-Encoding: chunked, chunked\r\n",
                "chunked twice in one list",
            ),
            (
                400,
                "Transfer-Encoding: chunked, identity\r\n",
                "not ending in chunked",
            ),
            (400, "Transfer-Encoding: gzip\r\n", "without an end"),
            (400, "Transfer-Encoding: identity\r\n", "obsolete"),
            (400, "Transfer-Encoding: xchunked\r\n", "nearly chunked"),
            (
                400,
                "Transfer-Encoding: chunked;q=1\r\n",
                "chunked with a parameter",
            ),
            (
                400,
                "Transfer-Encoding: \"chunked\"\r\n",
                "chunked in quotes",
            ),
            (400, "Transfer-Encoding:\r\n", "an empty coding"),
            (
                400,
                "Transfer-Encoding: \u{b}chunked\r\n",
                "a vertical tab before the coding",
            ),
            (
                400,
                "Transfer-Encoding : chunked\r\n",
                "a space before the colon",
            ),
        ]
        .map(|(status, fields, why)| (status, get(fields).into_bytes(), why)),
    );
}

#[test]
fn stray_bytes_are_refused() {
    expect_refusals([
        (400, get(" folded: x\r\n").into_bytes(), "a folded line"),
        (400, get("X: a\r\n b\r\n").into_bytes(), "a folded value"),
        (
            400,
            get("X: a\r\n\tb\r\n").into_bytes(),
            "a value folded with a tab",
        ),
        (400, get(": x\r\n").into_bytes(), "no name"),
        (400, get("X Y: z\r\n").into_bytes(), "a space in a name"),
        (
            400,
            get("X\u{e9}: z\r\n").into_bytes(),
            "a name beyond ASCII",
        ),
        (400, get("X(Y): z\r\n").into_bytes(), "delimiters in a name"),
        (400, get("no colon\r\n").into_bytes(), "no colon"),
        (
            400,
            get("X: a\nY: b\r\n").into_bytes(),
            "a bare LF between fields",
        ),
        (
            400,
            get("X: a\rY: b\r\n").into_bytes(),
            "a bare CR between fields",
        ),
        (400, get("X: a\r\r\n").into_bytes(), "two CR"),
        (400, get("X: a\0b\r\n").into_bytes(), "a NUL"),
        (400, get("X: a\u{1}b\r\n").into_bytes(), "a control byte"),
        (400, get("X: a\u{7f}b\r\n").into_bytes(), "a DEL"),
        (
            400,
            get("X: a\r\t\r\n").into_bytes(),
            "a tab between CR and LF",
        ),
        (
            400,
            b"GET / HTTP/1.1\nHost: a.test\n\n".into(),
            "lines that end in LF",
        ),
        (
            400,
            b"GET / HTTP/1.1\rHost: a.test\r\r\n\r\n".into(),
            "lines that end in CR",
        ),
        (
            400,
            b"GET / HTTP/1.1\r\n Host: a.test\r\n\r\n".into(),
            "a space before the first field",
        ),
        (
            400,
            b"\n\nGET / HTTP/1.1\r\nHost: a.test\r\n\r\n".into(),
            "bare LF before the request",
        ),
        (400, b"\0".into(), "a NUL for a start"),
    ]);
}
