//! RFC 9111 as a table: what two requests get, and which of them the upstream has seen.

use super::{Answer, Origin, outcome, send};

struct Case {
    /// What it shows, and where it is written.
    why: &'static str,
    route: &'static str,
    /// Headers of the two requests.
    asks: [&'static str; 2],
    /// The first answer, whose body is "one".
    first: &'static str,
    /// The second, if there is one; its body is "two".
    second: &'static str,
    /// `X-Cache` of both.
    expected: [&'static str; 2],
}

const OK: &str = "200";
const HOUR: &str = "200\r\nCache-Control: max-age=3600";
/// Each use has to be confirmed.
const CONFIRMED: &str = "200\r\nETag: \"a\"\r\nCache-Control: no-cache";

/// A case whose two requests are alike.
const fn case(
    why: &'static str,
    route: &'static str,
    first: &'static str,
    expected: &'static str,
) -> Case {
    asking(why, route, ["", ""], first, expected)
}

const fn asking(
    why: &'static str,
    route: &'static str,
    asks: [&'static str; 2],
    first: &'static str,
    expected: &'static str,
) -> Case {
    Case {
        why,
        route,
        asks,
        first,
        second: OK,
        expected: ["miss", expected],
    }
}

const fn renewing(
    why: &'static str,
    first: &'static str,
    second: &'static str,
    expected: &'static str,
) -> Case {
    Case {
        why,
        route: "c",
        asks: ["", ""],
        first,
        second,
        expected: ["miss", expected],
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    // What may be kept (section 3), and what the route's ttl is for.
    case("max-age (5.2.2.1)", "c", HOUR, "hit"),
    case("s-maxage before max-age (4.2.1)", "c", "200\r\nCache-Control: max-age=0, s-maxage=60", "hit"),
    case("and also when it is shorter", "c", "200\r\nETag: \"a\"\r\nCache-Control: max-age=60, s-maxage=0", "expired"),
    case("Expires (5.3)", "c", "200\r\nDate: Sun, 06 Nov 2095 08:49:37 GMT\r\nExpires: Sun, 06 Nov 2095 09:49:37 GMT", "hit"),
    case("max-age before Expires (5.3)", "c", "200\r\nCache-Control: max-age=60\r\nExpires: 0", "hit"),
    case("an Expires that is no date is past (5.3)", "t", "200\r\nExpires: 0", "bypass"),
    case("nothing is said, and there is no ttl", "c", OK, "bypass"),
    case("nothing is said: ttl", "t", OK, "hit"),
    case("public alone says nothing of time", "t", "200\r\nCache-Control: public", "hit"),
    case("what is said counts more than ttl", "t", "200\r\nCache-Control: max-age=0", "bypass"),
    case("no-store (5.2.2.5)", "t", "200\r\nCache-Control: no-store", "bypass"),
    case("private (5.2.2.7)", "t", "200\r\nCache-Control: private, max-age=60", "bypass"),
    case("private with fields may be read as private", "t", "200\r\nCache-Control: private=\"x-user\", max-age=60", "bypass"),
    case("no-cache without a validator is no use (5.2.2.4)", "t", "200\r\nCache-Control: no-cache, max-age=60", "bypass"),
    case("a cookie is for one", "t", "200\r\nSet-Cookie: a=b\r\nCache-Control: public, max-age=60", "bypass"),
    case("directives are read whatever their case", "c", "200\r\nCACHE-control: Max-Age=60", "hit"),
    case("contradicting ages: the least (4.2.1)", "c", "200\r\nCache-Control: max-age=60\r\nCache-Control: max-age=0", "bypass"),
    case("a moved page", "t", "301\r\nLocation: /x", "hit"),
    case("a found page says nothing", "t", "302\r\nLocation: /x", "bypass"),
    case("but may say so", "t", "302\r\nLocation: /x\r\nCache-Control: max-age=60", "hit"),
    case("ttl is not for what isn't there", "t", "404", "miss"),
    case("which may say so as well", "t", "404\r\nCache-Control: max-age=60", "hit"),
    case("nor for errors", "t", "500", "miss"),
    case("a part is not the whole (3.3)", "t", "206\r\nContent-Range: bytes 0-2/9\r\nCache-Control: max-age=60", "bypass"),
    case("an event stream has no end", "t", "200\r\nContent-Type: Text/Event-Stream", "bypass"),
    // Age (4.2.3)
    case("it is old already", "c", "200\r\nAge: 60\r\nCache-Control: max-age=60", "bypass"),
    case("its date says so", "c", "200\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: max-age=60", "bypass"),
    case("not that old", "c", "200\r\nAge: 10\r\nCache-Control: max-age=60", "hit"),
    // Vary (4.1)
    asking("selected by the same", "c", ["X-Kind: a", "X-Kind:   a"], "200\r\nVary: X-Kind\r\nCache-Control: max-age=60", "hit"),
    asking("by another", "c", ["X-Kind: a", "X-Kind: b"], "200\r\nVary: X-Kind\r\nCache-Control: max-age=60", "miss"),
    asking("by none", "c", ["X-Kind: a", ""], "200\r\nVary: x-kind\r\nCache-Control: max-age=60", "miss"),
    asking("by a list in two lines", "c", ["X-Kind: a\r\nX-Kind: b", "X-Kind: a, b"], "200\r\nVary: X-Kind\r\nCache-Control: max-age=60", "hit"),
    asking("by one of two", "c", ["A: 1\r\nB: 1", "A: 1\r\nB: 2"], "200\r\nVary: A\r\nVary: B\r\nCache-Control: max-age=60", "miss"),
    asking("by nothing that can be known", "c", ["", ""], "200\r\nVary: *\r\nCache-Control: max-age=60", "bypass"),
    asking("the same codings in other words", "c", ["Accept-Encoding: gzip, br", "Accept-Encoding: br;q=0.5, gzip;q=1.0, x"], "200\r\nVary: Accept-Encoding\r\nCache-Control: max-age=60", "hit"),
    asking("other codings", "c", ["Accept-Encoding: gzip", "Accept-Encoding: identity"], "200\r\nVary: Accept-Encoding\r\nCache-Control: max-age=60", "miss"),
    asking("what we tell the upstream, not what the client says", "c", ["", "X-Real-IP: 192.0.2.1"], "200\r\nVary: X-Real-IP\r\nCache-Control: max-age=60", "hit"),
    Case { why: "by what the upstream never saw (RFC 9110, 7.6.1): not kept", route: "c", asks: ["X-Kind: a\r\nConnection: X-Kind", "X-Kind: a"], first: "200\r\nVary: X-Kind\r\nCache-Control: max-age=60", second: OK, expected: ["bypass", "miss"] },
    asking("nor given", "c", ["X-Kind: a", "X-Kind: a\r\nConnection: close, x-kind"], "200\r\nVary: X-Kind\r\nCache-Control: max-age=60", "bypass"),
    asking("what is about the connection alone", "c", ["X-Kind: a\r\nConnection: ,Close", "X-Kind: a"], "200\r\nVary: X-Kind\r\nCache-Control: max-age=60", "hit"),
    // What the client says
    asking("no-cache (5.2.1.4)", "c", ["", "Cache-Control: no-cache"], HOUR, "expired"),
    asking("its forerunner (5.4)", "c", ["", "Pragma: no-cache"], HOUR, "expired"),
    asking("which counts only alone", "c", ["", "Pragma: no-cache\r\nCache-Control: x"], HOUR, "hit"),
    asking("max-age (5.2.1.1)", "c", ["", "Cache-Control: max-age=5"], "200\r\nAge: 10\r\nCache-Control: max-age=60", "expired"),
    asking("that is kept to", "c", ["", "Cache-Control: max-age=50"], "200\r\nAge: 10\r\nCache-Control: max-age=60", "hit"),
    asking("min-fresh (5.2.1.3)", "c", ["", "Cache-Control: min-fresh=55"], "200\r\nAge: 10\r\nCache-Control: max-age=60", "expired"),
    asking("that is kept to", "c", ["", "Cache-Control: min-fresh=40"], "200\r\nAge: 10\r\nCache-Control: max-age=60", "hit"),
    asking("no-store (5.2.1.5)", "c", ["", "Cache-Control: no-store"], HOUR, "bypass"),
    Case { why: "no-store keeps nothing either", route: "c", asks: ["Cache-Control: no-store", ""], first: HOUR, second: OK, expected: ["bypass", "miss"] },
    // Who asks
    asking("Authorization (3.5)", "c", ["Authorization: a", "Authorization: a"], HOUR, "bypass"),
    asking("what is public", "c", ["Authorization: a", "Authorization: b"], "200\r\nCache-Control: public, max-age=60", "hit"),
    asking("or must-revalidate", "c", ["Authorization: a", "Authorization: b"], "200\r\nCache-Control: must-revalidate, max-age=60", "hit"),
    asking("or has s-maxage", "c", ["Authorization: a", ""], "200\r\nCache-Control: s-maxage=60", "hit"),
    asking("what is not public is not for those who sign in", "c", ["", "Authorization: a"], HOUR, "miss"),
    asking("cookies and nothing said: not kept", "t", ["Cookie: a", "Cookie: a"], OK, "bypass"),
    asking("nor given", "t", ["", "Cookie: a"], OK, "miss"),
    asking("unless the route says that they don't matter", "i", ["Cookie: a", "Cookie: b"], OK, "hit"),
    asking("or the answer does", "t", ["Cookie: a", "Cookie: b"], HOUR, "hit"),
    asking("what is confirmed each time, with cookies: not kept", "c", ["Cookie: a", "Cookie: a"], CONFIRMED, "bypass"),
    asking("nor given", "c", ["", "Cookie: a"], CONFIRMED, "miss"),
    asking("or the route says that they don't matter", "i", ["Cookie: a", "Cookie: b"], CONFIRMED, "expired"),
    asking("the same with Authorization", "c", ["Authorization: a", "Authorization: a"], "200\r\nETag: \"a\"\r\nCache-Control: max-age=0, must-revalidate", "bypass"),
    // What only the upstream can answer
    asking("conditions for upstreams (4.3.2)", "c", ["", "If-Match: \"x\""], HOUR, "bypass"),
    asking("conditions for upstreams (4.3.2)", "c", ["", "If-Unmodified-Since: Sun, 06 Nov 2094 08:49:37 GMT"], HOUR, "bypass"),
    asking("a length of nothing is nothing", "c", ["", "Content-Length: 0\r\nX: y"], HOUR, "hit"),
    // Confirming (4.3)
    renewing("the tag is confirmed (4.3.3)", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0", "304\r\nETag: \"a\"", "revalidated"),
    renewing("no-cache with a tag (5.2.2.4)", "200\r\nETag: \"a\"\r\nCache-Control: no-cache", "304\r\nETag: \"a\"", "revalidated"),
    renewing("the date is confirmed", "200\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nCache-Control: max-age=0", "304", "revalidated"),
    renewing("there is another", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0", "200\r\nETag: \"b\"\r\nCache-Control: max-age=0", "expired"),
    renewing("which is not for keeping", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0", "200\r\nCache-Control: no-store", "expired"),
    renewing("an error is given on (4.3.3)", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0", "500", "expired"),
    renewing("stale-if-error (RFC 5861, 4)", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0, stale-if-error=60", "503", "stale"),
    renewing("for the errors it is for", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0, stale-if-error=60", "501", "expired"),
    renewing("not with must-revalidate (5.2.2.2)", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0, stale-if-error=60, must-revalidate", "503", "expired"),
    renewing("nor proxy-revalidate (5.2.2.8)", "200\r\nETag: \"a\"\r\nCache-Control: max-age=0, stale-if-error=60, proxy-revalidate", "503", "expired"),
];

#[test]
fn two_requests_get_what_the_rfc_says() {
    let origin = Origin::start();
    let edge = origin.edge("", "");
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        let path = format!("/{}/{number}", case.route);
        let answers = [(case.first, "one"), (case.second, "two")];
        origin.say(&path, answers.map(|(head, body)| Answer::new(head, body)));
        let mut expected_bodies = Vec::new();
        let mut asked = 0;
        let answers = case.asks.map(|fields| send(&edge, "GET", &path, fields));
        for expected in case.expected {
            let from_store = ["hit", "stale", "revalidated"].contains(&expected);
            expected_bodies.push(if from_store || asked == 0 {
                "one"
            } else {
                "two"
            });
            asked += usize::from(!["hit", "stale"].contains(&expected));
        }
        // It was asked, in vain.
        asked += usize::from(case.expected[1] == "stale");
        let outcomes = answers.each_ref().map(outcome);
        let bodies: Vec<_> = answers.iter().map(super::RawAnswer::text).collect();
        let is_body_right = bodies == expected_bodies || answers[1].status >= 400;
        if outcomes != case.expected || !is_body_right || origin.asked(&path).len() != asked {
            let seen = origin.asked(&path).len();
            wrong.push(format!(
                "{}: {:?} to {:?}: {outcomes:?} {bodies:?}, upstream asked {seen} times; expected {:?}",
                case.why, case.first, case.asks, case.expected
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
