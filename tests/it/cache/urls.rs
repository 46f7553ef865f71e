//! Which spellings of a URL are one question, and what an upstream is told of the URL.

use std::net::SocketAddr;

use unibody::edge::cache::{Purge, PurgedPath};

use super::{Answer, Origin, get, outcome, send};
use crate::support::http2::Http2;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

/// The answer to GET for this `Host`.
fn ask(server: SocketAddr, host: &str, target: &str) -> RawAnswer {
    let mut raw = Raw::connect(server);
    raw.send(format!(
        "GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    ));
    raw.last_answer()
}

#[test]
fn scheme_host_port_and_query_tell_answers_apart() {
    let origin = Origin::start();
    let edge = origin.edge("hosts = []", "");
    for target in ["/t/x", "/t/x?", "/t/x?a", "/t/%78", "/t//x"] {
        origin.say(target, [Answer::new("200", "hello")]);
    }
    for (host, target, expected) in [
        ("A.test.", "/t/x", "miss"),
        ("a.test", "/t/x", "hit"),
        ("b.test", "/t/x", "miss"),
        ("a.test:81", "/t/x", "miss"),
        ("a.test", "/t/x?", "miss"),
        ("a.test", "/t/x?a", "miss"),
        ("a.test", "/t/%78", "miss"),
        ("a.test", "/t//x", "miss"),
        ("a.test", "/t/x?a", "hit"),
    ] {
        let answer = ask(edge.http, host, target);
        assert_eq!(outcome(&answer), expected, "{host}{target}");
    }
    let told = origin.asked("/t/x").remove(0).to_lowercase();
    assert!(told.contains("\r\nhost: a.test\r\n"), "{told}");
}

/// It makes links of what it is told, and they are kept for whoever writes the host otherwise.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_is_told_in_one_spelling() {
    let origin = Origin::start();
    let route = "[[route]]\npath = \"/f/\"\nupstream = \"backend\"\ncache = { ttl = \"1m\" }\n\
        request_headers = { forwarded = true }\n";
    let edge = origin.edge("hosts = []", route);
    let check = |path: &str, told: &str| {
        let head = origin.wait_for(path, 1).remove(0);
        for line in [format!("host: {told}"), format!("x-forwarded-host: {told}")] {
            let mut lines = head.lines();
            let found = lines.any(|each| each.eq_ignore_ascii_case(&line) && each.ends_with(told));
            assert!(found, "{line}: {head}");
        }
        assert!(head.contains(&format!(";host=\"{told}\";")), "{head}");
    };
    tokio::task::block_in_place(|| {
        for (number, (host, told)) in [
            ("a.test", "a.test"),
            ("A.Test.", "a.test"),
            ("a.test:80", "a.test:80"),
            ("A.test.:0081", "a.test:81"),
            ("[2001:DB8::0]", "[2001:db8::]"),
        ]
        .into_iter()
        .enumerate()
        {
            let path = format!("/f/{number}");
            origin.say(&path, [Answer::new("200", "hello")]);
            assert_eq!(outcome(&ask(edge.http, host, &path)), "miss");
            check(&path, told);
        }
    });
    origin.say("/f/h2", [Answer::new("200", "hello")]);
    let mut client = Http2::connect(edge.https).await;
    // What follows the name that it has written.
    let answer = client.get(".:0081/f/h2", &[]).await;
    assert_eq!(answer.status(), 200);
    tokio::task::block_in_place(|| check("/f/h2", "localhost:81"));
}

#[test]
fn a_host_of_the_upstreams_own_is_told_all_the_same() {
    let upstream = Upstream::saying("hello");
    let server = Setup::new()
        .plain()
        .config(&upstream.table("host = \"Internal.test\""))
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\ncache = { ttl = \"1m\" }")
        .start();
    let answer = ask(server.http.unwrap(), "LocalHost.", "/");
    assert_eq!(answer.status, 200);
    let received = upstream.request();
    assert_eq!(received.header("host"), Some("Internal.test"));
    assert_eq!(received.header("x-forwarded-host"), Some("localhost"));
}

/// Absolute form (RFC 9112, section 3.2.2).
#[test]
fn both_forms_of_a_target_are_one_question() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say("/t/x", [Answer::new("200", "hello")]);
    let absolute = "http://localhost/t/x";
    let outcomes = |expected: [&str; 3]| {
        for (target, expected) in [absolute, "/t/x", absolute].into_iter().zip(expected) {
            let answer = get(&edge, target);
            assert_eq!(outcome(&answer), expected, "{target}: {}", answer.head);
        }
    };
    outcomes(["miss", "hit", "hit"]);
    let all = edge.figures().cached_answers();
    let purge = Purge {
        host: None,
        path: PurgedPath::Exactly("/t/x".to_owned()),
    };
    assert_eq!(all.purge(&purge), 1);
    outcomes(["miss", "hit", "hit"]);
    let changed = send(&edge, "POST", absolute, "Content-Length: 0");
    assert_eq!((changed.status, outcome(&changed)), (200, "bypass"));
    outcomes(["miss", "hit", "hit"]);
    assert_eq!(origin.asked("/t/x").len(), 4);
}
