//! Heads that nobody should act on: what each is answered with, and that it ends the connection.

use serde_json::Value;

use super::{connect, edge, get};
use crate::support::raw::RawAnswer;

/// What every refusal has.
fn assert_refused(answer: &RawAnswer, status: u16, why: &str) {
    assert_eq!(answer.status, status, "{why}: {answer:?}");
    for (name, value) in [
        ("connection", "close"),
        ("content-type", "application/problem+json"),
        ("cache-control", "no-store"),
        ("server", "unibody"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "sameorigin"),
        ("referrer-policy", "strict-origin-when-cross-origin"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{why}: {answer:?}");
    }
    assert!(answer.header("date").is_some(), "{why}: {answer:?}");
    let policy = answer.header("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'self'"), "{why}: {answer:?}");
    let length = answer.body.len().to_string();
    assert_eq!(answer.header("content-length"), Some(&*length), "{why}");
    let problem: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["status"], status, "{why}");
    let id = answer.header("x-request-id");
    assert!(
        id.is_some() && problem["request_id"].as_str() == id,
        "{why}: {answer:?}"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn what_pingora_would_let_through_or_judge_otherwise_is_refused() {
    let server = edge("");
    let with = |fields: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n");
    let host = |host: &str| format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let smuggled = "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 35\r\n\
                    Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (status, bytes, why) in [
        (
            400,
            smuggled.into(),
            "a request hidden between two framings",
        ),
        (
            501,
            with("Transfer-Encoding: gzip, chunked\r\n"),
            "a second coding",
        ),
        (
            400,
            with("Transfer-Encoding: identity\r\n"),
            "an obsolete coding",
        ),
        (
            400,
            with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
            "chunked twice",
        ),
        (
            400,
            with("Content-Length: 3\r\nContent-Length: 3\r\n"),
            "the length twice",
        ),
        (
            400,
            with("Content-Length: 3\r\nContent-Length: 4\r\n"),
            "two lengths",
        ),
        (400, with("Content-Length: 3, 3\r\n"), "a list of lengths"),
        (400, with("Content-Length: +3\r\n"), "a signed length"),
        (
            400,
            with("Content-Length: 99999999999999999999\r\n"),
            "a length beyond counting",
        ),
        (400, with("X: a\r\n b\r\n"), "a folded line"),
        (400, with("X: a\nY: b\r\n"), "a bare LF"),
        (400, with("X: a\rY: b\r\n"), "a bare CR"),
        (400, with("X: a\0\r\n"), "a NUL"),
        (400, with("X : a\r\n"), "a space before the colon"),
        (400, with(": a\r\n"), "a field without a name"),
        (
            400,
            " GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            "a leading space",
        ),
        (
            400,
            "GET /healthz HTTP/1.1\nHost: localhost\n\n".into(),
            "lines that end in LF",
        ),
        (400, "GET /healthz HTTP/1.1\r\n\r\n".into(), "no Host"),
        (400, with("Host: localhost\r\n"), "two Hosts"),
        (400, host("localhost/../x"), "a path in Host"),
        (400, host("local host"), "a space in Host"),
        (400, host("localhost:99999"), "a port that isn't one"),
        (400, host("u@localhost"), "user information"),
        (
            400,
            line("GET http://other.test/healthz HTTP/1.1"),
            "absolute form that disagrees",
        ),
        (400, line("get /healthz HTTP/1.1"), "a method in lower case"),
        (400, line("* GET /healthz HTTP/1.1"), "no method"),
        (
            405,
            line("TRACE /healthz HTTP/1.1"),
            "a request to be echoed",
        ),
        (405, line("CONNECT localhost:80 HTTP/1.1"), "a tunnel"),
        (
            400,
            line("GET * HTTP/1.1"),
            "the server itself, but not for OPTIONS",
        ),
        (400, line("GET healthz HTTP/1.1"), "a path without a slash"),
        (400, line("GET /a b HTTP/1.1"), "a space in the target"),
        (400, line("GET /\u{e9} HTTP/1.1"), "a target beyond ASCII"),
        (400, line("GET /#x HTTP/1.1"), "a fragment"),
        (
            414,
            line(&format!("GET /{} HTTP/1.1", "a".repeat(9000))),
            "a long target",
        ),
        (
            431,
            with(&format!("X: {}\r\n", "a".repeat(40_000))),
            "a large field",
        ),
        (431, with(&"X: y\r\n".repeat(200)), "many fields"),
        (
            417,
            with("Expect: the-unexpected\r\n"),
            "an unknown expectation",
        ),
        (
            505,
            line("GET /healthz HTTP/3.0"),
            "a version of the future",
        ),
        (
            505,
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
            "the preface of HTTP/2",
        ),
        (
            400,
            "POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n".into(),
            "chunks in HTTP/1.0",
        ),
        (
            400,
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".into(),
            "TLS on a plain port",
        ),
    ] {
        let answer = connect(&server).send(&bytes).last_answer();
        assert_refused(&answer, status, why);
    }
    // And the server is none the worse for it.
    assert_eq!(connect(&server).send(get("/healthz")).answer().status, 200);
}

#[test]
fn a_refusal_follows_good_requests_and_ends_the_connection() {
    let mut server = edge("");
    let mut client = connect(&server);
    client.send(get("/healthz") + "BAD\r\n\r\n" + &get("/healthz"));
    assert_eq!(client.answer().status, 200);
    let refusal = client.last_answer();
    assert_refused(&refusal, 400, "the second of three");
    let id = refusal.header("x-request-id").unwrap();
    let line = server.wait_for_line(&format!("id={id}"));
    assert!(line.contains("\"-\" 400 "), "{line}");
}

#[test]
fn a_refused_head_request_gets_no_content() {
    let server = edge("");
    for (method, has_content) in [("GET", true), ("HEAD", false)] {
        let mut client = connect(&server);
        client.send(format!("{method} /a b HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        let refusal = client.last_answer();
        assert_eq!(refusal.status, 400, "{method}");
        assert_ne!(refusal.header("content-length"), Some("0"), "{method}");
        assert_eq!(!refusal.body.is_empty(), has_content, "{method}");
    }
}

#[test]
fn a_client_that_is_still_sending_its_head_reads_the_whole_refusal() {
    let server = edge("");
    let mut client = connect(&server);
    let start = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ";
    client
        .send(start)
        .send_undisturbed(&vec![b'a'; 4 * 1024 * 1024]);
    assert_refused(&client.last_answer(), 431, "a head without end");
}

/// Behind the door no head is refused by anyone else, in another way.
#[test]
fn what_is_let_in_is_answered_by_us() {
    let server = edge("");
    let with = |fields: &str| format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
    let line = |line: &str| format!("{line}\r\nHost: localhost\r\n\r\n");
    for (status, request) in [
        (200, with("X: a\tb\r\nEmpty:\r\n")),
        (200, with("X: \u{e9}\r\n")),
        (200, with(&format!("X: {}\r\n", "a".repeat(32_000)))),
        (200, with(&"X: y\r\n".repeat(99))),
        (200, with("Content-Length: 0\r\n")),
        (200, with("Content-Length:  0 \r\n")),
        (
            200,
            with("Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 0\r\n"),
        ),
        (
            200,
            with(
                "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n",
            ),
        ),
        (
            200,
            "GET /healthz HTTP/1.1\r\nhost:LocalHost.:8080\r\n\r\n".into(),
        ),
        (200, line("GET /healthz? HTTP/1.1")),
        (200, line("GET /healthz?a=[1]|{2}&b=%00/?@: HTTP/1.1")),
        (200, line("GET http://localhost/healthz HTTP/1.1")),
        (200, line("GET HTTP://localhost/healthz?x HTTP/1.1")),
        (404, line("GET http://localhost HTTP/1.1")),
        (200, line("GET /healthz HTTP/1.0")),
        (204, line("OPTIONS * HTTP/1.1")),
        (405, line("FOO /healthz HTTP/1.1")),
        (405, line("M-SEARCH /healthz HTTP/1.1")),
        (404, line(&format!("GET /{} HTTP/1.1", "a".repeat(8000)))),
        (404, line("GET /a|b{c} HTTP/1.1")),
        (400, line("GET //healthz/../x HTTP/1.1")),
        (400, line("GET /%00 HTTP/1.1")),
        (400, line("GET /% HTTP/1.1")),
    ] {
        let answer = connect(&server).send(&request).answer();
        assert_eq!(answer.status, status, "{request:?}: {answer:?}");
        assert!(
            answer.header("x-request-id").is_some(),
            "{request:?}: {answer:?}"
        );
        assert_eq!(answer.header("server"), Some("unibody"), "{request:?}");
    }
}
