use serde_json::{Value, json};
use time::macros::datetime;

use super::*;
use crate::admin::status::redact;
use crate::config::Mask;

/// The troubles of a server that is fine except for `difference`.
fn found(difference: &Value) -> Vec<Trouble> {
    troubles(&status(difference), datetime!(2026-06-01 0:00 UTC))
}

/// The status of a server that is fine except for `difference`, which replaces fields of it.
fn status(difference: &Value) -> Status {
    let mut status = json!({
        "version": "1.0.0",
        "started": "2026-01-01T00:00:00Z",
        "configuration": configuration(None),
        "listeners": { "http": [], "https": [], "admin": "127.0.0.1:9180" },
        "traffic": traffic(1000, 0),
        "connections": { "open": 10, "max": 100 },
        "process": { "memory": 1, "open_files": 10, "max_open_files": 100 },
        "routes": [],
        "upstreams": [],
        "database": { "ready": true, "reason": null },
        "certificates": [],
    });
    for (name, value) in difference.as_object().unwrap() {
        status[name] = value.clone();
    }
    serde_json::from_value(status).unwrap()
}

#[test]
fn what_others_complain_of_is_told_without_secrets() {
    let secret = "denied: https://a.test/?token=s3cret";
    let mut certificate = failing("acme", None);
    certificate["last_error"] = secret.into();
    let mut upstreams = nameless(&["up"]);
    upstreams[0]["servers"][0]["reason"] = secret.into();
    let mut status = status(&json!({
        "configuration": configuration(Some(secret)),
        "database": { "ready": false, "reason": secret },
        "certificates": [certificate],
        "upstreams": upstreams,
    }));
    redact(&mut status, &Mask::new(["token".to_owned()]));
    let told = serde_json::to_string(&status).unwrap();
    assert_eq!(
        told.matches("denied: https://a.test/?token=***").count(),
        4,
        "{told}"
    );
    assert!(!told.contains("s3cret"), "{told}");
}

fn configuration(error: Option<&str>) -> Value {
    let loaded = "2026-05-01T00:00:00Z";
    json!({ "loaded": loaded, "reloads": 0, "failed": 0, "last_error": error, "waiting": [] })
}

fn backup(error: Option<&str>) -> Value {
    let last =
        json!({ "name": "a", "finished": "2026-05-31T03:15:00Z", "bytes": 1, "seconds": 1.0 });
    json!({
        "schedule": "at 03:15 UTC", "running": false, "last": last, "next": "2026-06-01T03:15:00Z",
        "failures": 1, "last_error": error,
    })
}

/// One that can't be seen to be due `since` then.
fn unseen(since: &str) -> Value {
    let mut backup = backup(None);
    backup["due_unknown"] = json!({ "since": since, "reason": "permission denied" });
    json!({ "backup": backup })
}

fn lost(last: &str, failing: Option<&str>) -> Value {
    json!({ "log": { "unread": 3, "unwritten": 7, "last": last, "failing": failing } })
}

fn minute(requests: u64, failed: u64) -> Value {
    let classes =
        json!({ "1xx": 0, "2xx": requests - failed, "3xx": 0, "4xx": 0, "5xx": failed, "left": 0 });
    json!({ "seconds": 60.0, "requests": requests, "classes": classes, "p50": null, "p90": null, "p99": null })
}

fn traffic(requests: u64, failed: u64) -> Value {
    let unrouted = json!({ "since_start": 0, "last_minute": 0 });
    json!({ "since_start": minute(requests, failed), "last_minute": minute(requests, failed), "unrouted": unrouted })
}

fn route(path: &str, failed: u64) -> Value {
    json!({ "host": "a.test", "path": path, "action": "app", "last_minute": minute(1000, failed) })
}

fn certificate(source: &str, not_after: &str) -> Value {
    let held = json!({ "serial": "0A", "not_after": not_after });
    json!({
        "names": ["a.test"], "source": source, "issuer": "CA", "stored": held, "served": held,
        "next_attempt": null, "last_error": null,
    })
}

fn failing(source: &str, next: Option<&str>) -> Value {
    let mut certificate = certificate(source, "2026-08-01T00:00:00Z");
    certificate["last_error"] = "no way".into();
    certificate["next_attempt"] = json!(next);
    certificate
}

fn upstream(states: &[&str]) -> Value {
    let servers = states.iter().enumerate().map(|(index, state)| {
        json!({ "address": format!("10.0.0.{index}:80"), "state": state, "running": 0, "requests": 0, "failed": 0 })
    });
    json!([{ "name": "shop", "servers": servers.collect::<Vec<_>>() }])
}

/// One server whose name leads nowhere, and others.
fn nameless(states: &[&str]) -> Value {
    let mut upstreams = upstream(&[&["unknown"], states].concat());
    upstreams[0]["servers"][0]["reason"] = "a.test is not known: no".into();
    upstreams
}

/// How bad, what, and what to do; `None` for nothing.
type Expected = Option<(Severity, &'static str, &'static str)>;

#[test]
#[expect(clippy::too_many_lines, reason = "it is one table")]
fn each_trouble_is_told_with_its_remedy_and_nothing_else_is() {
    use Severity::{Broken, Warning};
    let pool = |in_use, waiting| {
        json!({ "database": { "ready": true, "reason": null,
            "pool": { "max": 10, "open": 10, "in_use": in_use, "waiting": waiting } } })
    };
    let certificates = |certificate| json!({ "certificates": [certificate] });
    let table: Vec<(Value, Expected, &str)> = vec![
        (json!({}), None, "all is well"),
        (
            json!({ "database": { "ready": false, "reason": "refused" } }),
            Some((Broken, "no database: refused", "unibody doctor")),
            "the database is away",
        ),
        (
            json!({ "traffic": traffic(1000, 10), "routes": [route("/", 1), route("/b", 9)] }),
            Some((Broken, "10 of 1000 requests", "request id")),
            "1 in 100 failed",
        ),
        (
            json!({ "traffic": traffic(1000, 10), "routes": [route("/", 1), route("/b", 9)] }),
            Some((Broken, "most of them at a.test/b (app)", "log")),
            "and the route is named",
        ),
        (
            json!({ "traffic": traffic(1001, 10), "routes": [route("/", 10)] }),
            None,
            "fewer failed",
        ),
        (
            json!({ "traffic": traffic(2, 2), "routes": [route("/", 2)] }),
            None,
            "two failures at night are daily life",
        ),
        (
            json!({ "upstreams": upstream(&["up", "up"]) }),
            None,
            "all servers are up",
        ),
        (
            json!({ "upstreams": upstream(&["up", "ejected"]) }),
            Some((
                Warning,
                "shop: 10.0.0.1:80 ejected, 1 of 2 servers left",
                "own log",
            )),
            "one is left",
        ),
        (
            json!({ "upstreams": upstream(&["ejected", "unhealthy"]) }),
            Some((
                Broken,
                "no server is well (10.0.0.0:80 ejected and 1 more), so all are tried",
                "own log",
            )),
            "none is left",
        ),
        (
            json!({ "upstreams": nameless(&[]) }),
            Some((
                Broken,
                "shop: no server is well (a.test is not known: no), so nobody can be asked",
                "correct the name",
            )),
            "its name leads nowhere",
        ),
        (
            json!({ "upstreams": nameless(&["up"]) }),
            Some((
                Warning,
                "shop: a.test is not known: no, 1 of 2 servers left",
                "correct the name",
            )),
            "one of two names leads nowhere",
        ),
        (
            json!({ "upstreams": upstream(&["unhealthy"]) }),
            Some((Broken, "unhealthy", "health check")),
            "the check is what to look at",
        ),
        (
            certificates(certificate("acme", "2026-06-09T00:00:00Z")),
            None,
            "eight days are enough",
        ),
        (
            certificates(certificate("acme", "2026-06-07T00:00:00Z")),
            Some((Warning, "ends on 2026-06-07", "unibody certs renew a.test")),
            "six are not",
        ),
        (
            certificates(certificate("/etc/a.pem", "2026-05-31T00:00:00Z")),
            Some((Broken, "has ended", "into /etc/a.pem")),
            "browsers refuse it",
        ),
        (
            certificates(failing("acme", Some("2026-06-02T00:00:00Z"))),
            Some((Warning, "no way", "again at 2026-06-02")),
            "the CA refused",
        ),
        (
            certificates(failing("/etc/a.pem", None)),
            Some((Warning, "no way", "stays until")),
            "the new file is broken",
        ),
        (
            json!({ "configuration": configuration(Some("line 3: no\nline 9: neither")) }),
            Some((
                Warning,
                "loaded at 2026-05-01T00:00:00Z stays in force: line 3: no",
                "unibody check",
            )),
            "the file has mistakes",
        ),
        (
            json!({ "backup": backup(Some("disk full")) }),
            Some((
                Warning,
                "failed, the newest is of 2026-05-31T03:15:00Z: disk full",
                "again at 2026-06-01T03:15:00Z",
            )),
            "a backup failed",
        ),
        (
            json!({ "backup": backup(Some("disk full")) }),
            Some((Warning, "failed", "`unibody backup` (")),
            "a named file would make nothing good",
        ),
        (
            unseen("2026-05-31T23:44:00Z"),
            Some((
                Warning,
                "since 2026-05-31T23:44:00Z whether one is due: permission denied",
                "GRANT SELECT, INSERT, UPDATE ON last_backup",
            )),
            "for 16 minutes no backup could be made",
        ),
        (unseen("2026-05-31T23:46:00Z"), None, "PostgreSQL restarts"),
        (
            unseen("2026-06-02T00:00:00Z"),
            Some((Warning, "since 2026-06-02", "unibody doctor")),
            "and the clock was set back since",
        ),
        (
            json!({ "backup": backup(None) }),
            None,
            "the last one went well",
        ),
        (pool(10, 0), None, "busy is not too busy"),
        (pool(9, 1), None, "it is about to be lent one"),
        (
            pool(10, 4),
            Some((Warning, "4 requests wait", "database.pool_size")),
            "requests wait",
        ),
        (
            json!({ "connections": { "open": 89, "max": 100 } }),
            None,
            "room enough",
        ),
        (
            json!({ "connections": { "open": 90, "max": 100 } }),
            Some((Warning, "90 of 100 connections", "server.max_connections")),
            "nearly full",
        ),
        (
            json!({ "connections": { "open": 100, "max": 100 } }),
            Some((
                Broken,
                "all 100 connections are open: new clients are turned away",
                "server.max_connections",
            )),
            "full",
        ),
        (
            json!({ "connections": { "open": 0, "max": 0 } }),
            None,
            "an older server tells none",
        ),
        (
            json!({ "process": { "open_files": 95, "max_open_files": 100 } }),
            Some((Warning, "95 of 100 files", "LimitNOFILE")),
            "few files are left",
        ),
        (
            json!({ "process": { "open_files": 100, "max_open_files": 100 } }),
            Some((
                Broken,
                "all 100 files are open: new clients wait",
                "LimitNOFILE",
            )),
            "none is left",
        ),
        (
            lost("2026-05-31T12:00:00Z", Some("no space")),
            Some((Warning, "(no space): 7 lines are lost", "make room")),
            "since half a day",
        ),
        (
            lost("2026-05-31T23:55:00Z", None),
            Some((Warning, "3 as stdout was not read", "read fast enough")),
            "five minutes ago",
        ),
        (lost("2026-05-31T23:45:00Z", None), None, "long ago"),
    ];
    for (difference, expected, why) in table {
        let found = found(&difference);
        let Some((severity, what, remedy)) = expected else {
            assert_eq!(found, [], "{why}");
            continue;
        };
        let [trouble] = found.as_slice() else {
            panic!("{why}: {found:?}");
        };
        assert_eq!(trouble.severity, severity, "{why}");
        assert!(trouble.what.contains(what), "{why}: {trouble:?}");
        assert!(trouble.remedy.contains(remedy), "{why}: {trouble:?}");
    }
}

#[test]
fn the_worst_comes_first() {
    let found = found(&json!({
        "upstreams": upstream(&["up", "ejected"]),
        "certificates": [certificate("acme", "2026-05-31T00:00:00Z")],
    }));
    let severities: Vec<_> = found.iter().map(|trouble| trouble.severity).collect();
    assert_eq!(severities, [Severity::Broken, Severity::Warning]);
}
