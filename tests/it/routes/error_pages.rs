//! Pages of one's own in the place of the server's.

use std::fs;

use crate::support::raw::Raw;
use crate::support::server::Setup;

const HTML: &str = "Accept: text/html\r\n";

#[test]
fn people_get_the_page_of_the_status_or_of_its_class() {
    let setup = Setup::new();
    for name in ["404.html", "4xx.html", "down.html"] {
        fs::write(setup.directory().join(name), format!("<p>{name}</p>")).unwrap();
    }
    fs::create_dir(setup.directory().join("site")).unwrap();
    let server = setup
        .config(
            r#"
            [tls]
            redirect = false
            [error_pages]
            404 = "404.html"
            4xx = "4xx.html"
            5xx = "down.html"
            [[upstream]]
            name = "dead"
            servers = ["127.0.0.1:1"]
            [[route]]
            path = "/dead/"
            upstream = "dead"
            [[route]]
            path = "/site/"
            files = "site"
            [[route]]
            path = "/closed/"
            respond = { status = 503 }
            [[route]]
            path = "/said/"
            respond = { status = 503, body = "its own words" }
            [[route]]
            path = "/private/"
            deny = ["127.0.0.1", "::1"]
            respond = { body = "never" }
            "#,
        )
        .start();
    let http = server.http.unwrap();
    let ask = |path: &str, fields: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        Raw::connect(http).send(request).answer()
    };
    let table = [
        ("/nothing", HTML, 404, "<p>404.html</p>", "no route"),
        ("/site/none", HTML, 404, "<p>404.html</p>", "no file"),
        ("/private/", HTML, 403, "<p>4xx.html</p>", "its class"),
        (
            "/dead/",
            HTML,
            502,
            "<p>down.html</p>",
            "an upstream that is down",
        ),
        (
            "/closed/",
            HTML,
            503,
            "<p>down.html</p>",
            "closed for today",
        ),
        (
            "/said/",
            HTML,
            503,
            "its own words",
            "an answer that says something",
        ),
    ];
    for (path, fields, status, page, why) in table {
        let answer = ask(path, fields);
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (status, page),
            "{why}"
        );
        if page.starts_with('<') {
            assert_eq!(
                answer.header("content-type"),
                Some("text/html; charset=utf-8"),
                "{why}"
            );
            assert_eq!(answer.header("cache-control"), Some("no-store"), "{why}");
        }
    }
    let program = ask("/nothing", "");
    assert_eq!(
        program.header("content-type"),
        Some("application/problem+json")
    );
}

#[test]
fn a_page_is_read_again_with_every_reload() {
    let setup = Setup::new();
    fs::write(setup.directory().join("404.html"), "<p>one</p>").unwrap();
    let tables = "[tls]\nredirect = false\n[error_pages]\n404 = \"404.html\"\n\
                  [[route]]\npath = \"/here/\"\nrespond = {}";
    let mut server = setup.admin().config(tables).start();
    let http = server.http.unwrap();
    let ask = || {
        let request = format!("GET /nothing HTTP/1.1\r\nHost: localhost\r\n{HTML}\r\n");
        Raw::connect(http).send(request).answer().text()
    };
    assert_eq!(ask(), "<p>one</p>");
    fs::write(server.path("404.html"), "<p>another</p>").unwrap();
    assert!(server.ask(&["reload"]).status.success());
    assert_eq!(ask(), "<p>another</p>");
    // One that isn't there changes nothing.
    fs::remove_file(server.path("404.html")).unwrap();
    let refused = server.ask(&["reload"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(78), "{said}");
    assert!(
        said.contains("error_pages.\"404\"") && said.contains("cannot open"),
        "{said}"
    );
    assert_eq!(ask(), "<p>another</p>");
    assert!(server.stop().success());
}
