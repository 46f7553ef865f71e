//! What is given from the store, byte for byte, and what is not put there.

use super::{Answer, Origin, get, outcome, send};
use crate::support::nginx::Nginx;
use crate::support::raw::Raw;
use crate::support::server::Setup;

const KEPT: &str = "200\r\nETag: \"a\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Cache-Control: max-age=60\r\nContent-Type: image/x";

#[test]
fn what_has_no_content_is_told_no_length_of_it() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say(
        "/c/x",
        [Answer::new("204\r\nCache-Control: max-age=60", "")],
    );
    for expected in ["miss", "hit", "hit"] {
        let answer = get(&edge, "/c/x");
        assert_eq!((answer.status, outcome(&answer)), (204, expected));
        if expected == "hit" {
            assert_eq!(answer.header("content-length"), None, "{}", answer.head);
        }
        assert_eq!(answer.header("transfer-encoding"), None, "{}", answer.head);
    }
}

#[test]
fn conditions_parts_and_heads_are_answered_from_the_store() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say("/c/x", [Answer::new(KEPT, "0123456789")]);
    get(&edge, "/c/x");
    #[rustfmt::skip]
    let table = [
        ("GET", "", 200, "0123456789", "the whole"),
        ("HEAD", "", 200, "", "its head"),
        ("GET", "If-None-Match: \"a\"", 304, "", "its tag"),
        ("GET", "If-None-Match: \"x\", W/\"a\"", 304, "", "compared weakly (RFC 9110, 13.1.2)"),
        ("GET", "If-None-Match: *", 304, "", "any tag"),
        ("GET", "If-None-Match: \"b\"", 200, "0123456789", "another tag"),
        ("GET", "If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 304, "", "its date"),
        ("GET", "If-Modified-Since: Sat, 05 Nov 1994 08:49:37 GMT", 200, "0123456789", "before its date"),
        ("GET", "If-None-Match: \"b\"\r\nIf-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT", 200, "0123456789", "the tag counts before the date (13.2.2)"),
        ("HEAD", "If-None-Match: \"a\"", 304, "", "also of its head"),
        ("GET", "Range: bytes=2-4", 206, "234", "a part"),
        ("GET", "Range: bytes=-3", 206, "789", "its end"),
        ("GET", "Range: bytes=8-", 206, "89", "from there"),
        ("GET", "Range: bytes=20-", 416, "", "beyond its end"),
        ("GET", "Range: lines=1", 200, "0123456789", "in units that nobody knows"),
        ("GET", "Range: bytes=2-4\r\nIf-Range: \"a\"", 206, "234", "of this one"),
        ("GET", "Range: bytes=2-4\r\nIf-Range: \"b\"", 200, "0123456789", "of another"),
        ("GET", "Range: bytes=2-4\r\nIf-Range: W/\"a\"", 200, "0123456789", "of one that is like it (13.1.5)"),
        ("GET", "Range: bytes=2-4\r\nIf-None-Match: \"a\"", 304, "", "conditions come first (13.2.2)"),
    ];
    for (method, fields, status, body, why) in table {
        let answer = send(&edge, method, "/c/x", fields);
        let seen = (answer.status, answer.text(), outcome(&answer));
        assert_eq!(
            seen,
            (status, body.to_owned(), "hit"),
            "{why}: {}",
            answer.head
        );
        assert!(answer.header("age").is_some(), "{why}: {}", answer.head);
        if ![304, 416].contains(&status) {
            assert_eq!(
                answer.header("etag"),
                Some("\"a\""),
                "{why}: {}",
                answer.head
            );
        }
    }
    let parts = send(&edge, "GET", "/c/x", "Range: bytes=0-1,8-9");
    assert_eq!(parts.status, 206);
    let text = parts.text();
    for part in [
        "Content-Range: bytes 0-1/10\r\n\r\n01\r\n",
        "Content-Range: bytes 8-9/10\r\n\r\n89\r\n",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let length = parts.header("content-length").unwrap().parse::<usize>();
    assert_eq!(length.unwrap(), parts.body.len());
    assert_eq!(origin.asked("/c/x").len(), 1);
}

#[test]
fn who_wants_less_than_is_not_there_gets_it_from_the_upstream() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let part = "206\r\nContent-Range: bytes 2-4/10\r\nCache-Control: max-age=60";
    origin.say("/c/part", [Answer::new(part, "234")]);
    let answer = send(&edge, "GET", "/c/part", "Range: bytes=2-4");
    assert_eq!(
        (answer.status, outcome(&answer), answer.text().as_str()),
        (206, "bypass", "234")
    );
    assert!(origin.asked("/c/part")[0].contains("Range: bytes=2-4"));
    origin.say(
        "/c/head",
        [Answer::raw(
            "HTTP/1.1 200 OK\r\nContent-Length: 9999999999\r\n\r\n",
        )],
    );
    let answer = send(&edge, "HEAD", "/c/head", "");
    assert_eq!((answer.status, outcome(&answer)), (200, "bypass"));
    assert!(origin.asked("/c/head")[0].starts_with("HEAD "));
    for (method, range) in [("GET", ""), ("HEAD", ""), ("GET", "Range: bytes=0-1\r\n")] {
        let fields = format!("{range}Cache-Control: only-if-cached");
        let answer = send(&edge, method, "/c/none", &fields);
        assert_eq!(
            (answer.status, origin.asked("/c/none").len()),
            (504, 0),
            "RFC 9111, 5.2.1.7: {method} {range}"
        );
    }
}

/// As Java's client does with each request, in vain.
#[test]
fn an_offer_to_speak_http_2_passes_nothing_by() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say("/t/x", [Answer::new("200", "hello")]);
    let offer =
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB";
    for expected in ["miss", "hit"] {
        let answer = send(&edge, "GET", "/t/x", offer);
        assert_eq!(
            (outcome(&answer), answer.text().as_str()),
            (expected, "hello")
        );
    }
    let head = origin.asked("/t/x").remove(0).to_lowercase();
    assert!(
        !head.contains("h2c") && !head.contains("http2-settings"),
        "{head}"
    );
}

#[test]
fn large_answers_pass_and_are_not_kept() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let large = "x".repeat(5000);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunked = format!(
        "{head}{:x}\r\n{large}\r\n{:x}\r\n{large}\r\n0\r\n\r\n",
        5000, 5000
    );
    origin.say("/t/told", [Answer::new("200", &large)]);
    origin.say("/t/chunked", [Answer::raw(chunked)]);
    for (path, length) in [("/t/told", 5000), ("/t/chunked", 10000)] {
        for _ in 0..3 {
            let answer = get(&edge, path);
            let body = answer.text().matches('x').count();
            assert_eq!((answer.status, body), (200, length), "{path}");
        }
        assert_eq!(
            outcome(&get(&edge, path)),
            "bypass",
            "{path}: nobody waits for it"
        );
        assert_eq!(origin.asked(path).len(), 4, "{path}");
    }
    assert_eq!(edge.figures().cached_answers().figures().entries, 0);
    // In pieces and small enough: its length is known from then on.
    let small = format!("{head}3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n");
    origin.say("/t/small", [Answer::raw(small)]);
    get(&edge, "/t/small");
    let answer = get(&edge, "/t/small");
    assert_eq!(
        (outcome(&answer), answer.text().as_str()),
        ("hit", "abcdef")
    );
    assert_eq!(answer.header("content-length"), Some("6"));
}

#[test]
fn what_changes_a_page_forgets_it() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    for (method, status, kept) in [
        ("POST", "200", false),
        ("PUT", "204", false),
        ("DELETE", "303", false),
        ("PATCH", "200", false),
        ("POST", "409", true),
        ("POST", "500", true),
        ("OPTIONS", "200", true),
    ] {
        let path = format!("/t/{method}/{status}");
        let page = Answer::new("200", "page");
        origin.say(&path, [page.clone(), Answer::new(status, ""), page]);
        get(&edge, &path);
        let changed = send(&edge, method, &path, "Content-Length: 0");
        assert_eq!(outcome(&changed), "bypass", "{method} {status}");
        let expected = if kept { "hit" } else { "miss" };
        assert_eq!(outcome(&get(&edge, &path)), expected, "{method} {status}");
    }
}

#[test]
fn nothing_but_the_question_reaches_an_upstream_whose_answer_is_kept() {
    let origin = Origin::start();
    // A balancer that is trusted passes on what its clients say, too.
    let edges = ["", "trusted_proxies = [\"127.0.0.1\"]"].map(|keys| origin.edge(keys, ""));
    let fields = "X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: nothing\r\nX-Forwarded-Port: 1\r\n\
        X-Original-URL: /evil\r\nX-Rewrite-URL: /evil\r\nX-HTTP-Method-Override: DELETE\r\nX-Host: evil.test\r\nX_Original_URL: /evil\r\n\
        Accept-Encoding: x-evil, gzip;q=0.2\r\nIf-None-Match: \"x\"\r\nX-Own: 1";
    for (edge, path) in edges.iter().zip(["/t/x", "/t/y"]) {
        origin.say(path, [Answer::new("200", "hello")]);
        assert_eq!(outcome(&send(edge, "GET", path, fields)), "miss");
        let head = origin.asked(path).remove(0);
        let lower = head.to_lowercase();
        for evil in [
            "evil",
            "nothing",
            "delete",
            "x-forwarded-port",
            "if-none-match",
        ] {
            assert!(!lower.contains(evil), "{evil}: {head}");
        }
        for told in [
            "accept-encoding: gzip\r\n",
            "x-forwarded-host: localhost\r\n",
            "x-own: 1\r\n",
        ] {
            assert!(lower.contains(told), "{told}: {head}");
        }
    }
}

#[test]
fn the_encodings_of_nginx_are_kept_apart_and_its_tags_confirmed() {
    let nginx = Nginx::start(
        "types { text/css css; } gzip on; gzip_types text/css; gzip_min_length 1; gzip_vary on; etag on;
         location / { add_header Cache-Control 'max-age=0, must-revalidate'; }
         location /kept/ { add_header Cache-Control 'max-age=60'; }",
    );
    std::fs::create_dir(nginx.path("kept")).unwrap();
    let css = "a { color: red }\n".repeat(40);
    std::fs::write(nginx.path("kept/a.css"), &css).unwrap();
    std::fs::write(nginx.path("b.css"), &css).unwrap();
    let server = Setup::new()
        .plain()
        .config(&nginx.table(""))
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\ncache = {}")
        .start();
    let ask = |target: &str, coding: &str| {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
        ));
        raw.last_answer()
    };
    for (coding, expected, content_encoding) in [
        ("gzip", "miss", Some("gzip")),
        ("gzip, deflate", "hit", Some("gzip")),
        ("identity", "miss", None),
        ("", "hit", None),
    ] {
        let answer = ask("/kept/a.css", coding);
        let seen = (outcome(&answer), answer.header("content-encoding"));
        assert_eq!(seen, (expected, content_encoding), "{coding}");
        if content_encoding.is_none() {
            assert_eq!(answer.text(), css);
        }
    }
    for expected in ["miss", "revalidated", "revalidated"] {
        let answer = ask("/b.css", "");
        assert_eq!((outcome(&answer), answer.text()), (expected, css.clone()));
    }
}
