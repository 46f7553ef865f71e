//! `[[rate_limit]]`.

use super::{ask, from, server};
use crate::support::http;
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

/// A rate so slow that no token comes back while a test runs.
const ONE_A_DAY: &str = "rate = \"1/d\"";

#[test]
fn a_client_that_asks_too_often_is_told_when_to_come_back() {
    let upstream = Upstream::saying("hello");
    let server = server(
        &upstream,
        r#"
        [[rate_limit]]
        name = "few"
        rate = "6/h"
        burst = 2
        [[route]]
        path = "/"
        upstream = "backend"
        rate_limit = ["few"]
        "#,
    );
    for (left, full_in) in [("1", 600), ("0", 1200)] {
        let answer = ask(&server, "GET /", "");
        assert_eq!(answer.status, 200);
        let told = answer.header("ratelimit").unwrap();
        let (told_left, told_full_in) = told.split_once(";t=").unwrap();
        assert_eq!(told_left, format!("\"few\";r={left}"));
        let told_full_in: u64 = told_full_in.parse().unwrap();
        assert!((full_in - 60..=full_in).contains(&told_full_in), "{told}");
        assert_eq!(
            answer.header("ratelimit-policy"),
            Some("\"few\";q=2;w=1200")
        );
        assert_eq!(answer.header("retry-after"), None);
    }
    for (accept, content_type) in [
        ("*/*", "application/problem+json"),
        ("text/html", "text/html; charset=utf-8"),
    ] {
        let refused = ask(&server, "GET /", &format!("Accept: {accept}\r\n"));
        assert_eq!(refused.status, 429);
        assert_eq!(refused.header("content-type"), Some(content_type));
        let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
        assert!((540..=600).contains(&wait), "{wait}");
        assert!(
            refused
                .header("ratelimit")
                .unwrap()
                .starts_with("\"few\";r=0;t=")
        );
        assert_eq!(refused.header("cache-control"), Some("no-store"));
    }
    assert_eq!(
        (upstream.request().line(), upstream.request().line()),
        ("GET / HTTP/1.1", "GET / HTTP/1.1")
    );
    assert!(!upstream.has_more_requests(), "refused ones go nowhere");
}

#[test]
fn what_tells_clients_apart_is_the_key() {
    let upstream = Upstream::saying("");
    let tables = [
        ("ip", "ip"),
        ("token", "token"),
        ("key", "header:X-Api-Key"),
    ];
    let tables = tables.map(|(name, key)| {
        format!(
            "[[rate_limit]]\nname = \"{name}\"\n{ONE_A_DAY}\nkey = \"{key}\"\n\
             [[route]]\npath = \"/{name}/\"\nupstream = \"backend\"\nrate_limit = [\"{name}\"]\n"
        )
    });
    let server = server(&upstream, &tables.concat());
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for (path, headers, status, why) in [
        ("/ip/", from("203.0.113.9"), 200, "the first"),
        ("/ip/", from("203.0.113.9"), 429, "the same again"),
        ("/ip/", from("203.0.113.10"), 200, "another address"),
        ("/ip/", from("2001:db8:1:2::1"), 200, "an IPv6 network"),
        ("/ip/", from("2001:db8:1:2:9::9"), 429, "the same /64"),
        ("/ip/", from("2001:db8:1:3::1"), 200, "its neighbour"),
        ("/token/", bearer("a"), 200, "a token"),
        ("/token/", bearer("a"), 429, "the same again"),
        ("/token/", bearer("b"), 200, "another from the same address"),
        ("/token/", from("203.0.113.9"), 200, "none: the address"),
        ("/token/", from("203.0.113.9"), 429, "again"),
        (
            "/token/",
            format!("{}Authorization: Basic YTpi\r\n", from("203.0.113.9")),
            429,
            "and so for other schemes",
        ),
        ("/key/", "X-Api-Key: a\r\n".to_owned(), 200, "a key"),
        ("/key/", "x-api-key: a\r\n".to_owned(), 429, "the same"),
        ("/key/", "X-Api-Key: b\r\n".to_owned(), 200, "another"),
        ("/key/", from("203.0.113.9"), 200, "none: the address"),
        ("/key/", from("203.0.113.9"), 429, "again"),
    ] {
        let answer = ask(&server, &format!("GET {path}"), &headers);
        assert_eq!(answer.status, status, "{path} {headers}: {why}");
    }
}

#[test]
fn only_the_methods_of_the_scope_count_and_every_limit_of_the_route_does() {
    let upstream = Upstream::saying("");
    let server = server(
        &upstream,
        &format!(
            r#"
            [[rate_limit]]
            name = "one"
            {ONE_A_DAY}
            [[rate_limit]]
            name = "three"
            {ONE_A_DAY}
            burst = 3
            [[route]]
            path = "/both/"
            upstream = "backend"
            rate_limit = ["three", "one"]
            methods = ["POST", "GET"]
            [[route]]
            path = "/three/"
            upstream = "backend"
            rate_limit = ["three"]
            "#
        ),
    );
    for (line, status, left, why) in [
        ("PUT /both/", 200, [None, None], "not in the scope"),
        ("POST /both/", 200, [Some(2), Some(0)], "both give a token"),
        (
            "POST /both/",
            429,
            [Some(2), Some(0)],
            "refused by one; the other keeps its token",
        ),
        ("HEAD /both/", 429, [Some(2), Some(0)], "HEAD is a GET"),
        ("DELETE /both/", 200, [None, None], "still not in the scope"),
        ("PUT /three/", 200, [Some(1), None], "routes share a limit"),
    ] {
        let answer = ask(&server, line, "Content-Length: 0\r\n");
        assert_eq!(answer.status, status, "{line}: {why}");
        let told = answer.header("ratelimit").unwrap_or_default();
        let of = |name: &str| {
            let (_, rest) = told.split_once(&format!("\"{name}\";r="))?;
            rest.split(';').next()?.parse::<u32>().ok()
        };
        assert_eq!([of("three"), of("one")], left, "{line}: {why}");
    }
}

#[test]
fn a_ca_is_never_told_to_wait() {
    let upstream = Upstream::saying("");
    let server = server(
        &upstream,
        &format!(
            "[[rate_limit]]\nname = \"one\"\n{ONE_A_DAY}\n\
             [[route]]\npath = \"/\"\nupstream = \"backend\"\nrate_limit = [\"one\"]\n"
        ),
    );
    assert_eq!(ask(&server, "GET /", "").status, 200);
    for (line, status) in [
        ("GET /.well-known/acme-challenge/aB3-_x", 200),
        ("GET /.well-known/acme-challenge/aB3-_x", 200),
        ("POST /.well-known/acme-challenge/aB3-_x", 429),
        ("GET /.well-known/acme-challenge/", 429),
        ("GET /.well-known/acme-challenge/x/y", 429),
        ("GET /.well-known/acme-challenge/%2e%2e", 400),
        ("GET /.well-known/acme-challenge/..;/x", 400),
        ("GET /.well-known/acme-challenge/x%2f..%2f..%2fapi", 400),
    ] {
        let status_now = ask(&server, line, "Content-Length: 0\r\n").status;
        assert_eq!(status_now, status, "{line}");
    }
}

#[tokio::test]
async fn limits_hold_for_the_app_over_http_2_and_are_counted() {
    let server = Setup::new()
        .admin()
        .config(&format!(
            "[[rate_limit]]\nname = \"one\"\n{ONE_A_DAY}\nburst = 2\n\
             [[rate_limit]]\nname = \"idle\"\nrate = \"5/s\"\n\
             [[route]]\npath = \"/\"\napp = true\nrate_limit = [\"one\"]\n"
        ))
        .start();
    let client = http::client();
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = client.get(server.url("/api")).send().await.unwrap();
        assert!(answer.headers().contains_key("ratelimit"));
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [200, 200, 429, 429]);
    let metrics = client.get(server.admin_url("/metrics")).send().await;
    let metrics = metrics.unwrap().text().await.unwrap();
    for line in [
        "# TYPE unibody_rate_limit_refused_total counter",
        "unibody_rate_limit_refused_total{limit=\"idle\"} 0",
        "unibody_rate_limit_refused_total{limit=\"one\"} 2",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}
