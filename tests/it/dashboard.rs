//! The dashboard's files and its stream, without a browser.

use std::io::{BufRead, BufReader, Lines};
use std::net::TcpStream;

use serde_json::Value;

use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};

/// What the admin listener gives at once; the dashboard's part of it.
const SEATS: usize = 16;

/// A stream of figures.
struct Figures(Lines<BufReader<TcpStream>>);

/// What it says.
#[derive(Debug, PartialEq)]
enum Event {
    Figures(Value),
    End(String),
    /// The connection is closed.
    Silence,
}

impl Figures {
    fn of(server: &Server) -> Self {
        let mut raw = Raw::connect(server.admin.unwrap());
        raw.send("GET /dashboard/events HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let head = raw.head();
        assert_eq!(head.status, 200);
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        assert_eq!(head.header("cache-control"), Some("no-store"));
        Self(BufReader::new(raw.0).lines())
    }

    fn next(&mut self) -> Event {
        let mut is_end = false;
        for line in self.0.by_ref().map_while(Result::ok) {
            is_end |= line == "event: end";
            if let Some(data) = line.strip_prefix("data: ") {
                return if is_end {
                    Event::End(data.to_owned())
                } else {
                    Event::Figures(serde_json::from_str(data).unwrap())
                };
            }
        }
        Event::Silence
    }

    #[track_caller]
    fn figures(&mut self) -> Value {
        match self.next() {
            Event::Figures(figures) => figures,
            other => panic!("{other:?}"),
        }
    }
}

fn ask(server: &Server, path: &str, headers: &str) -> crate::support::raw::RawAnswer {
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
    Raw::connect(server.admin.unwrap())
        .send(request)
        .last_answer()
}

fn visit(server: &Server, count: usize) {
    let mut visitor = Raw::connect(server.http.unwrap());
    for _ in 0..count {
        visitor.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(visitor.answer().status, 200);
    }
}

fn admin() -> Setup {
    Setup::new().admin().plain()
}

#[test]
fn figures_are_told_at_once_and_then_as_they_come() {
    let server = admin().start();
    let mut figures = Figures::of(&server);
    let first = figures.figures();
    assert_eq!(first["host"], "localhost");
    assert_eq!(first["status"]["troubles"], serde_json::json!([]));
    visit(&server, 50);
    // They fall into one of the next points; each event has those that were not told before.
    let mut answered = 0.0;
    let mut newest = 0;
    while answered == 0.0 {
        for point in figures.figures()["points"].as_array().unwrap() {
            assert!(
                point["at"].as_u64().unwrap() > newest,
                "{point} is told again"
            );
            newest = point["at"].as_u64().unwrap();
            answered += point["rates"][1].as_f64().unwrap();
        }
    }
    // What was told first may be from the midst of the visit.
    let mut minutes = (0..10).map(|_| figures.figures()["status"]["traffic"]["last_minute"].take());
    let minute = minutes.find(|minute| minute["classes"]["2xx"] == 50);
    let minute = minute.expect("fifty in the last minute");
    assert!(minute["p50"].as_f64().unwrap() > 0.0, "{minute}");

    // Who comes later hears of it as well.
    let all = Figures::of(&server).figures();
    let points = all["points"].as_array().unwrap();
    let rates = points
        .iter()
        .map(|point| point["rates"][1].as_f64().unwrap());
    assert!(rates.sum::<f64>() > 0.0, "{points:?}");
    let point = points.last().unwrap();
    assert_eq!(point["pool"]["max"], 10);
    assert!(point["memory"].as_u64().unwrap() > 1 << 20);
}

#[test]
fn the_seventeenth_stream_takes_the_place_of_the_first_and_a_scraper_has_its_own() {
    let server = admin().start();
    let mut streams: Vec<_> = (0..SEATS).map(|_| Figures::of(&server)).collect();
    for stream in &mut streams {
        stream.figures();
    }
    let mut late = Figures::of(&server);
    late.figures();
    let mut first = streams.remove(0);
    let end = loop {
        match first.next() {
            Event::Figures(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Event::End("crowded".into()));
    assert_eq!(first.next(), Event::Silence);
    for stream in &mut streams {
        stream.figures();
    }
    assert_eq!(ask(&server, "/metrics", "").status, 200);
}

#[test]
fn streams_end_with_the_server_and_hold_up_nothing() {
    let mut server = admin().start();
    let mut figures = Figures::of(&server);
    figures.figures();
    let address = server.admin.unwrap();
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let end = loop {
        match figures.next() {
            Event::Figures(_) => {}
            end => break end,
        }
    };
    assert_eq!(end, Event::End("stopped".into()));
    assert!(server.ends_within(PATIENCE).is_some());
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn the_page_loads_nothing_from_elsewhere_and_is_framed_by_nobody() {
    let server = admin().start();
    for (path, content_type) in [
        ("/", "text/html; charset=utf-8"),
        ("/dashboard/main.js", "text/javascript; charset=utf-8"),
        ("/dashboard/page.css", "text/css; charset=utf-8"),
        ("/dashboard/icon.svg", "image/svg+xml"),
    ] {
        let answer = ask(&server, path, "");
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        for part in ["default-src 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(answer.header("x-frame-options"), Some("deny"), "{path}");
        let policy = answer.header("cross-origin-resource-policy");
        assert_eq!(policy, Some("same-origin"), "{path}");
        assert!(!answer.text().contains("https://"), "{path}");
    }
    assert_eq!(ask(&server, "/dashboard/page.html", "").status, 404);
}

#[test]
fn other_sites_get_no_seat() {
    let server = admin().start();
    for (headers, why) in [
        ("Origin: https://evil.example\r\n", "a script"),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: image\r\n",
            "a picture",
        ),
        (
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: iframe\r\n",
            "a frame",
        ),
    ] {
        for path in ["/", "/dashboard/events"] {
            assert_eq!(ask(&server, path, headers).status, 403, "{why}: {path}");
        }
    }
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Dest: document\r\n";
    assert_eq!(ask(&server, "/", link).status, 200, "a link");
}
