//! What a later version will understand is refused, never skipped.

use super::*;

#[test]
fn planned_keys_are_refused() {
    refused("[app]\nauth = \"token\"", "app.auth = \"token\"");
}

#[test]
fn planned_keys_of_upstreams_are_refused() {
    for (line, key) in [
        ("balance = \"ip-hash\"", "upstream.balance = \"ip-hash\""),
        ("retries = 1", "upstream.retries = 1"),
        ("health = { path = \"/healthz\" }", "upstream.health"),
        ("[upstream.health]\npath = \"/healthz\"", "upstream.health"),
    ] {
        refused(
            &format!("[[upstream]]\nname = \"a\"\nservers = [\"b:1\"]\n{line}"),
            key,
        );
    }
}

#[test]
fn planned_keys_of_routes_are_refused() {
    let route = "[[route]]\npath = \"/\"\napp = true\ncache = { ttl = \"1m\" }";
    refused(route, "route.cache");
}

#[test]
fn what_this_version_does_anyway_may_be_written() {
    good("[app]\nauth = \"none\"");
    let upstream = "[[upstream]]\nname = \"a\"\nservers = [\"b:1\"]\n";
    good(&format!("{upstream}balance = \"round-robin\"\nretries = 0"));
    let environment = Environment::from([("AUTH", "none")]);
    parse("[app]\nauth = \"${AUTH}\"", site().path(), &environment).unwrap();
}

#[track_caller]
fn refused(text: &str, key: &str) {
    let mistakes = bad(text);
    assert_eq!(mistakes.lines().count(), 1, "{text}\n{mistakes}");
    let expected = format!("{key}: not part of this version yet");
    assert!(mistakes.contains(&expected), "{text}\n{mistakes}");
}
