//! What is let in, and how much of it.

use super::super::head::Framing::{Chunked, Length, Upgrade};
use super::super::head::{MAX_FIELDS, MAX_HEAD, MAX_TARGET, Reading, leading_line_end, read};
use super::{expect_complete, expect_refusals, get, host, line};

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
            get("Upgrade: WebSocket\r\nUpgrade: h2c\r\n"),
            Upgrade,
            "the first counts",
        ),
        (
            get("Upgrade: h2c\r\nUpgrade: websocket\r\n"),
            Length(0),
            "a protocol that is offered in vain",
        ),
        (
            "GET / HTTP/1.0\r\nHost: a\r\nUpgrade: websocket\r\n\r\n".to_owned(),
            Length(0),
            "HTTP/1.0 has no upgrades",
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
            line("GET /a?b=^c`\\d HTTP/1.1"),
            Length(0),
            "what they leave unescaped in a query alone",
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
