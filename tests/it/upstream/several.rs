//! Several servers: who is asked, who is passed over, and who is asked next when one fails.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Instant;

use super::{access_line, forwarding_to, forwarding_with};
use crate::support::breakable::{Break, Breakable, Target};
use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{PATIENCE, Server};
use crate::support::upstream::{Upstream, table};

fn ask(server: &Server, request: &str) -> RawAnswer {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(request);
    raw.answer()
}

fn get(server: &Server) -> RawAnswer {
    ask(server, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn post(server: &Server) -> RawAnswer {
    ask(
        server,
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi",
    )
}

fn breakable(upstream: &Upstream) -> Breakable {
    Breakable::before(Target::Tcp(upstream.address.parse().unwrap()))
}

fn backends(servers: &[SocketAddr], keys: &str) -> String {
    let servers: Vec<_> = servers.iter().map(ToString::to_string).collect();
    format!("[[upstream]]\nname = \"backend\"\nservers = {servers:?}\n{keys}\n")
}

/// Reads a request and closes without a word.
fn rude() -> Upstream {
    Upstream::scripted(|connection| {
        connection.request();
    })
}

#[test]
fn a_backup_is_asked_while_no_other_is_in() {
    let (main, backup) = (Upstream::saying("main"), Upstream::saying("backup"));
    let proxy = breakable(&main);
    let server = forwarding_to(&format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"{} backup\", \"{}\"]\n\
         keepalive = 0\neject_after = 1\neject_for = \"300ms\"\n",
        backup.address,
        proxy.address()
    ));
    let said = |expected: &str| {
        for _ in 0..4 {
            assert_eq!(get(&server).text(), expected);
        }
    };
    said("main");
    proxy.refuse();
    said("backup");
    proxy.forward();
    let deadline = Instant::now() + PATIENCE;
    while get(&server).text() != "main" {
        assert!(Instant::now() < deadline, "it is back");
    }
    said("main");
}

#[test]
fn a_server_that_is_not_there_is_nobodys_trouble() {
    let (gone, good) = (Upstream::saying("gone"), Upstream::saying("good"));
    let proxy = breakable(&gone);
    proxy.refuse();
    let servers = [proxy.address(), good.address.parse().unwrap()];
    let mut server = forwarding_to(&backends(&servers, "eject_after = 0"));
    let mut seen_both = 0;
    for round in 0..4 {
        // Nothing was sent, so it may be any request.
        let answer = if round < 2 {
            get(&server)
        } else {
            post(&server)
        };
        assert_eq!(answer.text(), "good", "{round}");
        let line = access_line(&mut server, &answer);
        if line.contains(&format!("upstream=\"{}, {}\"", servers[0], servers[1])) {
            seen_both += 1;
            assert!(line.contains(" uct=\"-, "), "{line}");
            assert!(line.contains(" uhtt=\"-, 0."), "{line}");
            let (_, times) = line.split_once(" urt=\"").unwrap();
            assert!(times.split('"').next().unwrap().contains(", 0."), "{line}");
        } else {
            assert!(
                line.contains(&format!("upstream=\"{}\"", servers[1])),
                "{line}"
            );
        }
    }
    assert_eq!(seen_both, 2, "they take turns");
}

#[test]
fn what_one_server_did_not_answer_another_is_asked_where_that_is_safe() {
    let small = "x".repeat(60 * 1024);
    let large = "x".repeat(100 * 1024);
    for (method, body, status, why) in [
        ("GET", "", 200, "idempotent"),
        ("DELETE", "", 200, "idempotent"),
        (
            "PUT",
            small.as_str(),
            200,
            "idempotent, and its body is kept",
        ),
        (
            "PUT",
            large.as_str(),
            502,
            "more of its body was sent than is kept",
        ),
        ("POST", "hi", 502, "it may have been done"),
        ("PATCH", "hi", 502, "it may have been done"),
    ] {
        let (bad, good) = (rude(), Upstream::saying("good"));
        let server = forwarding_to(&table(&[&bad, &good], ""));
        let length = body.len();
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        assert_eq!(ask(&server, &request).status, status, "{method}: {why}");
        assert_eq!(bad.request().body, body.as_bytes());
        if status == 200 {
            let received = good.request();
            assert_eq!(received.body, body.as_bytes(), "{method}");
            assert_eq!(received.line(), format!("{method} / HTTP/1.1"));
        } else {
            assert!(!good.has_more_requests(), "{method}: {why}");
        }
    }
}

#[test]
fn as_many_are_asked_as_retries_says_and_each_once() {
    for (retries, asked) in [(0, 1), (1, 2), (2, 3), (10, 3)] {
        let bad = [rude(), rude(), rude()];
        let all: Vec<_> = bad.iter().collect();
        let server = forwarding_to(&table(&all, &format!("retries = {retries}")));
        assert_eq!(get(&server).status, 502);
        let requests = bad.iter().filter(|bad| bad.has_more_requests()).count();
        assert_eq!(requests, asked, "retries = {retries}");
    }
}

#[test]
fn nothing_is_asked_again_once_the_client_has_a_part() {
    let bad = Upstream::scripted(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    });
    let good = Upstream::saying("good");
    let server = forwarding_to(&table(&[&bad, &good], ""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.head().status, 200);
    assert_eq!(raw.read_to_end(), b"hello");
    assert!(!good.has_more_requests());
}

#[test]
fn a_body_that_is_sent_again_is_counted_once() {
    let (bad, good) = (rude(), Upstream::saying("good"));
    let server = forwarding_with("max_body = \"40KiB\"", &table(&[&bad, &good], ""));
    let body = "x".repeat(30 * 1024);
    let request = format!(
        "PUT / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_eq!(ask(&server, &request).status, 200);
    assert_eq!(good.request().body, body.as_bytes());

    // The same in chunks, as nobody has said how long it is.
    let chunked = format!(
        "PUT / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n7800\r\n{body}\r\n0\r\n\r\n"
    );
    for _ in 0..2 {
        assert_eq!(ask(&server, &chunked).status, 200);
        assert_eq!(good.request().body, body.as_bytes());
    }
    assert!(bad.has_more_requests(), "it was asked, too");
}

#[test]
fn who_fails_again_and_again_gets_no_requests_until_it_is_back() {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let proxy = breakable(&one);
    let servers = [proxy.address(), two.address.parse().unwrap()];
    let keys = "eject_after = 2\neject_for = \"1s\"";
    let mut server = forwarding_to(&backends(&servers, keys));
    proxy.refuse();
    for _ in 0..6 {
        assert_eq!(get(&server).text(), "two");
    }
    let line = server.line_with("ejected");
    assert!(line.contains(&proxy.address().to_string()), "{line}");
    let answer = get(&server);
    let line = access_line(&mut server, &answer);
    assert!(
        line.contains(&format!("upstream=\"{}\"", servers[1])),
        "{line}"
    );
    proxy.forward();
    let mut answers = Vec::new();
    while !server.log().contains("back again") {
        answers.push(get(&server).text());
        assert!(answers.len() < 100_000, "it never came back");
    }
    for _ in 0..2 {
        answers.push(get(&server).text());
    }
    assert!(answers.iter().rev().take(3).any(|answer| answer == "one"));
}

#[test]
fn the_only_server_is_asked_however_often_it_fails() {
    let one = Upstream::saying("one");
    let proxy = breakable(&one);
    let keys = "eject_after = 1\neject_for = \"1h\"";
    let server = forwarding_to(&backends(&[proxy.address()], keys));
    proxy.refuse();
    for _ in 0..3 {
        assert_eq!(get(&server).status, 502);
    }
    proxy.forward();
    assert_eq!(get(&server).text(), "one");
}

type Fault = fn(&Breakable);

#[test]
fn a_faulty_connection_has_its_status() {
    let waiting = || {
        Upstream::scripted(|connection| {
            connection.request();
            connection.is_closed();
        })
    };
    let faults: [(&str, Fault, u16); 5] = [
        ("refused", Breakable::refuse, 502),
        ("reset", |proxy| proxy.end(Break::Reset), 502),
        ("cut", |proxy| proxy.end(Break::Cut), 502),
        ("half closed", |proxy| proxy.end(Break::HalfClose), 502),
        ("stalled", Breakable::stall, 504),
    ];
    for (fault, apply, status) in faults {
        let upstream = waiting();
        let proxy = breakable(&upstream);
        let keys = "read_timeout = \"1s\"";
        let mut server = forwarding_to(&backends(&[proxy.address()], keys));
        if fault == "refused" {
            proxy.refuse();
        }
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
        if fault != "refused" {
            upstream.request();
            apply(&proxy);
        }
        let answer = raw.answer();
        assert_eq!(answer.status, status, "{fault}");
        let page = answer.header("content-type").unwrap();
        assert_eq!(page, "text/html; charset=utf-8", "{fault}");
        let id = answer.header("x-request-id").unwrap();
        let line = server.line_with(&format!("request_id={id}"));
        assert!(
            line.contains(&proxy.address().to_string()),
            "{fault}: {line}"
        );
    }
}

#[test]
fn a_server_that_does_not_answer_its_health_checks_is_not_well() {
    let silent = Upstream::scripted(|connection| {
        while let Some(head) = connection.head() {
            if head.starts_with("GET /healthz") {
                connection.is_closed();
                return;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsilent");
        }
    });
    let other = Upstream::saying("other");
    let health = "[upstream.health]\npath = \"/healthz\"\ninterval = \"50ms\"\ntimeout = \"300ms\"";
    let mut server = forwarding_to(&table(&[&silent, &other], health));
    let line = server.wait_for_line("unhealthy");
    assert!(line.contains(&silent.address), "{line}");
    assert!(line.contains("no answer within 300ms"), "{line}");
    for _ in 0..4 {
        assert_eq!(get(&server).text(), "other");
    }
}

#[test]
fn a_server_that_is_not_well_gets_no_requests() {
    let well = Arc::new(AtomicBool::new(true));
    let answer = well.clone();
    let patient = Upstream::scripted(move |connection| {
        while let Some(head) = connection.head() {
            let is_check = head.starts_with("GET /healthz?deep ");
            if is_check {
                assert!(
                    head.to_lowercase().contains("host: checks.internal\r\n"),
                    "{head}"
                );
            }
            // Otherwise of the class that is right in general, but not here.
            let status = if is_check && answer.load(Ordering::Relaxed) {
                "204 No Content"
            } else {
                "200 OK"
            };
            let body = if is_check { "" } else { "patient" };
            connection.send(format!(
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            ));
        }
    });
    let other = Upstream::scripted(|connection| {
        while let Some(head) = connection.head() {
            connection.send(if head.starts_with("GET /healthz") {
                "HTTP/1.1 204 No Content\r\n\r\n"
            } else {
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
            });
        }
    });
    let health = "[upstream.health]\npath = \"/healthz?deep\"\nhost = \"checks.internal\"\n\
        status = \"204\"\ninterval = \"50ms\"\ntimeout = \"10s\"";
    let mut server = forwarding_to(&table(&[&patient, &other], health));
    let answers = |server: &Server| -> Vec<_> { (0..4).map(|_| get(server).text()).collect() };
    assert_eq!(
        answers(&server)
            .iter()
            .filter(|text| *text == "patient")
            .count(),
        2
    );
    well.store(false, Ordering::Relaxed);
    let line = server.wait_for_line("unhealthy");
    assert!(
        line.contains(&patient.address) && line.contains("200 OK"),
        "{line}"
    );
    assert_eq!(answers(&server), ["other"; 4]);
    well.store(true, Ordering::Relaxed);
    server.wait_for_line("healthy again");
    assert_eq!(
        answers(&server)
            .iter()
            .filter(|text| *text == "patient")
            .count(),
        2
    );
}

#[test]
fn the_least_busy_server_is_asked() {
    let (go_on, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let busy = Upstream::scripted(move |connection| {
        while connection.request().is_some() {
            let _ = wait.lock().unwrap().recv_timeout(PATIENCE);
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbusy");
        }
    });
    let idle = Upstream::saying("idle");
    let keys = "balance = \"least-connections\"";
    let mut server = forwarding_to(&table(&[&busy, &idle], keys));
    let mut waiting = Raw::connect(server.http.unwrap());
    // Whichever comes first, soon one waits at the busy server.
    waiting.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    if !waiting.is_silent_for(std::time::Duration::from_millis(500)) {
        let answer = waiting.answer();
        assert_eq!(answer.text(), "idle");
        access_line(&mut server, &answer);
        waiting.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    }
    busy.request();
    for _ in 0..5 {
        let answer = get(&server);
        assert_eq!(answer.text(), "idle");
        // Until its line is there it counts as running.
        access_line(&mut server, &answer);
    }
    go_on.send(()).unwrap();
    assert_eq!(waiting.answer().text(), "busy");
}

#[test]
fn a_client_keeps_its_server() {
    let servers = [
        Upstream::saying("one"),
        Upstream::saying("two"),
        Upstream::saying("three"),
    ];
    let all: Vec<_> = servers.iter().collect();
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]";
    let server = forwarding_with(trusted, &table(&all, "balance = \"ip-hash\""));
    let mut homes: HashMap<String, usize> = HashMap::new();
    for client in 0..30 {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.{client}\r\n\r\n"
        );
        let home = ask(&server, &request).text();
        for _ in 0..3 {
            assert_eq!(ask(&server, &request).text(), home, "client {client}");
        }
        *homes.entry(home).or_default() += 1;
    }
    assert_eq!(homes.len(), 3, "{homes:?}");
}

#[test]
fn weights_are_shares() {
    let (one, three) = (Upstream::saying("one"), Upstream::saying("three"));
    let server = forwarding_to(&format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"{}\", \"{} weight=3\"]\n",
        one.address, three.address
    ));
    let answers: Vec<_> = (0..8).map(|_| get(&server).text()).collect();
    let ones = answers.iter().filter(|text| *text == "one").count();
    assert_eq!(ones, 2, "{answers:?}");
}

/// What `clients` saw while one of two servers was killed.
struct Load {
    asked: usize,
    failed: usize,
    /// Those that were asked after the ejection.
    failed_later: usize,
}

/// Asks on `clients` connections until `enough` answers are there, kills one of two servers after
/// half of them, and counts.
fn kill_one_under_load(keys: &str, clients: usize, enough: usize) -> Load {
    let (one, two) = (Upstream::saying("one"), Upstream::saying("two"));
    let proxies = [breakable(&one), breakable(&two)];
    let servers = [proxies[0].address(), proxies[1].address()];
    let server = forwarding_to(&backends(&servers, keys));
    let (asked, failed, later) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let is_ejected = AtomicBool::new(false);
    let address = server.http.unwrap();
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                let mut raw = Raw::connect(address);
                while asked.fetch_add(1, Ordering::SeqCst) < enough {
                    let too_late = is_ejected.load(Ordering::SeqCst);
                    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    let answer = raw.answer();
                    let whole = ["one", "two"].contains(&answer.text().as_str());
                    if answer.status != 200 || !whole {
                        failed.fetch_add(1, Ordering::SeqCst);
                        later.fetch_add(usize::from(too_late), Ordering::SeqCst);
                        raw = Raw::connect(address);
                    }
                }
            });
        }
        while asked.load(Ordering::SeqCst) < enough / 2 {
            thread::yield_now();
        }
        proxies[0].refuse();
        proxies[0].end(Break::Reset);
        while !server.log().contains("ejected") {
            assert!(asked.load(Ordering::SeqCst) < enough, "never ejected");
            thread::yield_now();
        }
        is_ejected.store(true, Ordering::SeqCst);
    });
    Load {
        asked: enough,
        failed: failed.into_inner(),
        failed_later: later.into_inner(),
    }
}

#[test]
fn with_retries_nobody_notices_that_a_server_was_killed() {
    let load = kill_one_under_load("retries = 1\neject_for = \"1h\"", 8, 4000);
    assert_eq!(load.failed, 0, "of {}", load.asked);
}

#[test]
fn without_retries_nothing_fails_after_the_ejection() {
    let load = kill_one_under_load("retries = 0\neject_for = \"1h\"", 8, 4000);
    assert!(load.failed > 0, "or nothing was killed");
    assert_eq!(load.failed_later, 0, "of {}", load.asked);
}
