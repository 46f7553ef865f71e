//! What routes ask of their clients.

use std::time::Duration;

use super::*;
use crate::config::LimitKey;

#[test]
fn limits_and_networks_are_read() {
    let config = good(
        r#"
        [[rate_limit]]
        name = "writes"
        rate = "10/s"
        burst = 20
        key = "header:X-Api-Key"
        [[rate_limit]]
        name = "all"
        rate = "300/m"
        [[route]]
        path = "/"
        app = true
        allow = ["10.0.0.0/8", "::1"]
        deny = ["10.0.0.5"]
        rate_limit = ["writes", "all"]
        methods = ["POST"]
        "#,
    );
    let policy = &config.routes[0].policy;
    let [writes, all] = policy.rate_limits.as_slice() else {
        panic!("{policy:?}")
    };
    assert_eq!((writes.burst, writes.name.as_str()), (20, "writes"));
    assert_eq!(writes.key, LimitKey::Header("x-api-key".parse().unwrap()));
    assert_eq!(writes.rate.interval(), Duration::from_millis(100));
    assert_eq!(
        (all.burst, &all.key),
        (300, &LimitKey::Ip),
        "the burst is what the rate counts"
    );
    assert_eq!((policy.allow.len(), policy.deny.len()), (2, 1));
    assert_eq!(policy.methods, ["POST"]);
}

#[test]
fn rate_limits_that_cannot_be_meant_are_mistakes() {
    each_is_one_mistake(&[
        (
            "",
            "rate = \"1/s\"",
            "config.toml:1: rate_limit.name is missing",
        ),
        (
            "",
            "name = \"a\"",
            "config.toml:1: rate_limit.rate is missing; write for example rate = \"10/s\"",
        ),
        (
            "",
            "name = \"a b\"\nrate = \"1/s\"",
            "rate_limit.name = \"a b\": a name is",
        ),
        (
            "",
            "name = \"a\"\nrate = \"10r/s\"",
            "rate_limit.rate = \"10r/s\": not a rate; write for example \"10/s\"",
        ),
        (
            "",
            "name = \"a\"\nrate = \"1/s\"\nburst = 0",
            "rate_limit.burst = 0: must be a whole number from 1 to 1000000",
        ),
        (
            "",
            "name = \"a\"\nrate = \"1/d\"\nburst = 1000",
            "rate_limit.burst: the bucket would take more than a year",
        ),
        (
            "",
            "name = \"a\"\nrate = \"1/s\"\nkey = \"cookie\"",
            "rate_limit.key = \"cookie\": not a key; write \"ip\"",
        ),
        (
            "",
            "name = \"a\"\nrate = \"1/s\"\n[[rate_limit]]\nname = \"a\"\nrate = \"2/s\"",
            "config.toml:5: rate_limit.name: \"a\" is the name of the rate limit of line 1",
        ),
        (
            "rate_limit = [\"writs\"]",
            "name = \"writes\"\nrate = \"1/s\"",
            "route.rate_limit = \"writs\": no rate limit has this name; did you mean \"writes\"?",
        ),
        (
            "rate_limit = [\"a\", \"a\"]",
            "name = \"a\"\nrate = \"1/s\"",
            "route.rate_limit: \"a\" is written twice",
        ),
        (
            "rate_limit = []",
            "name = \"a\"\nrate = \"1/s\"",
            "route.rate_limit: must not be empty",
        ),
        (
            "rate_limit = [\"a\"]",
            "name = \"a\"\nrate = \"x\"",
            "rate_limit.rate = \"x\"",
        ),
        (
            "rate_limit = [\"a\"]\nmethods = [\"post\"]",
            "name = \"a\"\nrate = \"1/s\"",
            "route.methods = \"post\": not a method; write for example \"POST\"",
        ),
        (
            "methods = [\"POST\"]",
            "name = \"a\"\nrate = \"1/s\"",
            "route.methods: belongs to a route with rate_limit",
        ),
    ]);
}

#[test]
fn networks_that_cannot_be_meant_are_mistakes() {
    let limit = "name = \"a\"\nrate = \"1/s\"";
    each_is_one_mistake(&[
        ("allow = []", limit, "route.allow: must not be empty"),
        (
            "deny = [\"all\"]",
            limit,
            "route.deny = \"all\": not a network",
        ),
        (
            "allow = [\"10.0.0.0/33\"]",
            limit,
            "route.allow = \"10.0.0.0/33\": not a network",
        ),
        (
            "allow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.0.0/8\"]",
            limit,
            "route.deny: 10.0.0.0/8 is in allow as well",
        ),
    ]);
}

#[test]
fn accounts_that_cannot_be_meant_are_mistakes() {
    let limit = "name = \"a\"\nrate = \"1/s\"";
    each_is_one_mistake(&[
        (
            "basic_auth = {}",
            limit,
            "route.basic_auth: nobody could sign in",
        ),
        (
            "basic_auth.bob = \"hunter2\"",
            limit,
            "route.basic_auth.\"bob\": not a hash of a password; write what `unibody hash-password` prints",
        ),
        (
            "basic_auth.bob = \"***\"",
            limit,
            "route.basic_auth.\"bob\": not a hash of a password",
        ),
        (
            "basic_auth.\"a:b\" = \"x\"",
            limit,
            "route.basic_auth.\"a:b\": a user's name has",
        ),
        (
            "basic_auth.bob = 5",
            limit,
            "route.basic_auth.\"bob\": must be a hash in quotes",
        ),
        (
            "basic_auth.bob = \"${NO_SUCH_VARIABLE}\"",
            limit,
            "NO_SUCH_VARIABLE",
        ),
        ("basic_auth_file = \"users\"", limit, "cannot open"),
        (
            "basic_auth_file = \"key.pem\"",
            limit,
            "nobody could sign in; a line is user:hash",
        ),
        (
            "basic_auth = {}\nbasic_auth_file = \"key.pem\"",
            limit,
            "basic_auth is written, too; keep one",
        ),
    ]);
    assert!(
        !bad("[[route]]\npath = \"/\"\napp = true\nbasic_auth.bob = \"hunter2\"")
            .contains("hunter2")
    );
}

#[test]
fn origins_that_cannot_be_meant_are_mistakes() {
    let limit = "name = \"a\"\nrate = \"1/s\"";
    each_is_one_mistake(&[
        ("cors = {}", limit, "route.cors.origins is missing"),
        (
            "cors.origins = []",
            limit,
            "route.cors.origins: must not be empty",
        ),
        (
            "cors.origins = [\"https://a.example/\"]",
            limit,
            "route.cors.origins = \"https://a.example/\": an origin has no path, not even a slash",
        ),
        (
            "cors.origins = [\"https://*.a.example\"]",
            limit,
            "origins are exact, or \"*\" alone",
        ),
        ("cors.origins = [\"null\"]", limit, "name the real origins"),
        (
            "cors.origins = [\"*\", \"https://a.example\"]",
            limit,
            "route.cors.origins: \"*\" means all of them",
        ),
        (
            "cors = { origins = [\"*\"], credentials = true }",
            limit,
            "route.cors.credentials: browsers take no credentials with origins = [\"*\"]; name the origins",
        ),
        (
            "cors = { origins = [\"*\"], headers = [\"*\"] }",
            limit,
            "name the headers",
        ),
        (
            "cors = { origins = [\"*\"], methods = [\"get\"] }",
            limit,
            "not a method",
        ),
        (
            "cors = { origins = [\"*\"], max_age = \"2d\" }",
            limit,
            "must be at most 1d",
        ),
    ]);
}

#[test]
fn a_header_that_nobody_could_send_is_a_mistake() {
    let mistakes = bad("[server]\nproxy_protocol = true");
    let expected = "config.toml:2: server.proxy_protocol: nobody's header would be believed; name the load balancers in trusted_proxies";
    assert_eq!(mistakes, expected);
    let asks = |trusted: &str| {
        let server = format!("[server]\nproxy_protocol = true\ntrusted_proxies = [\"{trusted}\"]");
        good(&server).server.greeting("127.0.0.1".parse().unwrap())
    };
    assert_eq!(asks("127.0.0.0/8"), b"PROXY UNKNOWN\r\n");
    assert_eq!(asks("10.0.0.0/8"), b"");
}

#[test]
fn a_hash_is_taken_with_its_dollars_or_from_a_variable() {
    let hash = "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
    let environment = Environment::from([("HASH", hash)]);
    for written in [hash, "${HASH}"] {
        let text =
            format!("[[route]]\npath = \"/\"\napp = true\nbasic_auth.\"bob b\" = \"{written}\"");
        let config = parse(&text, site().path(), &environment).unwrap();
        let [account] = config.routes[0].policy.accounts.as_slice() else {
            panic!("{written}")
        };
        assert_eq!(account.user, "bob b");
        assert!(!format!("{config:?}").contains(hash), "shown");
        let printed = config.effective_toml();
        assert!(
            printed.contains("basic_auth.\"bob b\" = \"***\""),
            "{printed}"
        );
    }
}

/// A table of (keys of a route, a rate limit, mistake); the rate limit begins in line 1.
#[track_caller]
fn each_is_one_mistake(table: &[(&str, &str, &str)]) {
    for (route, limit, expected) in table {
        let text = format!("[[rate_limit]]\n{limit}\n[[route]]\npath = \"/\"\napp = true\n{route}");
        let mistakes = bad(&text);
        assert!(
            mistakes.contains(expected),
            "{text}\n{mistakes}\nshould have\n{expected}"
        );
        assert_eq!(mistakes.lines().count(), 1, "{text}\n{mistakes}");
    }
}
