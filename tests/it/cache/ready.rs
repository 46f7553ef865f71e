//! Cached answers at the door: the same as on the normal way, and over when they are over.

use std::thread;
use std::time::{Duration, Instant};

use super::{Answer, Origin, get, outcome, talk};
use crate::support::edge::Edge;
use crate::support::http;
use crate::support::raw::RawAnswer;
use crate::support::server::PATIENCE;

/// Ready answers given so far, once `expected` of them are counted.
fn given(edge: &Edge, expected: u64) -> u64 {
    let start = Instant::now();
    loop {
        let given = edge.figures().ready_answers_given();
        if given >= expected || start.elapsed() > PATIENCE {
            return given;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// What must be alike in all hits.
fn comparable(answer: &RawAnswer) -> (Vec<&str>, &[u8]) {
    let of_one = ["date", "age", "x-request-id"];
    let lines = answer.head.lines().filter(|line| {
        let name = line.split(':').next().unwrap_or_default();
        !of_one.contains(&name)
    });
    (lines.collect(), &answer.body)
}

#[test]
fn the_door_says_what_the_normal_way_says() {
    let origin = Origin::start();
    let (ready, normal) = (origin.edge("", ""), origin.edge("ready_answers = 0", ""));
    let head = "200\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nContent-Type: text/plain\r\nAge: 3\r\nVary: Accept-Encoding";
    let body = "hello ".repeat(400);
    origin.say("/c/x", [Answer::new(head, &body)]);
    for fields in [
        "",
        "If-None-Match: \"a\"\r\n",
        "If-Modified-Since: Sun, 06 Nov 2094 08:49:37 GMT\r\n",
        "Cookie: a=b\r\n",
        "Cookie: a=b\r\nAccept-Encoding: gzip\r\n",
    ] {
        let before = given(&ready, 0);
        let answers = talk(&ready, "/c/x", fields);
        // The first may be a miss; then one hit that is noticed, one that is recorded, and two given.
        assert!(given(&ready, before + 2) >= before + 2, "{fields}");
        let expected = talk(&normal, "/c/x", fields);
        let last = &answers[4];
        assert_eq!(outcome(last), "hit", "{fields}");
        assert_eq!(comparable(last), comparable(&expected[4]), "{fields}");
        let age = |answer: &RawAnswer| answer.header("age").unwrap().parse::<u64>().unwrap();
        assert!(age(last) >= 3 && age(last) <= age(&expected[4]), "{fields}");
    }
    assert_eq!(given(&normal, 0), 0);
}

#[test]
fn compressed_ones_are_ready_too() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let head = "200\r\nCache-Control: max-age=60\r\nContent-Type: text/plain";
    origin.say("/c/x", [Answer::new(head, &"hello ".repeat(400))]);
    let answers = talk(&edge, "/c/x", "Accept-Encoding: gzip\r\n");
    assert!(answers.windows(2).all(|two| two[0].body == two[1].body));
    assert_eq!(answers[4].header("content-encoding"), Some("gzip"));
    assert!(given(&edge, 2) >= 2);
}

#[test]
fn age_goes_on_at_the_door() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say(
        "/c/x",
        [Answer::new(
            "200\r\nAge: 41\r\nCache-Control: max-age=60",
            "x",
        )],
    );
    let first = talk(&edge, "/c/x", "");
    let age: u64 = first[4].header("age").unwrap().parse().unwrap();
    assert!((41..60).contains(&age), "{age}");
    let start = Instant::now();
    // Time is what this is about.
    thread::sleep(Duration::from_millis(1100));
    let later = talk(&edge, "/c/x", "");
    let age: u64 = later[0].header("age").unwrap().parse().unwrap();
    let elapsed = start.elapsed().as_secs();
    assert!((42..=42 + elapsed).contains(&age), "{age}");
    assert!(given(&edge, 7) >= 7, "all of the later ones were ready");
}

#[test]
fn what_is_over_is_over_at_the_door() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let short = Answer::new("200\r\nAge: 9\r\nCache-Control: max-age=10", "old");
    origin.say(
        "/c/x",
        [
            short,
            Answer::new("200\r\nCache-Control: max-age=60", "new"),
        ],
    );
    let start = Instant::now();
    loop {
        let answer = get(&edge, "/c/x");
        if answer.text() == "new" {
            assert_ne!(outcome(&answer), "hit");
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{}", answer.head);
    }
    assert!(start.elapsed() > Duration::from_millis(500), "too early");
    assert_eq!(origin.asked("/c/x").len(), 2);
}

#[test]
fn who_asks_for_a_fresh_one_gets_no_ready_one() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say(
        "/c/x",
        [Answer::new(
            "200\r\nETag: \"a\"\r\nCache-Control: max-age=60",
            "x",
        )],
    );
    for (field, expected) in [
        ("Cache-Control: max-age=30\r\n", "hit"),
        ("Cache-Control: no-cache\r\n", "expired"),
        ("Pragma: no-cache\r\n", "expired"),
        ("", "hit"),
    ] {
        let answers = talk(&edge, "/c/x", field);
        let mut outcomes = answers.iter().map(outcome).skip(1);
        assert!(outcomes.all(|outcome| outcome == expected), "{field}");
    }
}

#[test]
fn what_more_than_a_ready_answer_knows_selects_is_never_ready() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let head = "200\r\nVary: X-Kind\r\nCache-Control: max-age=60";
    origin.say("/c/x", ["a", "b"].map(|body| Answer::new(head, body)));
    for kind in ["a", "b", "a"] {
        let answers = talk(&edge, "/c/x", &format!("X-Kind: {kind}\r\n"));
        assert!(answers.iter().all(|answer| answer.text() == kind), "{kind}");
    }
    assert_eq!(given(&edge, 0), 0);
}

#[tokio::test]
async fn http_2_has_them_too() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let head = "200\r\nAge: 7\r\nCache-Control: max-age=60";
    origin.say("/c/x", [Answer::new(head, "hello")]);
    let client = http::client();
    for expected in ["MISS", "HIT", "HIT", "HIT", "HIT"] {
        let answer = client.get(edge.url("/c/x")).send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        assert_eq!(answer.headers()["x-cache"], expected);
        let age = answer.headers()["age"].to_str().unwrap().parse::<u64>();
        assert!((7..60).contains(&age.unwrap()));
        assert_eq!(answer.text().await.unwrap(), "hello");
    }
    drop(client);
    assert_eq!(given(&edge, 2), 2);
    let hits = edge.figures().cached_answers().figures().requests;
    assert!(hits.contains(&("hit".to_owned(), 4)), "{hits:?}");
}
