//! `allow` and `deny`.

use super::{ask, from, server};
use crate::support::upstream::Upstream;

#[test]
fn a_route_lets_in_whom_it_names_by_the_computed_address() {
    let upstream = Upstream::saying("inside");
    let mut server = server(
        &upstream,
        r#"
        [[route]]
        path = "/"
        upstream = "backend"
        [[route]]
        path = "/admin/"
        upstream = "backend"
        allow = ["10.0.0.0/8", "2001:db8::/32", "127.0.0.1"]
        deny = ["10.6.6.0/24", "::ffff:10.7.7.0/120"]
        "#,
    );
    for (path, headers, status, why) in [
        ("/", from("203.0.113.9"), 200, "another route asks nothing"),
        ("/admin/", from("10.1.2.3"), 200, "allowed"),
        ("/admin/", from("2001:db8:1::9"), 200, "allowed, IPv6"),
        ("/admin/", String::new(), 200, "the proxy itself is allowed"),
        ("/admin/", from("203.0.113.9"), 403, "not allowed"),
        ("/admin/", from("10.6.6.6"), 403, "denied"),
        ("/admin/", from("10.7.7.7"), 403, "denied, written as IPv6"),
        (
            "/admin/",
            from("\u{e9}, 203.0.113.9"),
            403,
            "what is no text hides nobody behind the proxy",
        ),
        (
            "/admin/",
            from("10.1.2.3, 203.0.113.9"),
            403,
            "what the client itself claims counts for nothing",
        ),
        ("/admin", from("203.0.113.9"), 403, "without its slash"),
        (
            "/x/../admin/",
            from("203.0.113.9"),
            400,
            "by a path that others read as this one",
        ),
    ] {
        let answer = ask(&server, &format!("GET {path}"), &headers);
        assert_eq!(answer.status, status, "{why}: {}", answer.head);
        if status == 200 {
            upstream.request();
        }
        assert!(!upstream.has_more_requests(), "{why}");
    }

    let refused = ask(
        &server,
        "GET /admin/",
        &format!("{}Accept: text/html\r\n", from("203.0.113.9")),
    );
    assert_eq!(
        refused.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(refused.header("x-content-type-options").is_some());
    let id = refused.header("x-request-id").unwrap();
    let line = server.wait_for_line(&format!(" id={id}"));
    assert!(line.starts_with("203.0.113.9 "), "{line}");
    assert!(line.contains(" 403 "), "{line}");
}
