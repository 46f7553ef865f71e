//! What is given past its time, and who sees to it that it is renewed.

use std::thread;
use std::time::{Duration, Instant};

use super::origin::Gate;
use super::{Answer, Origin, get, outcome, send};
use crate::support::edge::Edge;
use crate::support::http;
use crate::support::server::PATIENCE;

/// Past its time when it comes, and to be renewed in the background.
const STALE: &str =
    "200\r\nETag: \"a\"\r\nAge: 20\r\nCache-Control: max-age=10, stale-while-revalidate=60";

/// Asks until the cache says `expected`.
fn until(expected: &str, ask: impl Fn() -> (String, String)) -> String {
    let start = Instant::now();
    loop {
        let (outcome, text) = ask();
        if outcome == expected {
            return text;
        }
        assert!(start.elapsed() < PATIENCE, "{outcome}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Has the cache keep `old`, which is past its time; `new` comes through the gate.
fn keep_stale_one(origin: &Origin, edge: &Edge, gate: &Gate) {
    origin.say(
        "/c/x",
        [
            Answer::new(STALE, "old"),
            Answer::new("200\r\nCache-Control: max-age=60", "new").behind(gate),
        ],
    );
    assert_eq!(outcome(&get(edge, "/c/x")), "miss");
}

#[test]
fn nobody_waits_while_it_is_renewed_in_the_background() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    keep_stale_one(&origin, &edge, &gate);
    for _ in 0..5 {
        let answer = send(&edge, "GET", "/c/x", "Cookie: a=b");
        assert_eq!((outcome(&answer), answer.text().as_str()), ("stale", "old"));
        let age: u32 = answer.header("age").unwrap().parse().unwrap();
        // It was twenty seconds old when it came, and ages while this test runs.
        assert!((20..60).contains(&age), "{age}");
    }
    let asked = origin.wait_for("/c/x", 2);
    assert!(
        asked[1].contains("\r\nif-none-match: \"a\"\r\n"),
        "{}",
        asked[1]
    );
    gate.open();
    let text = until("hit", || {
        let answer = send(&edge, "GET", "/c/x", "Cookie: a=b");
        (outcome(&answer).to_owned(), answer.text())
    });
    assert_eq!(text, "new");
    assert_eq!(origin.asked("/c/x").len(), 2, "one renews for all");
}

#[test]
fn who_may_get_an_answer_of_his_own_renews_for_himself() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let gate = Gate::default();
    keep_stale_one(&origin, &edge, &gate);
    for _ in 0..3 {
        for answer in [
            get(&edge, "/c/x"),
            send(&edge, "GET", "/c/x", "Cookie: a=b"),
        ] {
            assert_eq!((outcome(&answer), answer.text().as_str()), ("stale", "old"));
        }
    }
    origin.wait_for("/c/x", 3);
    gate.open();
    until("hit", || {
        let answer = get(&edge, "/c/x");
        (outcome(&answer).to_owned(), answer.text())
    });
    assert_eq!(
        origin.asked("/c/x").len(),
        3,
        "one of those with cookies and one of those without"
    );
}

/// By its own word anybody may have it for a time, which makes it nobody's own.
#[test]
fn what_may_be_given_meanwhile_is_kept_of_those_with_cookies_too() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say("/c/x", [Answer::new(STALE, "old")]);
    for (cookie, expected) in [("a", "miss"), ("b", "stale")] {
        let answer = send(&edge, "GET", "/c/x", &format!("Cookie: {cookie}"));
        let text = answer.text();
        assert_eq!((outcome(&answer), text.as_str()), (expected, "old"));
    }
}

#[test]
fn a_confirmation_in_the_background_renews_it_too() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say(
        "/c/x",
        [
            Answer::new(STALE, "old"),
            Answer::new(
                "304\r\nETag: \"a\"\r\nCache-Control: max-age=60\r\nX-New: 1",
                "",
            ),
        ],
    );
    get(&edge, "/c/x");
    let text = until("hit", || {
        let answer = get(&edge, "/c/x");
        (outcome(&answer).to_owned(), answer.text())
    });
    assert_eq!((text.as_str(), origin.asked("/c/x").len()), ("old", 2));
    let answer = get(&edge, "/c/x");
    assert_eq!(answer.header("x-new"), Some("1"), "{}", answer.head);
    assert_eq!(answer.header("age"), Some("0"), "not of the old one");
}

#[tokio::test]
async fn http_2_renews_in_the_background_as_well() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    origin.say(
        "/c/x?y",
        [
            Answer::new(STALE, "old"),
            Answer::new("200\r\nCache-Control: max-age=60", "new"),
        ],
    );
    let client = http::client();
    let start = Instant::now();
    loop {
        let answer = client.get(edge.url("/c/x?y")).send().await.unwrap();
        assert_eq!(answer.version(), reqwest::Version::HTTP_2);
        let outcome = answer.headers()["x-cache"].to_str().unwrap().to_owned();
        let text = answer.text().await.unwrap();
        match outcome.as_str() {
            "MISS" | "STALE" => assert_eq!(text, "old"),
            _ => {
                assert_eq!((outcome.as_str(), text.as_str()), ("HIT", "new"));
                break;
            }
        }
        assert!(start.elapsed() < PATIENCE);
    }
    let host = format!("\r\nHost: localhost:{}\r\n", edge.https.port());
    let asked = origin.asked("/c/x?y");
    assert_eq!(asked.len(), 2);
    assert!(asked.iter().all(|head| head.contains(&host)), "{asked:?}");
}

#[test]
fn renewing_takes_no_token_of_a_client_and_asks_nobody_in() {
    let origin = Origin::start();
    let tables = "[[rate_limit]]\nname = \"few\"\nrate = \"1/h\"\nburst = 3\n\
        [[route]]\npath = \"/limited\"\nupstream = \"backend\"\nrate_limit = [\"few\"]\ncache = {}\n";
    let edge = origin.edge("", tables);
    origin.say(
        "/limited",
        [
            Answer::new(STALE, "old"),
            Answer::new("200\r\nCache-Control: max-age=60", "new"),
        ],
    );
    let seen = [0; 2].map(|_| get(&edge, "/limited"));
    origin.wait_for("/limited", 2);
    let third = get(&edge, "/limited");
    assert_eq!(seen.each_ref().map(outcome), ["miss", "stale"]);
    assert_eq!(third.status, 200, "{}", third.head);
    let fourth = get(&edge, "/limited");
    assert_eq!(
        (fourth.status, outcome(&fourth)),
        (429, "none"),
        "limits come first"
    );
}

#[test]
fn with_its_upstream_gone_the_last_answer_is_given_if_it_may_be() {
    for (allowed, expected) in [
        ("stale-if-error=60", (200, "stale", "old")),
        ("x", (502, "none", "")),
    ] {
        let origin = Origin::start();
        let edge = origin.edge("", "");
        let head = format!("200\r\nETag: \"a\"\r\nAge: 20\r\nCache-Control: max-age=10, {allowed}");
        origin.say(
            "/c/x",
            [Answer::new(&head, "old"), Answer::raw("").and_close()],
        );
        get(&edge, "/c/x");
        let answer = get(&edge, "/c/x");
        let text = if answer.status == 200 {
            answer.text()
        } else {
            String::new()
        };
        assert_eq!(
            (answer.status, outcome(&answer), text.as_str()),
            expected,
            "{allowed}"
        );
    }
}
