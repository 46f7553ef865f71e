//! Bounded memory, and what the owner is told.

use super::{Answer, Origin, get, send};
use crate::support::raw::Raw;
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

#[test]
fn ten_thousand_pages_take_no_more_memory_than_there_is() {
    const MEMORY: usize = 256 * 1024;
    let upstream = Upstream::saying(&"x".repeat(1000));
    let origin = Origin::start();
    let tables = upstream.table("").replace("backend", "many")
        + "[[route]]\npath = \"/m\"\nupstream = \"many\"\ncache = { ttl = \"1m\" }\n";
    let edge = origin.edge("cached_answers = \"256KiB\"", &tables);
    let mut raw = Raw::connect(edge.http);
    let mut ask = |path: &str| {
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        raw.answer().header("x-cache").unwrap().to_owned()
    };
    ask("/m/used");
    for number in 0..10_000 {
        ask(&format!("/m/{number}"));
        if number % 50 == 0 {
            assert_eq!(ask("/m/used"), "hit", "what is used stays");
            let bytes = edge.figures().cached_answers().figures().bytes;
            assert!(bytes <= MEMORY, "{bytes}");
        }
    }
    let figures = edge.figures().cached_answers().figures();
    assert!(
        figures.bytes > MEMORY / 2 && figures.entries > 50,
        "{figures:?}"
    );
    assert_eq!(figures.evictions, 10_001 - figures.entries as u64);
    assert_eq!(ask("/m/9999"), "hit", "the latest is there");
    assert_eq!(ask("/m/0"), "miss", "the first is not");
}

#[test]
fn one_page_has_a_bounded_number_of_forms() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let each_its_own = Answer::new("200\r\nVary: X-Kind\r\nCache-Control: max-age=60", "x");
    origin.say("/c/x", [each_its_own]);
    for number in 0..100 {
        send(&edge, "GET", "/c/x", &format!("X-Kind: {number}"));
    }
    assert_eq!(edge.figures().cached_answers().figures().entries, 32);
}

#[test]
fn without_memory_there_is_no_cache() {
    let origin = Origin::start();
    let edge = origin.edge("cached_answers = 0", "");
    origin.say("/t/x", [Answer::new("200", "x")]);
    for _ in 0..3 {
        let answer = get(&edge, "/t/x");
        assert_eq!(answer.header("x-cache"), Some("bypass"));
    }
}

#[tokio::test]
async fn the_log_and_the_metrics_tell_what_became_of_requests() {
    let upstream = Upstream::saying("hello");
    let mut server = Setup::new()
        .plain()
        .admin()
        .config(&upstream.table(""))
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\ncache = { ttl = \"1m\" }")
        .config("[[route]]\npath = \"/plain\"\nupstream = \"backend\"")
        .start();
    let mut raw = Raw::connect(server.http.unwrap());
    for (number, expected) in ["MISS", "HIT", "HIT", "HIT", "HIT"].iter().enumerate() {
        raw.send("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let id = raw.answer().header("x-request-id").unwrap().to_owned();
        let line = server.wait_for_line(&format!(" id={id}"));
        assert!(
            line.contains(&format!(" cache={expected} id=")),
            "{number}: {line}"
        );
    }
    raw.send("GET /plain HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = raw.last_answer();
    let id = answer.header("x-request-id").unwrap();
    let line = server.wait_for_line(&format!(" id={id}"));
    assert!(!line.contains("cache="), "{line}");
    assert_eq!(answer.header("x-cache"), None);

    let url = format!("http://{}/metrics", server.admin.unwrap());
    let metrics = reqwest::get(url).await.unwrap().text().await.unwrap();
    for sample in [
        "unibody_cache_requests_total{outcome=\"miss\"} 1",
        "unibody_cache_requests_total{outcome=\"hit\"} 4",
        "unibody_cache_entries 1",
        "unibody_cache_evictions_total 0",
    ] {
        assert!(metrics.contains(sample), "{sample}:\n{metrics}");
    }
}
