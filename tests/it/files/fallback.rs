//! Files first, and an upstream for what is none of them (`fallback`).

use std::fs;
use std::time::Instant;

use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::upstream::Upstream;

fn setup(upstream: &Upstream) -> Server {
    let setup = Setup::new().plain().config(&format!(
        r#"
        {}
        [[route]]
        path = "/"
        files = "root"
        fallback = "backend"
        request_headers = {{ set = {{ X-From = "the files" }} }}
        "#,
        upstream.table("")
    ));
    let root = setup.directory().join("root");
    fs::create_dir_all(root.join("docs")).unwrap();
    fs::create_dir_all(root.join("bare")).unwrap();
    fs::write(root.join("index.html"), "the page").unwrap();
    fs::write(root.join("docs/index.html"), "the documents").unwrap();
    fs::write(root.join("app.js"), "code();\n".repeat(500)).unwrap();
    fs::write(root.join(".env"), "SECRET=1").unwrap();
    fs::write(root.join("404.html"), "nobody's page").unwrap();
    setup.start()
}

fn ask(server: &Server, request: &str) -> RawAnswer {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(request);
    raw.last_answer()
}

fn get(server: &Server, path: &str) -> RawAnswer {
    let head = "Host: localhost\r\nConnection: close";
    ask(server, &format!("GET {path} HTTP/1.1\r\n{head}\r\n\r\n"))
}

#[test]
fn what_is_a_file_is_served_and_the_rest_goes_to_the_upstream() {
    let upstream = Upstream::saying("from the upstream");
    let server = setup(&upstream);
    for (path, body) in [
        ("/", "the page"),
        ("/index.html", "the page"),
        ("/docs/", "the documents"),
        ("/?page=2", "the page"),
    ] {
        let answer = get(&server, path);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, body),
            "{path}"
        );
    }
    let answer = get(&server, "/docs");
    assert_eq!(
        (answer.status, answer.header("location")),
        (301, Some("./docs/"))
    );
    assert!(!upstream.has_more_requests(), "nobody asked it for files");

    // As they came: what is hidden, what no file can be called, and directories without a page.
    for path in [
        "/notes/1?a=b",
        "/missing",
        "/bare",
        "/bare/",
        "/.env",
        "/a%2Fb",
        "/404",
    ] {
        let answer = get(&server, path);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "from the upstream"),
            "{path}"
        );
        let received = upstream.request();
        assert_eq!(received.line(), format!("GET {path} HTTP/1.1"));
        assert_eq!(received.header("x-from"), Some("the files"));
        assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    }

    // It comes and goes without a reload.
    let file = server.path("root/missing");
    fs::write(&file, "here now").unwrap();
    assert_eq!(get(&server, "/missing").text(), "here now");
    assert_eq!(get(&server, "/missing").text(), "here now");
    fs::remove_file(file).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while get(&server, "/missing").text() != "from the upstream" {
        assert!(Instant::now() < deadline, "it is gone");
    }
}

#[test]
fn every_method_but_get_and_head_is_the_upstreams() {
    let upstream = Upstream::saying("thanks");
    let server = setup(&upstream);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = ask(
            &server,
            &format!(
                "{method} /app.js HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
            ),
        );
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "thanks"),
            "{method}"
        );
        let received = upstream.request();
        assert_eq!(received.line(), format!("{method} /app.js HTTP/1.1"));
        assert_eq!(received.body, b"hello");
    }
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("HEAD /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().header("content-length"), Some("4000"));
    assert!(!upstream.has_more_requests());
}

#[test]
fn an_upstream_that_is_down_takes_no_file_away() {
    let server = setup(&Upstream::scripted(|_| {}));
    assert_eq!(get(&server, "/app.js").status, 200);
    assert_eq!(get(&server, "/missing").status, 502);
    assert_eq!(get(&server, "/").text(), "the page");
}

/// BREACH: the upstream's answer to somebody who is signed in may have a secret beside what the client sent.
#[test]
fn only_files_are_compressed_for_everybody() {
    let text = "a secret and much more ".repeat(100);
    let upstream = Upstream::answering(format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\n\r\n{text}",
        text.len()
    ));
    let server = setup(&upstream);
    let ask = |path: &str, cookie: &str| {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n{cookie}\r\n"
        ));
        let head = raw.head();
        head.header("content-encoding").map(str::to_owned)
    };
    let cookie = "Cookie: session=1\r\n";
    assert_eq!(ask("/app.js", cookie).as_deref(), Some("gzip"));
    assert_eq!(ask("/page", ""), Some("gzip".to_owned()));
    assert_eq!(ask("/page", cookie), None);
}
