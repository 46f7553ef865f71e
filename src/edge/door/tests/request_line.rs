//! Methods, targets and versions that are refused.

use super::super::head::MAX_TARGET;
use super::{expect_refusals, line};

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
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
            (400, "GET /a?\"b\" HTTP/1.1", "quotes in a query"),
            (400, "GET /a?<b> HTTP/1.1", "what a query must escape"),
            (400, "GET /a\\b?c HTTP/1.1", "a backslash before a query"),
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
