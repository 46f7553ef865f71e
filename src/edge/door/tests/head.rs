//! What is let in, what is refused, and with which status.

use super::super::head::Framing::{Chunked, Length, Upgrade};
use super::super::head::{
    Framing, MAX_FIELDS, MAX_HEAD, MAX_TARGET, Reading, leading_line_end, read,
};

/// `GET /` for `a.test` with further `fields`, each ending in CRLF.
fn get(fields: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\n{fields}\r\n")
}

/// A request that consists of its first line and a Host.
fn line(line: &str) -> String {
    format!("{line}\r\nHost: a.test\r\n\r\n")
}

/// `GET /` with this Host.
fn host(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost:{host}\r\n\r\n")
}

/// The status that `bytes` are refused with.
fn refused(bytes: &[u8]) -> u16 {
    match read(bytes, 0) {
        Reading::Refused(refusal) => refusal.status.as_u16(),
        other => panic!("{:?} is {other:?}", bytes.escape_ascii().to_string()),
    }
}

fn expect_refusals<'a>(table: impl IntoIterator<Item = (u16, Vec<u8>, &'a str)>) {
    for (status, bytes, why) in table {
        let shown = bytes.escape_ascii().to_string();
        assert_eq!(refused(&bytes), status, "{why}: {shown}");
    }
}

fn expect_complete(bytes: &[u8], body: Framing, why: &str) {
    let Reading::Complete(head) = read(bytes, 0) else {
        let verdict = read(bytes, 0);
        panic!("{why}: {verdict:?} for {}", bytes.escape_ascii());
    };
    assert_eq!((head.length, head.body), (bytes.len(), body), "{why}");
}

#[test]
fn requests_with_one_meaning_are_let_in() {
    let longest = format!("/{}", "a".repeat(MAX_TARGET - 1));
    for (bytes, body, why) in [
        (get(""), Length(0), "no body is announced"),
        (get("Content-Length: 0\r\n"), Length(0), "an empty body"),
        (
            get("content-LENGTH: 12\r\n"),
            Length(12),
            "names know no case",
        ),
        (
            get("Content-Length:12  \r\n"),
            Length(12),
            "white space around a value",
        ),
        (
            get("Content-Length: 999999999999999999\r\n"),
            Length(999_999_999_999_999_999),
            "18 digits fit",
        ),
        (
            get("Transfer-Encoding: chunked\r\n"),
            Chunked,
            "the one coding",
        ),
        (
            get("Transfer-Encoding: Chunked\r\n"),
            Chunked,
            "codings know no case",
        ),
        (
            get("Upgrade: websocket\r\nConnection: upgrade\r\n"),
            Upgrade,
            "another protocol may follow",
        ),
        (
            get("Upgrade: websocket\r\nContent-Length: 0\r\n"),
            Upgrade,
            "an empty body doesn't bar the way to another protocol",
        ),
        (
            get("Upgrade: h2c\r\nContent-Length: 3\r\n"),
            Length(3),
            "the body of the request comes before another protocol",
        ),
        (
            get("Expect: 100-continue\r\nContent-Length: 3\r\n"),
            Length(3),
            "the one expectation",
        ),
        (
            get("Expect: 100-Continue\r\n"),
            Length(0),
            "expectations know no case",
        ),
        (get("Empty:\r\n"), Length(0), "a value may be empty"),
        (get("Tab: a\tb\r\n"), Length(0), "a tab inside a value"),
        (
            line("DELETE /api/notes/1 HTTP/1.1"),
            Length(0),
            "a usual method",
        ),
        (
            line("M-SEARCH / HTTP/1.1"),
            Length(0),
            "a hyphen in a method",
        ),
        (
            line("FOO / HTTP/1.1"),
            Length(0),
            "an unknown method is the app's to refuse",
        ),
        (line("OPTIONS * HTTP/1.1"), Length(0), "the server itself"),
        (
            line("GET //x/../ HTTP/1.1"),
            Length(0),
            "what a path means is the router's to say",
        ),
        (
            line("GET /a?b=[1]|{2}&c=/?@: HTTP/1.1"),
            Length(0),
            "what browsers leave unescaped",
        ),
        (
            line(&format!("GET {longest} HTTP/1.1")),
            Length(0),
            "the longest target",
        ),
        (
            line("GET http://a.test/x HTTP/1.1"),
            Length(0),
            "absolute form that agrees with Host",
        ),
        (
            line("GET HTTPS://a.test HTTP/1.1"),
            Length(0),
            "absolute form without a path",
        ),
        (line("GET / HTTP/1.0"), Length(0), "HTTP/1.0"),
        (
            "GET / HTTP/1.0\r\n\r\n".into(),
            Length(0),
            "HTTP/1.0 knew no Host",
        ),
        (
            "GET http://a.test/ HTTP/1.0\r\n\r\n".into(),
            Length(0),
            "the target names the host",
        ),
        (host("a.test"), Length(0), "no space before the value"),
        (host(" a.test:8443 "), Length(0), "a port"),
        (host(" [::1]:80"), Length(0), "an IPv6 address"),
        (host(" 127.0.0.1"), Length(0), "an IPv4 address"),
        (
            host(" A.Test."),
            Length(0),
            "another case and a trailing dot",
        ),
    ] {
        expect_complete(bytes.as_bytes(), body, why);
    }
    let obs_text = b"GET / HTTP/1.1\r\nHost: a.test\r\nX: \xff\xe9\r\n\r\n";
    expect_complete(
        obs_text,
        Length(0),
        "bytes beyond ASCII are allowed in values (RFC 9110, 5.5)",
    );
}

#[test]
fn the_head_ends_where_the_body_begins() {
    let head = get("Content-Length: 4\r\n");
    let bytes = format!("{head}bodyGET / HTTP/1.1\r\n");
    let Reading::Complete(found) = read(bytes.as_bytes(), 0) else {
        panic!("{:?}", read(bytes.as_bytes(), 0));
    };
    assert_eq!((found.length, found.body), (head.len(), Length(4)));
}

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
            (
                501,
                "Transfer-Encoding: gzip, chunked\r\n",
                "a coding nobody here undoes",
            ),
            (
                501,
                "Transfer-Encoding: chunked, chunked\r\n",
                "chunked twice in one list",
            ),
            (
                501,
                "Transfer-Encoding: chunked, identity\r\n",
                "not ending in chunked",
            ),
            (501, "Transfer-Encoding: gzip\r\n", "without an end"),
            (501, "Transfer-Encoding: identity\r\n", "obsolete"),
            (501, "Transfer-Encoding: xchunked\r\n", "nearly chunked"),
            (
                501,
                "Transfer-Encoding: chunked;q=1\r\n",
                "chunked with a parameter",
            ),
            (
                501,
                "Transfer-Encoding: \"chunked\"\r\n",
                "chunked in quotes",
            ),
            (501, "Transfer-Encoding:\r\n", "an empty coding"),
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
            (400, "Content-Length : 3\r\n", "a space before the colon"),
            (417, "Expect: 200-ok\r\n", "an unknown expectation"),
        ]
        .map(|(status, fields, why)| (status, get(fields).into_bytes(), why)),
    );
    let old = "POST / HTTP/1.0\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    expect_refusals([(400, old.into(), "HTTP/1.0 knew no chunks")]);
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

#[test]
fn request_lines_have_one_form() {
    let long = format!("GET /{} HTTP/1.1", "a".repeat(MAX_TARGET));
    expect_refusals(
        [
            (400, " GET / HTTP/1.1", "a space before the method"),
            (400, "get / HTTP/1.1", "methods know case"),
            (400, "G3T / HTTP/1.1", "no method has digits"),
            (400, "G\u{c9}T / HTTP/1.1", "a method beyond ASCII"),
            (
                400,
                "ABCDEFGHIJKLMNOPQRSTU / HTTP/1.1",
                "no method is that long",
            ),
            (405, "TRACE / HTTP/1.1", "nothing here echoes a request"),
            (
                405,
                "CONNECT a.test:443 HTTP/1.1",
                "nothing here is a tunnel",
            ),
            (
                400,
                "GET * HTTP/1.1",
                "the server itself, but not for OPTIONS",
            ),
            (400, "* GET / HTTP/1.1", "a method that isn't one"),
            (400, "GET  / HTTP/1.1", "two spaces"),
            (400, "GET /  HTTP/1.1", "two spaces before the version"),
            (400, "GET / HTTP/1.1 ", "a space after the version"),
            (400, "GET\t/\tHTTP/1.1", "tabs instead of spaces"),
            (400, "GET HTTP/1.1", "no target"),
            (400, "GET /", "HTTP/0.9"),
            (400, "GET / HTTP", "half a version"),
            (400, "GET / HTTP/1", "another half"),
            (400, "GET / http/1.1", "versions know case"),
            (400, "GET / HTTP/1.1x", "more than a version"),
            (400, "GET / SIP/2.0", "another protocol"),
            (505, "GET / HTTP/2.0", "HTTP/2 was not agreed on"),
            (505, "GET / HTTP/1.2", "a version nobody has defined"),
            (505, "GET / HTTP/0.9", "a version without heads"),
            (400, "GET /a b HTTP/1.1", "a space in the target"),
            (400, "GET /a HTTP/1.1 HTTP/1.1", "a version in the target"),
            (400, "GET a HTTP/1.1", "a path without a slash"),
            (400, "GET ../a HTTP/1.1", "a relative path"),
            (400, "GET ?a HTTP/1.1", "a query without a path"),
            (400, "GET a.test:80 HTTP/1.1", "the target of CONNECT"),
            (400, "GET /a#b HTTP/1.1", "a fragment"),
            (400, "GET /<a> HTTP/1.1", "what a URI must escape"),
            (400, "GET /\"a\" HTTP/1.1", "quotes"),
            (400, "GET /a\\b HTTP/1.1", "a backslash"),
            (400, "GET /a^b` HTTP/1.1", "caret and backtick"),
            (400, "GET /\u{e9} HTTP/1.1", "a target beyond ASCII"),
            (400, "GET ftp://a.test/ HTTP/1.1", "another scheme"),
            (400, "GET http:/a.test/ HTTP/1.1", "a broken scheme"),
            (
                400,
                "GET http://a.test?x HTTP/1.1",
                "absolute form with a query but no path",
            ),
            (
                400,
                "GET http://b.test/ HTTP/1.1",
                "absolute form that disagrees with Host",
            ),
            (
                400,
                "GET http://A.test/ HTTP/1.1",
                "another case than in Host",
            ),
            (
                400,
                "GET http://a.test:81/ HTTP/1.1",
                "another port than in Host",
            ),
            (
                400,
                "GET http://u@a.test/ HTTP/1.1",
                "user information in the target",
            ),
            (
                400,
                "GET http:///x HTTP/1.1",
                "absolute form without a host",
            ),
            (414, &long, "a target too long"),
        ]
        .map(|(status, start, why)| (status, line(start).into_bytes(), why)),
    );
    expect_refusals([
        (
            400,
            b"GET http:///x HTTP/1.0\r\n\r\n".into(),
            "no host in either place",
        ),
        (
            400,
            b"GET http://u@a.test/ HTTP/1.0\r\n\r\n".into(),
            "user information, no Host",
        ),
        (
            505,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            "the preface of HTTP/2",
        ),
        (
            400,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".into(),
            "TLS on a plain port",
        ),
        (400, b"\r\n\r\n".into(), "an empty request"),
    ]);
}

#[test]
fn there_is_exactly_one_valid_host() {
    expect_refusals(
        [
            ("", "an empty Host"),
            (" :80", "a port alone"),
            (" a.test b.test", "two names"),
            (" a.test, b.test", "a list"),
            (" a.test/../x", "a path"),
            (" a.test?x", "a query"),
            (" u@a.test", "user information"),
            (" http://a.test", "a URL"),
            (" a..test", "an empty label"),
            (" .a.test", "a leading dot"),
            (" a.test:", "a colon without a port"),
            (" a.test:99999", "no such port"),
            (" a.test:0", "port 0"),
            (" a.test:+80", "a signed port"),
            (" a.test:80:80", "two ports"),
            (" 127.1", "an address in short"),
            (" 0x7f000001", "an address in hexadecimal"),
            (" 256.1.1.1", "no such address"),
            (" ::1", "an IPv6 address without brackets"),
            (" [::1", "half a bracket"),
            (" [::1]x", "something after the bracket"),
            (" a%2etest", "an escaped dot"),
            (" a\\test", "a backslash"),
            (" *.test", "a pattern"),
            (" b\u{fc}cher.test", "a name beyond ASCII"),
        ]
        .map(|(value, why)| (400, host(value).into_bytes(), why)),
    );
    expect_refusals([
        (400, b"GET / HTTP/1.1\r\n\r\n".into(), "no Host"),
        (
            400,
            b"GET / HTTP/1.1\r\nHost: a\xff.test\r\n\r\n".into(),
            "not even text",
        ),
        (
            400,
            get("Host: a.test\r\n").into_bytes(),
            "two, even equal ones",
        ),
        (
            400,
            get("HOST: b.test\r\n").into_bytes(),
            "two in different case",
        ),
        (
            400,
            b"GET http://a.test/ HTTP/1.1\r\n\r\n".into(),
            "absolute form doesn't replace it",
        ),
        (
            400,
            b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n".into(),
            "HTTP/1.0 needs none, but no wrong one",
        ),
    ]);
}

#[test]
fn heads_are_bounded() {
    let field = |length: usize| get(&format!("X: {}\r\n", "a".repeat(length)));
    let largest = field(MAX_HEAD - get("X: \r\n").len());
    expect_complete(largest.as_bytes(), Length(0), "the largest head");
    // Host is a field as well.
    let fields = |count: usize| get(&"X: y\r\n".repeat(count - 1));
    expect_complete(fields(MAX_FIELDS).as_bytes(), Length(0), "the most fields");
    let endless = |start: &str| [start.as_bytes(), &vec![b'a'; MAX_HEAD]].concat();
    expect_refusals([
        (431, field(MAX_HEAD).into_bytes(), "one field too large"),
        (
            431,
            largest.replace("X: ", "X: a").into_bytes(),
            "one byte too many",
        ),
        (
            431,
            fields(MAX_FIELDS + 1).into_bytes(),
            "one field too many",
        ),
        (431, fields(1000).into_bytes(), "far too many fields"),
        (431, endless("GET / HTTP/1.1\r\nX: "), "a field without end"),
        (431, endless("GET / HTTP/1.1\r\n"), "a name without end"),
        (414, endless("GET /"), "a target without end"),
        (400, vec![b'A'; 21], "a method without end"),
        (400, vec![b'a'; 1], "what can't become a method"),
    ]);
}

#[test]
fn unfinished_heads_are_waited_for() {
    for bytes in [
        "",
        "G",
        "GET",
        "GET ",
        "GET /",
        "GET / HTTP/1.1",
        "GET / HTTP/1.1\r",
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r",
    ] {
        assert_eq!(read(bytes.as_bytes(), 0), Reading::Incomplete, "{bytes:?}");
    }
}

#[test]
fn what_cannot_become_a_request_is_not_waited_for() {
    expect_refusals([
        (400, b"\x16".into(), "TLS"),
        (400, b"ssh-2.0".into(), "not upper case"),
        (400, b"GET /\n".into(), "a bare LF"),
        (400, b"GET /\0".into(), "a NUL"),
        (405, b"TRACE ".into(), "a method that isn't allowed"),
    ]);
}

#[test]
fn one_stray_line_end_before_a_request_is_skipped() {
    for (bytes, expected) in [
        (&b""[..], None),
        (b"\r", None),
        (b"\r\n", Some(2)),
        (b"\r\nGET", Some(2)),
        (b"\r\n\r\n", Some(2)),
        (b"\rGET", Some(0)),
        (b"\nGET", Some(0)),
        (b"GET", Some(0)),
    ] {
        assert_eq!(
            leading_line_end(bytes),
            expected,
            "{}",
            bytes.escape_ascii()
        );
    }
}
