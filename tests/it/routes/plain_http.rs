//! What plain listeners do: redirect to HTTPS, or serve everything.

use crate::support::http;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};

#[test]
fn plain_http_redirects_with_the_port_where_it_has_to() {
    let server = Server::start();
    let (http, https) = (server.http.unwrap(), server.https.unwrap().port());
    for (method, host, target, status, location) in [
        (
            "GET",
            format!("localhost:{}", http.port()),
            "/a%20b?c=d",
            301,
            format!("https://localhost:{https}/a%20b?c=d"),
        ),
        (
            "HEAD",
            format!("127.0.0.1:{}", http.port()),
            "/",
            301,
            format!("https://127.0.0.1:{https}/"),
        ),
        (
            "POST",
            format!("LOCALHOST:{}", http.port()),
            "/api/notes",
            308,
            format!("https://localhost:{https}/api/notes"),
        ),
        // Who came through a published port 80 goes to its 443.
        (
            "DELETE",
            "localhost".to_owned(),
            "/x",
            308,
            "https://localhost/x".to_owned(),
        ),
        (
            "GET",
            format!("localhost:{}", http.port()),
            "//evil.test/",
            301,
            format!("https://localhost:{https}//evil.test/"),
        ),
    ] {
        let mut raw = Raw::connect(http);
        raw.send(format!(
            "{method} {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"
        ));
        let answer = raw.head();
        assert_eq!(answer.status, status, "{method} {host}{target}");
        // `head` is in lower case.
        assert_eq!(
            answer.header("location"),
            Some(location.as_str()),
            "{method} {host}{target}"
        );
        assert_eq!(answer.header("content-length"), Some("0"));
    }
}

#[test]
fn only_our_own_names_are_redirected() {
    let server = Server::start();
    for (head, status) in [
        ("GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n", 421),
        ("GET / HTTP/1.1\r\nHost: localhost@evil.test\r\n\r\n", 400),
        ("GET / HTTP/1.0\r\n\r\n", 421),
    ] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(head);
        let answer = raw.answer();
        assert_eq!(answer.status, status, "{head}");
        assert_eq!(answer.header("location"), None, "{head}");
    }
}

#[tokio::test]
async fn without_the_redirect_plain_http_serves_like_https() {
    let server = Setup::new().config("[tls]\nredirect = false\n").start();
    let client = http::client();
    for url in [server.plain_url("/api"), server.url("/api")] {
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn without_tls_plain_http_serves_everything() {
    let server = Setup::new()
        .config("[server]\nhttp = [\"127.0.0.1:0\"]\n[tls]\nmode = \"off\"\n")
        .start();
    assert!(server.https.is_none());
    assert!(!server.path("certs").exists(), "nothing was made");
    let client = http::client();
    for path in ["/", "/api", "/healthz"] {
        let answer = client.get(server.plain_url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let created = client
        .post(server.plain_url("/api/notes"))
        .json(&serde_json::json!({"title": "behind a load balancer"}))
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
}
