//! One id through everything that is said of a request, and who has signed in.

use crate::support::api::Api;
use crate::support::breakable::{Break, Breakable, Target};
use crate::support::database::TestDatabase;
use crate::support::raw::Raw;
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

/// bcrypt of "secret", as `htpasswd -B` writes it.
const BCRYPT: &str = "$2y$05$Y4HrLKjFqoTBbDXTnXeXwe7BRByxPjQA.q8lzmcaTFqFGDya7m96u";
const TRUSTING: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

#[tokio::test]
async fn the_id_of_a_trusted_proxy_follows_its_request_through_app_and_database() {
    for (keys, kept) in [(TRUSTING, true), ("", false)] {
        let database = TestDatabase::new();
        let (proxy, url) = database.behind_a_proxy();
        let mut server = Setup::new()
            .server(keys)
            .config("[log]\nlevel = \"debug\"")
            .database(&url)
            .start();
        let api = Api::http2(&server);
        api.create_note("milk").await;
        proxy.refuse();
        proxy.end(Break::Reset);
        // The first may still find a connection that has just ended, the second makes a new one.
        api.get("/api/notes").await.assert_unavailable();
        let request = api.request("GET", "/api/notes");
        let answer = api.send(request.header("x-request-id", "night-42")).await;
        answer.assert_unavailable();
        let id = answer.header("x-request-id").to_owned();
        assert_eq!(id == "night-42", kept, "{keys:?}");
        assert_eq!(answer.problem()["request_id"], id);
        server.wait_for_line(&format!(" id={id}"));
        let said: Vec<_> = server
            .log()
            .lines()
            .filter(|line| line.contains(&id))
            .map(str::to_owned)
            .collect();
        for words in ["a request had no database", "\" 503 "] {
            assert!(
                said.iter().any(|line| line.contains(words)),
                "{words} in {said:#?}"
            );
        }
        assert_eq!(server.log().contains("night-42"), kept, "{keys:?}");
    }
}

#[test]
fn what_is_said_of_an_upstream_is_said_under_the_requests_id() {
    let upstream = Upstream::saying("never");
    let proxy = Breakable::before(Target::Tcp(upstream.address.parse().unwrap()));
    proxy.refuse();
    let mut server = Setup::new()
        .plain()
        .server(TRUSTING)
        .config(&format!(
            "[[upstream]]\nname = \"backend\"\nservers = [\"{}\"]\neject_after = 1\n\
             [[route]]\npath = \"/\"\nupstream = \"backend\"",
            proxy.address()
        ))
        .start();
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: night-43\r\n\r\n");
    assert_eq!(raw.answer().status, 502);
    for words in ["ejected", "request failed", " 502 "] {
        let line = server.line_with(words);
        assert!(line.contains("id=night-43"), "{line}");
    }
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: night-44\r\n\r\n");
    assert_eq!(raw.answer().status, 502);
    server.line_with("request_id=night-44");
    for line in server.log().lines() {
        assert!(
            !(line.contains("night-43") && line.contains("night-44")),
            "{line}"
        );
    }
}

#[tokio::test]
async fn who_has_signed_in_stands_in_the_third_field() {
    let mut server = Setup::new()
        .config(&format!(
            "[[route]]\npath = \"/private/\"\nrespond = {{ body = \"in\" }}\nbasic_auth = {{ \"ada lovelace\" = \"{BCRYPT}\" }}"
        ))
        .start();
    let api = Api::http2(&server);
    for (user, password, status, field) in [
        ("ada lovelace", "secret", 200, r" - ada\x20lovelace ["),
        // The second time it is known.
        ("ada lovelace", "secret", 200, r" - ada\x20lovelace ["),
        ("ada lovelace", "wrong", 401, " - - ["),
        ("secret", "", 401, " - - ["),
    ] {
        let request = api
            .request("GET", "/private/")
            .basic_auth(user, Some(password));
        let answer = api.send(request).await;
        assert_eq!(answer.status, status, "{user}");
        let line = server.line_with(&format!(" id={}", answer.header("x-request-id")));
        assert!(line.contains(field), "{line}");
    }
}
