//! What is known goes on: of clients, passwords, servers, files.

use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};

use super::{get, says, site};
use crate::support::raw::Raw;
use crate::support::server::Server;
use crate::support::upstream::Upstream;

#[test]
fn buckets_stay_as_empty_as_they_were_unless_their_limit_is_another() {
    let limit = "[[rate_limit]]\nname = \"few\"\nrate = \"1/h\"\nburst = 2\n";
    let route = "[[route]]\npath = \"/\"\nrate_limit = [\"few\"]\nrespond = { body = \"one\" }\n";
    let server = site("", &format!("{limit}{route}"));
    let statuses =
        |count: usize| -> Vec<u16> { (0..count).map(|_| server.get("/").status).collect() };
    assert_eq!(statuses(3), [200, 200, 429]);
    server.rewrite("\"one\"", "\"two\"");
    server.reload();
    assert_eq!(statuses(1), [429], "the same limit");
    server.rewrite("burst = 2", "burst = 1");
    server.reload();
    assert_eq!(statuses(2), [200, 429], "another limit");
    let metrics = runtime().block_on(async {
        let answer = crate::support::http::client().get(server.admin_url("/metrics"));
        answer.send().await.unwrap().text().await.unwrap()
    });
    assert!(
        metrics.contains("unibody_rate_limit_refused_total{limit=\"few\"} 3"),
        "the count goes on: {metrics}"
    );
    assert!(metrics.contains("unibody_config_reloads_total{result=\"succeeded\"} 2"));
    assert!(metrics.contains("unibody_config_last_reload_failed 0"));
}

#[test]
fn an_ejected_server_stays_out_and_kept_connections_are_used_again() {
    let bad = Upstream::scripted(|connection| {
        // It closes without an answer.
        connection.request();
    });
    let good = Upstream::saying("good");
    let servers = crate::support::upstream::table(
        &[&bad, &good],
        "eject_after = 1\neject_for = \"1h\"\nretries = 1",
    );
    let route = "[[route]]\npath = \"/\"\nupstream = \"backend\"\n";
    // One worker: with several, Pingora's pool sometimes loses a connection to a race.
    let tables = format!("{servers}{route}{}", says("/said", "one"));
    let server = site("workers = 1", &tables);
    for _ in 0..4 {
        assert_eq!(server.get("/").status, 200);
    }
    let state = || {
        let upstream = &server.status()["upstreams"][0];
        let states = upstream["servers"].as_array().unwrap().iter();
        let states = states.map(|server| server["state"].as_str().unwrap().to_owned());
        states.collect::<Vec<_>>()
    };
    assert_eq!(state(), ["ejected", "up"]);
    // One may come before the connection of another is free again.
    let connections = (0..4).map(|_| good.request().connection).max().unwrap();
    for (from, to, why) in [
        ("\"one\"", "\"two\"", "another route"),
        ("retries = 1", "retries = 2", "another key of the upstream"),
    ] {
        server.rewrite(from, to);
        server.reload();
        assert_eq!(state(), ["ejected", "up"], "{why}");
        assert_eq!(server.get("/").status, 200, "{why}");
        let connection = good.request().connection;
        assert!(connection <= connections, "{why}: a new connection");
    }
}

#[test]
fn another_number_of_kept_connections_costs_connections_and_no_request() {
    let (go_on, waits) = channel::<()>();
    let waits = Mutex::new(waits);
    let upstream = Upstream::scripted(move |connection| {
        while connection.request().is_some() {
            // The first one is answered when the reload is over.
            let _ = waits.lock().unwrap().recv();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood");
        }
    });
    let table = upstream.table("keepalive = 8");
    let route = "[[route]]\npath = \"/\"\nupstream = \"backend\"\n";
    let server = site("", &format!("{table}{route}"));
    let request = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut running = Raw::connect(server.http.unwrap());
    running.send(request);
    upstream.request();
    server.rewrite("keepalive = 8", "keepalive = 4");
    server.reload();
    drop(go_on);
    assert_eq!(running.answer().text(), "good", "it was under way");
    for _ in 0..3 {
        assert_eq!(
            get(&mut running, "/").text(),
            "good",
            "a connection of before"
        );
        assert_eq!(server.get("/").text(), "good", "a new one");
    }
}

#[test]
fn another_number_of_kept_connections_is_in_force() {
    // Both of a pair are under way at once, so each has a connection of its own.
    let both = Barrier::new(2);
    let upstream = Upstream::scripted(move |connection| {
        while connection.request().is_some() {
            both.wait();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let route = "[[route]]\npath = \"/\"\nupstream = \"backend\"\n";
    let tables = format!("{}{route}", upstream.table("keepalive = 1"));
    let server = site("workers = 1", &tables);
    let clients = || [(); 2].map(|()| Raw::connect(server.http.unwrap()));
    let pair = |clients: &mut [Raw; 2]| {
        for client in &mut *clients {
            client.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        }
        let mut connections = [(); 2].map(|()| upstream.request().connection);
        for client in clients {
            assert_eq!(client.answer().status, 200);
        }
        connections.sort_unstable();
        connections
    };
    let mut before = clients();
    let mut last = pair(&mut before);
    for _ in 0..5 {
        let next = pair(&mut before);
        assert_ne!(next, last, "there is room for one");
        last = next;
    }
    server.rewrite("keepalive = 1", "keepalive = 8");
    server.reload();
    // Who is connected goes on with the connections that were kept for him.
    let mut after = clients();
    let kept = (0..20).any(|_| {
        let before = std::mem::replace(&mut last, pair(&mut after));
        before == last
    });
    assert!(kept, "there is room for both");
}

#[test]
fn ready_answers_of_the_old_configuration_are_not_given() {
    let server = site("", &says("/", "old"));
    let mut connection = Raw::connect(server.http.unwrap());
    for _ in 0..4 {
        assert_eq!(get(&mut connection, "/").text(), "old");
    }
    server.rewrite("\"old\"", "\"new\"");
    server.reload();
    for _ in 0..4 {
        assert_eq!(get(&mut connection, "/").text(), "new");
    }
}

#[test]
fn the_access_log_follows() {
    let mut server = site("", &says("/", "here"));
    assert_eq!(server.get("/?before").status, 200);
    server.line_with("GET /?before HTTP/1.1\" 200");
    server.rewrite(
        "[tls]",
        "[log]\naccess = \"json\"\nmask = [\"secret\"]\n[tls]",
    );
    assert_eq!(server.reload(), "changed  log.access\nchanged  log.mask\n");
    assert_eq!(server.get("/?secret=hunter2").status, 200);
    let line = server.wait_for_line("secret");
    assert!(line.starts_with('{') && !line.contains("hunter2"), "{line}");
}

#[test]
fn the_level_follows_unless_another_was_chosen() {
    let log = "[log]\nlevel = \"info\"\n";
    let mut server = site("", &format!("{log}{}", says("/", "here")));
    let level = |server: &Server, arguments: &[&str]| {
        let output = server.ask(&[&["log-level"], arguments].concat());
        String::from_utf8(output.stdout).unwrap()
    };
    let debug_is_told = |server: &mut Server| {
        let mut probe = Raw::connect(server.https.unwrap());
        probe.send("this is no handshake\r\n\r\n");
        server.wait_for_line("TLS handshake failed");
    };
    server.rewrite("\"info\"", "\"debug\"");
    assert_eq!(server.reload(), "changed  log.level\n");
    let said = level(&server, &[]);
    assert!(said.contains("debug, as log.level says"), "{said}");
    debug_is_told(&mut server);

    level(&server, &["warn", "--for", "forever"]);
    server.rewrite("\"debug\"", "\"unibody=debug\"");
    server.reload();
    let said = level(&server, &[]);
    assert!(
        said.contains("warn until the server ends; log.level is unibody=debug"),
        "{said}"
    );
    let said = level(&server, &["--reset"]);
    assert!(said.contains("unibody=debug, as log.level says"), "{said}");
    debug_is_told(&mut server);
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}
