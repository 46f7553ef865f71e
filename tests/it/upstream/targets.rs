//! Targets in absolute form, which are for proxies, but which every server has to take (RFC 9112, section
//! 3.2.2): they mean what their path means.

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::routing::get;

use crate::support::edge::Edge;
use crate::support::raw::Raw;
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

#[test]
fn an_absolute_target_arrives_as_its_path() {
    let upstream = Upstream::saying("hello");
    let server = Setup::new()
        .plain()
        .config(&upstream.table(""))
        .config(
            "[[route]]\npath = \"/\"\nupstream = \"backend\"\n\
             [[route]]\npath = \"/api/\"\nupstream = \"backend\"\nstrip_prefix = \"/api\"\n\
             [[route]]\npath = \"/v1/\"\nupstream = \"backend\"\nrewrite = \"/v2{path}\"\n",
        )
        .start();
    for (target, seen) in [
        ("http://localhost/a%2Fb//c?d=e&f", "/a%2Fb//c?d=e&f"),
        ("http://localhost/x?y=http://a.test/", "/x?y=http://a.test/"),
        ("HTTPS://localhost/x", "/x"),
        ("http://localhost", "/"),
        ("http://localhost/api/x?y", "/x?y"),
        ("http://localhost/%61pi/x", "/x"),
        ("http://localhost/api", "/"),
        ("http://localhost/v1/x?y", "/v2/v1/x?y"),
    ] {
        // HTTP/1.0 may name its host nowhere else.
        for rest in ["HTTP/1.1\r\nHost: localhost\r\n", "HTTP/1.0\r\n"] {
            let mut raw = Raw::connect(server.http.unwrap());
            raw.send(format!("GET {target} {rest}Connection: close\r\n\r\n"));
            let answer = raw.last_answer();
            assert_eq!(answer.status, 200, "{target} {rest}: {answer:?}");
            let received = upstream.request();
            assert_eq!(received.line(), format!("GET {seen} HTTP/1.1"), "{target}");
            for name in ["host", "x-forwarded-host"] {
                let value = received.header(name);
                assert_eq!(value, Some("localhost"), "{name}: {target} {rest}");
            }
        }
    }
}

#[test]
fn what_is_answered_here_is_the_same_in_both_forms() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("a.txt"), "a file").unwrap();
    let tables = format!(
        "[[route]]\npath = \"/files/\"\nfiles = {:?}\n\
         [[route]]\npath = \"/old/\"\nredirect = {{ to = \"https://{{host}}/new{{path}}\", status = 301 }}\n\
         [[route]]\npath = \"=/tea\"\nrespond = {{ status = 418, body = \"tea\" }}\n",
        directory.path()
    );
    let uri = async |request: Request<Body>| request.uri().to_string();
    let edge = Edge::with(&tables, Router::new().route("/app", get(uri)));
    for (path, status, said) in [
        ("/files/a.txt", 200, "a file"),
        ("/old/x?y", 301, "https://localhost/new/old/x?y"),
        ("/tea", 418, "tea"),
        ("/app?x=1", 200, "/app?x=1"),
    ] {
        for target in [path.to_owned(), format!("http://localhost{path}")] {
            let mut raw = Raw::connect(edge.http);
            // Later ones may be ready.
            for turn in 0..4 {
                raw.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
                let answer = raw.answer();
                let found = answer.header("location").map(str::to_owned);
                let found = found.unwrap_or_else(|| answer.text());
                assert_eq!(
                    (answer.status, &*found),
                    (status, said),
                    "{target}, turn {turn}"
                );
            }
        }
    }
}
