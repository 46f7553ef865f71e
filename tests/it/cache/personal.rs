//! Answers that are each user's own, of apps that have every use confirmed and so need not say `private`.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use axum::Router;

use super::origin::Gate;
use super::outcome;
use crate::support::edge::Edge;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::PATIENCE;
use crate::support::upstream::{Connection, Upstream};

/// An app that greets whoever asks for `/me` by what the header `by` says, and tells each time. The first
/// who asks has to wait for the gate.
fn greeting(by: &'static str, control: &'static str, gate: &Gate) -> (Receiver<()>, Edge) {
    let first = Mutex::new(Some(gate.clone()));
    let (tells, told) = channel();
    let greet = move |connection: &mut Connection| {
        while let Some(head) = connection.head() {
            let value = |name: &str| {
                head.lines().find_map(|line| {
                    let (found, value) = line.split_once(": ")?;
                    found.eq_ignore_ascii_case(name).then(|| value.to_owned())
                })
            };
            // The test may have seen enough.
            let _ = tells.send(());
            let gate = first.lock().unwrap().take();
            if let Some(gate) = gate {
                gate.pass();
            }
            let who = value(by).unwrap_or_default();
            let tag = format!("\"{who}\"");
            let fields = format!("ETag: {tag}\r\nCache-Control: {control}\r\n");
            connection.send(if value("if-none-match") == Some(tag) {
                format!("HTTP/1.1 304 X\r\n{fields}\r\n")
            } else {
                let length = who.len();
                format!("HTTP/1.1 200 X\r\n{fields}Content-Length: {length}\r\n\r\n{who}")
            });
        }
    };
    let upstream = Upstream::scripted(greet);
    let route = "[[route]]\npath = \"/me\"\nupstream = \"backend\"\ncache = {}\n";
    let tables = format!("{}{route}", upstream.table(""));
    let edge = Edge::with_server("", &tables, Router::new());
    (told, edge)
}

fn ask(edge: &Edge, path: &str, fields: &str) -> Raw {
    let mut raw = Raw::connect(edge.http);
    raw.send(format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\n{fields}Connection: close\r\n\r\n"
    ));
    raw
}

#[test]
fn each_gets_a_page_of_his_own_however_many_ask_together() {
    let must = "max-age=0, must-revalidate";
    for (by, control, why) in [
        ("Cookie", "no-cache", "RFC 9111, 5.2.2.4"),
        ("Cookie", "max-age=0", "4.2"),
        ("Cookie", "max-age=0, stale-if-error=60", "RFC 5861, 4"),
        (
            "Authorization",
            "no-cache, public",
            "3.5 allows that it is kept",
        ),
        ("Authorization", must, "3.5 too"),
        (
            "X-Api-Key",
            "no-cache",
            "what nobody here knows to be a credential",
        ),
    ] {
        let gate = Gate::default();
        let (asked, edge) = greeting(by, control, &gate);
        let asking = |who: &str| ask(&edge, "/me", &format!("{by}: {who}\r\n"));
        let mut anna = asking("anna");
        asked.recv_timeout(PATIENCE).unwrap();
        // Both wait for hers: what is sent after them is answered before.
        let others = ["bert", "carl", "dora", "emil"].map(|who| (who, asking(who)));
        assert_eq!(ask(&edge, "/other", "").last_answer().status, 404);
        gate.open();
        assert_eq!(anna.last_answer().text(), "anna", "{by}, {control}: {why}");
        let told = others.map(|(who, mut raw)| thread::spawn(move || (who, raw.last_answer())));
        let is_own = |(who, answer): (&str, RawAnswer)| {
            assert_eq!(answer.text(), who, "{by}, {control}: {why}");
            assert_ne!(outcome(&answer), "hit", "{by}, {control}: {why}");
        };
        for told in told {
            is_own(told.join().unwrap());
        }
        // Nor does anything of it stay.
        for who in ["anna", "bert", "anna"] {
            is_own((who, asking(who).last_answer()));
        }
        assert_eq!(
            ask(&edge, "/me", "").last_answer().text(),
            "",
            "{by}: {why}"
        );
    }
}
