//! The listener that tells the owner how the server is.

use std::net::TcpListener;
use std::time::Instant;

use serde_json::Value;

use crate::support::breakable::{Breakable, Target};
use crate::support::http;
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::upstream::Upstream;

async fn status(server: &Server) -> Value {
    let answer = http::client().get(server.admin_url("/status")).send();
    answer.await.unwrap().json().await.unwrap()
}

async fn metrics(server: &Server) -> String {
    let answer = http::client().get(server.admin_url("/metrics")).send();
    let answer = answer.await.unwrap();
    let format = &answer.headers()["content-type"];
    assert_eq!(format, "text/plain; version=0.0.4; charset=utf-8");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    answer.text().await.unwrap()
}

/// Waits until a handshake with the server has been seen, which follows its start.
async fn seen(server: &Server) -> Value {
    let begin = Instant::now();
    loop {
        assert!(begin.elapsed() < PATIENCE, "no handshake was seen");
        let status = status(server).await;
        if !status["certificates"][0]["served"].is_null() {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

/// Such a listener hangs up on a client that begins with its handshake.
#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_wants_the_proxy_protocol_shows_its_certificate_too() {
    let server = Setup::new()
        .admin()
        .server("trusted_proxies = [\"127.0.0.0/8\"]\nproxy_protocol = true")
        .start();
    let status = seen(&server).await;
    let certificate = &status["certificates"][0];
    assert_eq!(certificate["stored"], certificate["served"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_server_tells_how_it_is() {
    let server = Setup::new().admin().start();
    let status = seen(&server).await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(
        status["listeners"]["https"][0],
        server.https.unwrap().to_string()
    );
    assert_eq!(
        status["listeners"]["admin"],
        server.admin.unwrap().to_string()
    );
    assert_eq!(status["database"]["ready"], true);
    let routes = status["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["action"] == "app"));
    let health = routes.iter().find(|route| route["path"] == "=/healthz");
    assert_eq!(health.unwrap()["action"], "health");
    let certificate = &status["certificates"][0];
    assert_eq!(certificate["source"], "self-signed");
    assert_eq!(certificate["stored"], certificate["served"]);
    assert_eq!(certificate["last_error"], Value::Null);

    let metrics = metrics(&server).await;
    for sample in [
        "unibody_database_ready 1",
        "process_start_time_seconds ",
        "unibody_certificate_stored_expiry_timestamp_seconds{name=\"localhost\"} ",
        "unibody_certificate_served_expiry_timestamp_seconds{name=\"localhost\"} ",
        "unibody_certificate_last_error{name=\"localhost\"} 0",
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(sample)),
            "{sample} in {metrics}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_servers_of_upstreams_are_told() {
    let good = Upstream::saying("good");
    let gone = Breakable::before(Target::Tcp(good.address.parse().unwrap()));
    gone.refuse();
    let address = gone.address();
    let server = Setup::new()
        .admin()
        .plain()
        .config(&format!(
            "[[upstream]]\nname = \"b\"\nservers = [\"{}\", \"{address}\"]\n\
             eject_after = 1\neject_for = \"1h\"\n\
             [[route]]\npath = \"/b\"\nupstream = \"b\"",
            good.address
        ))
        .start();
    let mut raw = Raw::connect(server.http.unwrap());
    for _ in 0..4 {
        raw.send("GET /b HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.answer().status, 200);
    }
    // An exchange ends a little after its answer.
    let upstream = loop {
        let upstream = status(&server).await["upstreams"][0].take();
        if upstream["servers"][0]["running"] == 0 {
            break upstream;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(upstream["name"], "b");
    let expected = serde_json::json!([
        { "address": good.address, "state": "up", "reason": null, "running": 0, "requests": 4, "failed": 0 },
        { "address": address.to_string(), "state": "ejected", "reason": null, "running": 0, "requests": 1, "failed": 1 },
    ]);
    assert_eq!(upstream["servers"], expected);

    let metrics = metrics(&server).await;
    let of = |server: &str| format!("{{upstream=\"b\",server=\"{server}\"}}");
    let (good, gone) = (of(&good.address), of(&address.to_string()));
    for sample in [
        "# TYPE unibody_upstream_server_requests_total counter".to_owned(),
        format!("unibody_upstream_server_up{good} 1"),
        format!("unibody_upstream_server_up{gone} 0"),
        format!("unibody_upstream_server_requests_total{good} 4"),
        format!("unibody_upstream_server_failures_total{gone} 1"),
    ] {
        assert!(
            metrics.lines().any(|line| line == sample),
            "{sample} in {metrics}"
        );
    }

    let shown = server.ask(&["status"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("UPSTREAM  SERVER"), "{shown}");
    assert!(shown.contains("ejected"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_its_database_says_so() {
    let server = Setup::new()
        .admin()
        .config("[database]\nwait = \"0s\"")
        .database("postgres://nobody@127.0.0.1:1/none")
        .start();
    assert_eq!(status(&server).await["database"]["ready"], false);
    let metrics = metrics(&server).await;
    assert!(metrics.contains("unibody_database_ready 0\n"), "{metrics}");
    let shown = String::from_utf8(server.ask(&["status"]).stdout).unwrap();
    assert!(
        shown.starts_with("broken    the app has no database: "),
        "{shown}"
    );
    assert!(shown.contains("database  not ready: "), "{shown}");
}

#[test]
fn web_pages_of_others_reach_nothing() {
    let server = Setup::new().admin().start();
    let address = server.admin.unwrap();
    let port = address.port();
    let body = r#"{"host":"localhost"}"#;
    let renew = |headers: &str| {
        format!(
            "POST /certificates/renew HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let json = "Content-Type: application/json\r\n";
    let get =
        |host: &str| format!("GET /status HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let table = [
        (get(&format!("localhost:{port}")), 200, "asked by name"),
        (get(&address.to_string()), 200, "asked by address"),
        (get("rebound.example"), 403, "DNS rebinding"),
        (renew("Content-Type: text/plain\r\n"), 415, "a form's text"),
        (
            renew("Content-Type: application/x-www-form-urlencoded\r\n"),
            415,
            "a form",
        ),
        (
            renew(&format!("{json}Origin: https://evil.example\r\n")),
            403,
            "another site's script",
        ),
        (
            format!(
                "OPTIONS /certificates/renew HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n"
            ),
            405,
            "nobody is let in by asking first",
        ),
        (
            renew(json),
            409,
            "our own command, told that no CA is asked",
        ),
    ];
    for (request, status, why) in table {
        let answer = Raw::connect(address).send(request).last_answer();
        assert_eq!(answer.status, status, "{why}: {}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{why}");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{why}");
    }
}

#[test]
fn a_port_in_use_is_told_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let mut server = Setup::new()
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"{address}\""
        ))
        .spawn();
    let status = server.wait();
    assert_eq!(status.code(), Some(1));
    let log = server.log();
    assert!(log.contains("change server.admin"), "{log}");
}

#[test]
fn switched_off_nothing_listens_and_the_command_says_so() {
    let server = Server::start();
    assert_eq!(server.admin, None);
    let output = server.ask(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("server.admin is switched off"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn the_status_is_shown_to_people_and_to_programs() {
    let mut server = Setup::new().admin().start();
    let people = String::from_utf8(server.ask(&["status"]).stdout).unwrap();
    assert!(people.starts_with("everything is fine\n"), "{people}");
    for part in [
        "database  ready; 0 of 10 connections in use",
        "last minute",
        "since the start",
        "/static/",
        "self-signed",
        "STORED",
    ] {
        assert!(people.contains(part), "{part} in {people}");
    }
    let programs = server.ask(&["status", "--json"]).stdout;
    let programs: Value = serde_json::from_slice(&programs).unwrap();
    assert_eq!(programs["database"]["ready"], true);

    server.stop();
    let output = server.ask(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("is the server running"), "{error}");
}
