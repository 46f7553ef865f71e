//! app, files, upstream, redirect, respond: each action, and the keys that go with it.

use std::fs;

use reqwest::Method;
use serde_json::Value;

use crate::support::http;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

fn server(upstream: &Upstream) -> Server {
    let setup = Setup::new();
    fs::create_dir_all(setup.directory().join("site/sub")).unwrap();
    fs::write(setup.directory().join("site/page.html"), "<p>a page</p>").unwrap();
    fs::write(
        setup.directory().join("site/index.html"),
        "<p>the shell</p>",
    )
    .unwrap();
    setup
        .config(&upstream.table(""))
        .config(
            r#"
            [[route]]
            path = "/api/"
            app = true
            [[route]]
            path = "/site/"
            files = "site"
            cache_control = "public, max-age=60"
            [[route]]
            path = "/spa/"
            files = "site"
            spa = "index.html"
            [[route]]
            path = "/proxied/"
            upstream = "backend"
            headers = { set = { "X-Route" = "proxied", "X-Frame-Options" = "DENY" }, remove = ["X-Secret", "Referrer-Policy"] }
            [[route]]
            path = "/stripped/"
            upstream = "backend"
            strip_prefix = "/stripped"
            max_body = "4B"
            [[route]]
            path = "/old/"
            redirect = { to = "https://new.test/base{path}", status = 308 }
            [[route]]
            path = "/here/"
            redirect = { to = "https://{host}/there" }
            [[route]]
            path = "/relative/"
            redirect = { to = "{path}", status = 301 }
            [[route]]
            path = "=/robots.txt"
            respond = { body = "User-agent: *\n" }
            [[route]]
            path = "=/gone"
            respond = { status = 410, body = "{\"gone\":true}", content_type = "application/json" }
            [[route]]
            path = "=/nothing"
            respond = { status = 204 }
            "#,
        )
        .start()
}

#[tokio::test]
async fn every_action_answers() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 8\r\nX-Secret: inside\r\nServer: old/1.0\r\n\r\nupstream",
    );
    let server = server(&upstream);
    let client = http::client();
    for (path, status, body) in [
        ("/site/page.html", 200, "<p>a page</p>"),
        ("/site/", 200, "<p>the shell</p>"),
        ("/site/missing", 404, ""),
        ("/spa/missing", 200, "<p>the shell</p>"),
        ("/proxied/x", 200, "upstream"),
        ("/stripped/x", 200, "upstream"),
        ("/robots.txt", 200, "User-agent: *\n"),
        ("/gone", 410, "{\"gone\":true}"),
        ("/nothing", 204, ""),
    ] {
        let answer = client.get(server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), status, "{path}");
        let text = answer.text().await.unwrap();
        if !body.is_empty() {
            assert_eq!(text, body, "{path}");
        }
    }
    let api: Value = client
        .get(server.url("/api"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert!(api["message"].is_string());

    let page = client.get(server.url("/site/page.html")).send().await;
    assert_eq!(
        page.unwrap().headers()["cache-control"],
        "public, max-age=60"
    );
    let proxied = client.get(server.url("/proxied/x")).send().await.unwrap();
    let headers = proxied.headers();
    assert_eq!(headers["x-route"], "proxied");
    assert_eq!(headers["x-frame-options"], "DENY");
    assert_eq!(headers["server"], "unibody");
    assert!(!headers.contains_key("x-secret"));
    assert!(!headers.contains_key("referrer-policy"));
    let gone = client.get(server.url("/gone")).send().await.unwrap();
    assert_eq!(gone.headers()["content-type"], "application/json");
}

#[tokio::test]
async fn redirects_keep_what_their_target_says() {
    let server = server(&Upstream::saying(""));
    let client = http::client();
    for (path, status, location) in [
        ("/old", 308, "https://new.test/base/old"),
        (
            "/old/a%20b?c=d&e",
            308,
            "https://new.test/base/old/a%20b?c=d&e",
        ),
        ("/here/x?y", 302, "https://localhost/there"),
        ("/relative/x?y", 301, "/relative/x?y"),
    ] {
        for method in [Method::GET, Method::HEAD, Method::POST] {
            let answer = client
                .request(method, server.url(path))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(answer.headers()["location"], location, "{path}");
        }
    }
}

#[test]
fn the_prefix_is_stripped_from_the_path_as_the_client_wrote_it() {
    let upstream = Upstream::saying("");
    let server = Setup::new()
        .config(OFF)
        .config(&upstream.table(""))
        .config("[[route]]\npath = \"/app/\"\nupstream = \"backend\"\nstrip_prefix = \"/app\"\n")
        .config(
            "[[route]]\npath = \"/deep/app/\"\nupstream = \"backend\"\nstrip_prefix = \"/deep\"\n",
        )
        .config("[[route]]\npath = \"/kept/\"\nupstream = \"backend\"\n")
        .start();
    let mut raw = Raw::connect(server.http.unwrap());
    for (path, forwarded) in [
        ("/app", "/"),
        ("/app?a=b", "/?a=b"),
        ("/app/", "/"),
        ("/app/x/y?a=/app", "/x/y?a=/app"),
        ("/%61pp/caf%c3%A9", "/caf%c3%A9"),
        ("/app/x%2Fy;z", "/x%2Fy;z"),
        ("/deep/app/x", "/app/x"),
        ("/kept/%7Ex?", "/kept/%7Ex?"),
    ] {
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(raw.answer().status, 200, "{path}");
        assert_eq!(
            upstream.request().line(),
            format!("GET {forwarded} HTTP/1.1"),
            "{path}"
        );
    }
}

#[test]
fn a_routes_own_limit_replaces_the_servers() {
    let upstream = Upstream::saying("");
    let server = Setup::new()
        .config(
            r#"
            [server]
            http = ["127.0.0.1:0"]
            https = []
            max_body = "8B"
            [tls]
            mode = "off"
            "#,
        )
        .config(&upstream.table(""))
        .config(
            r#"
            [[route]]
            path = "/"
            upstream = "backend"
            [[route]]
            path = "/small/"
            upstream = "backend"
            max_body = "4B"
            [[route]]
            path = "/large/"
            upstream = "backend"
            max_body = "16B"
            "#,
        )
        .start();
    for (path, most) in [("/", 8), ("/small/", 4), ("/large/", 16)] {
        for (length, status) in [(most, 200), (most + 1, 413)] {
            let body = "x".repeat(length);
            let head = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n");
            let mut raw = Raw::connect(server.http.unwrap());
            raw.send(format!("{head}Content-Length: {length}\r\n\r\n{body}"));
            assert_eq!(raw.answer().status, status, "{path}: {length} bytes");
            let mut raw = Raw::connect(server.http.unwrap());
            raw.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"))
                .send_chunk(body.as_bytes())
                .send("0\r\n\r\n");
            assert_eq!(raw.answer().status, status, "{path}: {length} in a chunk");
        }
    }
}

#[tokio::test]
async fn a_route_may_refuse_or_insist_on_compression() {
    let text = "all work and no play makes jack a dull boy ".repeat(200);
    let route = |path: &str, more: &str| {
        format!("[[route]]\npath = \"{path}\"\nrespond = {{ body = \"{text}\" }}\n{more}\n")
    };
    let server = Setup::new()
        .config(&route("/never/", "compress = false"))
        .config(&route("/always/", "compress = true"))
        .config(&route("/", ""))
        .start();
    let client = http::client();
    for (path, cookie, encoded) in [
        ("/", false, true),
        ("/", true, false),
        ("/never/", false, false),
        ("/always/", true, true),
    ] {
        let mut request = client
            .get(server.url(path))
            .header("accept-encoding", "gzip");
        if cookie {
            request = request.header("cookie", "session=1");
        }
        let answer = request.send().await.unwrap();
        let is_encoded = answer.headers().contains_key("content-encoding");
        assert_eq!(is_encoded, encoded, "{path}, cookie: {cookie}");
    }
}

const OFF: &str = r#"
[server]
http = ["127.0.0.1:0"]
https = []
[tls]
mode = "off"
"#;
