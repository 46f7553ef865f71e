//! Many requests for the same at once: who asks the upstream, and who waits.

use std::sync::Barrier;
use std::thread;

use super::origin::Gate;
use super::{Answer, Origin, get, outcome, send};
use crate::support::edge::Edge;
use crate::support::raw::{Raw, RawAnswer};

const CROWD: usize = 100;

/// The answers to as many requests at once. `opened` is called when all are sent.
fn crowd(edge: &Edge, path: &str, opened: impl FnOnce()) -> Vec<RawAnswer> {
    let ready = Barrier::new(CROWD + 1);
    thread::scope(|scope| {
        let ask = || {
            let mut raw = Raw::connect(edge.http);
            raw.send(format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            ));
            ready.wait();
            raw.last_answer()
        };
        let asking: Vec<_> = (0..CROWD).map(|_| scope.spawn(ask)).collect();
        ready.wait();
        opened();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    })
}

#[test]
fn one_asks_and_the_others_have_its_answer() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    origin.say("/t/x", [Answer::new("200", "hello").behind(&gate)]);
    let answers = crowd(&edge, "/t/x", || {
        origin.wait_for("/t/x", 1);
        gate.open();
    });
    assert_eq!(origin.asked("/t/x").len(), 1);
    let hits = answers.iter().filter(|answer| outcome(answer) == "hit");
    assert_eq!(hits.count(), CROWD - 1);
    assert!(answers.iter().all(|answer| answer.text() == "hello"));
}

#[test]
fn what_each_use_has_to_confirm_is_confirmed_by_each() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    let must_be_confirmed = "200\r\nETag: \"a\"\r\nCache-Control: no-cache";
    origin.say(
        "/c/x",
        [
            Answer::new(must_be_confirmed, "hello"),
            Answer::new("304\r\nETag: \"a\"", "").behind(&gate),
        ],
    );
    get(&edge, "/c/x");
    let answers = crowd(&edge, "/c/x", || {
        // All are there together: none waits for another.
        origin.wait_for("/c/x", 1 + CROWD);
        gate.open();
    });
    for answer in answers {
        let (outcome, text) = (outcome(&answer), answer.text());
        assert_eq!((outcome, text.as_str()), ("revalidated", "hello"));
    }
}

/// Who has changed something elsewhere in between must see it (RFC 9111, section 5.2.2.4).
#[test]
fn what_was_on_its_way_before_is_no_answer_to_who_came_later() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    let answer = |tag: &str, body: &str| {
        Answer::new(
            &format!("200\r\nETag: \"{tag}\"\r\nCache-Control: no-cache"),
            body,
        )
    };
    origin.say(
        "/c/list",
        [answer("a", "before").behind(&gate), answer("b", "after")],
    );
    let ask = || {
        let mut raw = Raw::connect(edge.http);
        raw.send("GET /c/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        raw
    };
    let mut early = ask();
    origin.wait_for("/c/list", 1);
    let mut late = ask();
    // Sent after it, so that it waits already when the first has its answer.
    get(&edge, "/c/other");
    gate.open();
    assert_eq!(early.last_answer().text(), "before");
    assert_eq!(late.last_answer().text(), "after");
}

#[test]
fn who_waits_while_the_server_leaves_learns_that_the_connection_ends() {
    let origin = Origin::start();
    let mut edge = origin.edge("", "");
    let gate = Gate::default();
    origin.say("/t/x", [Answer::new("200", "hello").behind(&gate)]);
    let ask = |path: &str| {
        let mut raw = Raw::connect(edge.http);
        raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        raw
    };
    let first = ask("/t/x");
    origin.wait_for("/t/x", 1);
    let second = ask("/t/x");
    // Sent after both.
    let mut other = ask("/c/other");
    assert_eq!(other.answer().status, 404);
    edge.hand_over();
    loop {
        other.send("GET /c/other HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if other.answer().header("connection") == Some("close") {
            break;
        }
    }
    gate.open();
    for (mut raw, expected) in [(first, "miss"), (second, "hit")] {
        let answer = raw.answer();
        assert_eq!(
            (outcome(&answer), answer.text().as_str()),
            (expected, "hello")
        );
        assert_eq!(answer.header("connection"), Some("close"), "{expected}");
    }
}

#[test]
fn nobody_waits_twice_for_what_is_not_for_all() {
    for (head, then) in [
        ("200\r\nCache-Control: private", "bypass"),
        ("200\r\nETag: \"a\"\r\nCache-Control: no-cache", "expired"),
    ] {
        let origin = Origin::start();
        let edge = origin.edge("", "");
        let (first, rest) = (Gate::default(), Gate::default());
        let answer = Answer::new(head, "hello");
        origin.say(
            "/t/x",
            [answer.clone().behind(&first), answer.behind(&rest)],
        );
        let answers = crowd(&edge, "/t/x", || {
            origin.wait_for("/t/x", 1);
            first.open();
            // All the others are there together: none has waited for another of them.
            origin.wait_for("/t/x", CROWD);
            rest.open();
        });
        assert!(answers.iter().all(|answer| answer.text() == "hello"));
        assert_eq!(outcome(&get(&edge, "/t/x")), then, "{head}");
    }
}

#[test]
fn what_becomes_cacheable_is_kept_again() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let answers = [
        ("200\r\nCache-Control: no-store", "a"),
        ("200", "b"),
        ("200", "c"),
    ];
    origin.say("/t/x", answers.map(|(head, body)| Answer::new(head, body)));
    let seen = [0; 4].map(|_| get(&edge, "/t/x"));
    let seen = seen
        .each_ref()
        .map(|answer| (outcome(answer), answer.text()));
    let expected = [("miss", "a"), ("bypass", "b"), ("hit", "b"), ("hit", "b")];
    assert_eq!(
        seen.map(|(outcome, text)| (outcome, text)),
        expected.map(|(outcome, text)| (outcome, text.to_owned()))
    );
}

#[test]
fn when_who_asks_leaves_another_asks() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let (first, second) = (Gate::default(), Gate::default());
    let hello = Answer::new("200", "hello");
    origin.say(
        "/t/x",
        [hello.clone().behind(&first), hello.behind(&second)],
    );
    let mut leaving = Raw::connect(edge.http);
    leaving.send("GET /t/x HTTP/1.1\r\nHost: localhost\r\n\r\n");
    origin.wait_for("/t/x", 1);
    let answers = crowd(&edge, "/t/x", || {
        drop(leaving);
        origin.wait_for("/t/x", 2);
        second.open();
    });
    assert!(answers.iter().all(|answer| answer.text() == "hello"));
    assert_eq!(origin.asked("/t/x").len(), 2);
    first.open();
}

#[test]
fn a_broken_answer_is_nobodys_and_another_asks() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    let broken = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n";
    for (path, half) in [("/t/a", broken), ("/t/b", chunked)] {
        origin.say(
            path,
            [
                Answer::raw(half).behind(&gate).and_close(),
                Answer::new("200", "whole"),
            ],
        );
        let answers = crowd(&edge, path, || {
            origin.wait_for(path, 1);
            gate.open();
        });
        let whole = answers.iter().filter(|answer| answer.text() == "whole");
        assert_eq!(
            (whole.count(), origin.asked(path).len()),
            (CROWD - 1, 2),
            "{path}"
        );
    }
    // Whether it was cut off cannot be seen: nobody else gets it.
    origin.say(
        "/t/c",
        [Answer::raw("HTTP/1.1 200 OK\r\n\r\nall").and_close()],
    );
    assert!(get(&edge, "/t/c").text().contains("all"));
    assert_eq!(outcome(&get(&edge, "/t/c")), "bypass");
}

#[test]
fn those_who_sign_in_wait_for_nobody_else_and_nobody_for_them() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    origin.say(
        "/t/x",
        [
            Answer::new("200", "own").behind(&gate),
            Answer::new("200", "all"),
        ],
    );
    thread::scope(|scope| {
        let own = scope.spawn(|| send(&edge, "GET", "/t/x", "Authorization: Basic eA=="));
        origin.wait_for("/t/x", 1);
        assert_eq!(get(&edge, "/t/x").text(), "all");
        assert_eq!(outcome(&get(&edge, "/t/x")), "hit");
        gate.open();
        assert_eq!(own.join().unwrap().text(), "own");
    });
    assert_eq!(get(&edge, "/t/x").text(), "all");
}
