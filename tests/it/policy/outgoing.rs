//! What an upstream or the app is told: the bytes that arrive there.

use axum::Router;
use axum::routing::get;
use http::HeaderMap;

use super::{ask, from, server};
use crate::support::edge::Edge;
use crate::support::raw::Raw;
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

#[test]
fn no_spelling_of_a_clients_headers_passes_for_ours() {
    let upstream = Upstream::saying("");
    let server = Setup::new()
        .plain()
        .config(&upstream.table(""))
        .config(
            "[[route]]\npath = \"/\"\nupstream = \"backend\"\n\
             request_headers.set.\"X-Auth-User\" = \"gateway\"\n",
        )
        .start();
    let forged = "X-Forwarded-For: 6.6.6.6\r\nx-forwarded-FOR: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
                  X-Forwarded_For: 6.6.6.6\r\nX_FORWARDED-FOR: 6.6.6.6\r\nX_Forwarded_Proto: 6.6.6.6\r\n\
                  X-Forwarded-Port: 6.6.6.6\r\nX-Forwarded-Prefix: 6.6.6.6\r\nX_Forwarded_Ssl: 6.6.6.6\r\n\
                  X-Forwarded-Host: 6.6.6.6\r\nX-Forwarded-Host: 6.6.6.6\r\nX_Real_IP: 6.6.6.6\r\n\
                  X-Real-IP: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
                  Forwarded: for=6.6.6.6\r\nX_Request_Id: 6.6.6.6\r\nX-Request-Id: 6.6.6.6\r\n\
                  X-Request-Id: 6.6.6.6\r\nX-Auth-User: 6.6.6.6\r\nX_Auth_User: 6.6.6.6\r\n\
                  My_Key: kept\r\n";
    let answer = ask(&server, "GET /", forged);
    assert_eq!(answer.status, 200);
    let head = upstream.request().head.to_lowercase();
    assert!(!head.contains("6.6.6.6"), "{head}");
    for line in [
        "x-forwarded-for: 127.0.0.1",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: localhost",
        "x-auth-user: gateway",
        "my_key: kept",
    ] {
        assert_eq!(
            head.matches(&format!("\r\n{line}\r\n")).count(),
            1,
            "{line} in {head}"
        );
    }
    assert_eq!(head.matches("x-request-id").count(), 1, "{head}");
}

#[test]
fn a_route_sets_and_removes_what_its_upstream_gets() {
    let upstream = Upstream::saying("");
    let server = server(
        &upstream,
        r#"
        [[route]]
        path = "/"
        upstream = "backend"
        [route.request_headers]
        set = { "X-Gateway" = "unibody", "X-Forwarded-Proto" = "https" }
        remove = ["Authorization", "X-Real-IP"]
        "#,
    );
    let headers = "Authorization: Basic YTpi\r\nX-Gateway: mine\r\nX-Gateway: too\r\nX-Own: 1\r\n";
    assert_eq!(ask(&server, "GET /", headers).status, 200);
    let received = upstream.request();
    for (name, value) in [
        ("x-gateway", Some("unibody")),
        ("x-forwarded-proto", Some("https")),
        ("authorization", None),
        ("x-real-ip", None),
        ("x-own", Some("1")),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("forwarded", None),
    ] {
        assert_eq!(received.header(name), value, "{name}: {}", received.head);
    }
    assert_eq!(received.head.to_lowercase().matches("x-gateway").count(), 1);
}

#[test]
fn forwarded_tells_the_same_as_its_older_siblings() {
    let upstream = Upstream::saying("");
    let tables = "[[route]]\npath = \"/\"\nupstream = \"backend\"\n\
                  request_headers.forwarded = true\n";
    let trusting = server(&upstream, tables);
    let here = "for=127.0.0.1;host=\"localhost\";proto=http";
    let over_tls = "for=127.0.0.1;host=\"localhost\";proto=https";
    for (headers, expected, why) in [
        (String::new(), here.to_owned(), "the proxy alone"),
        (
            from("2001:db8::7"),
            format!("for=\"[2001:db8::7]\", {here}"),
            "a client told by X-Forwarded-For",
        ),
        (
            "Forwarded: for=203.0.113.9;proto=https\r\n".to_owned(),
            format!("for=203.0.113.9;proto=https, {over_tls}"),
            "a list goes on, with the scheme it tells",
        ),
    ] {
        assert_eq!(ask(&trusting, "GET /", &headers).status, 200);
        let received = upstream.request();
        assert_eq!(
            received.header("forwarded"),
            Some(expected.as_str()),
            "{why}"
        );
    }
    let wary = Setup::new()
        .plain()
        .config(&upstream.table(""))
        .config(tables)
        .start();
    ask(&wary, "GET /", "Forwarded: for=6.6.6.6\r\n");
    assert_eq!(upstream.request().header("forwarded"), Some(here));
}

#[test]
fn an_upstream_may_see_another_path() {
    let upstream = Upstream::saying("");
    let server = server(
        &upstream,
        r#"
        [[route]]
        path = "/api/"
        upstream = "backend"
        strip_prefix = "/api"
        rewrite = "/v2{path}"
        [[route]]
        path = "/php/"
        upstream = "backend"
        rewrite = "/index.php"
        [[route]]
        path = "/"
        upstream = "backend"
        "#,
    );
    for (target, seen) in [
        ("/api/x/y?a=1&b", "/v2/x/y?a=1&b"),
        ("/api", "/v2/"),
        ("/api/a%2Fb", "/v2/a%2Fb"),
        ("/%61pi/x", "/v2/x"),
        ("/php/a/b?c", "/index.php?c"),
        ("/other", "/other"),
    ] {
        assert_eq!(ask(&server, &format!("GET {target}"), "").status, 200);
        assert_eq!(upstream.request().line(), format!("GET {seen} HTTP/1.1"));
    }
}

#[test]
fn the_app_is_told_the_same() {
    async fn tell(headers: HeaderMap) -> String {
        let lines = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\n", value.to_str().unwrap()));
        lines.collect()
    }
    let edge = Edge::with(
        "[[route]]\npath = \"/told/\"\napp = true\n\
         request_headers = { set = { \"X-Gateway\" = \"unibody\" }, remove = [\"Cookie\"], forwarded = true }\n",
        Router::new().route("/told/", get(tell)),
    );
    let mut raw = Raw::connect(edge.http);
    raw.send(
        "GET /told/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nCookie: a=b\r\n\
         X_Gateway: forged\r\nX_Forwarded_For: forged\r\nForwarded: for=6.6.6.6\r\n\r\n",
    );
    let told = raw.last_answer().text();
    assert!(told.contains("x-gateway: unibody\n"), "{told}");
    assert!(told.contains("forwarded: for=127.0.0.1;"), "{told}");
    for absent in ["cookie", "forged", "6.6.6.6"] {
        assert!(!told.contains(absent), "{absent} in {told}");
    }
}
