//! Ready answers: what was said once is said again, and nobody can tell.

mod differences;
mod http2;
mod talk;

use std::fs;
use std::time::{Duration, Instant};

use axum::Router;
use nix::sys::signal::Signal;

use self::talk::Talk;
use crate::support::edge::Edge;
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};

const HELLO: &str = "[[route]]\npath = \"/hello\"\nrespond = { status = 200, body = \"hello\" }";

fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// How many ready answers `edge` has given, once it has noticed that its `connections` ended.
async fn given(edge: &Edge, at_least: u64) -> u64 {
    let start = Instant::now();
    loop {
        let given = edge.figures().ready_answers_given();
        if given >= at_least || start.elapsed() > PATIENCE {
            return given;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_asked_for_again_is_ready_from_then_on() {
    let edge = Edge::with(HELLO, Router::new());
    let mut talk = Talk::plain(&edge).await;
    for _ in 0..10 {
        assert!(talk.ask(&get("/hello"), false).await.ends_with(b"hello"));
    }
    drop(talk);
    // Asked for, asked for again and recorded, given.
    assert_eq!(given(&edge, 8).await, 8);
}

#[tokio::test]
async fn who_may_ask_and_how_often_is_decided_each_time() {
    let edge = Edge::with(
        r#"
        [[rate_limit]]
        name = "few"
        rate = "1/h"
        burst = 4
        [[route]]
        path = "/limited"
        rate_limit = ["few"]
        respond = { status = 200, body = "hello" }
        "#,
        Router::new(),
    );
    let mut talk = Talk::plain(&edge).await;
    for time in 0..8 {
        let answer = talk.ask(&get("/limited"), false).await;
        assert_eq!(answer.starts_with(b"HTTP/1.1 200 "), time < 4, "{time}");
    }
    assert_eq!(edge.figures().ready_answers_bytes(), 0);
}

#[tokio::test]
async fn without_memory_nothing_is_kept() {
    let edge = Edge::with_server("ready_answers = 0", HELLO, Router::new());
    for _ in 0..3 {
        let mut talk = Talk::plain(&edge).await;
        for _ in 0..3 {
            talk.ask(&get("/hello"), false).await;
        }
    }
    let figures = edge.figures();
    assert_eq!(figures.ready_answers_given(), 0);
    assert_eq!(figures.ready_answers_bytes(), 0);
}

#[tokio::test]
async fn hostile_questions_take_no_more_memory_than_is_allowed() {
    let edge = Edge::with_server("ready_answers = \"64KiB\"", HELLO, Router::new());
    let mut talk = Talk::plain(&edge).await;
    for number in 0..1000 {
        let request = get(&format!("/hello?{number}"));
        for _ in 0..2 {
            talk.ask(&request, false).await;
        }
        // What is in use stays.
        for _ in 0..3 {
            talk.ask(&get("/hello"), false).await;
        }
        let bytes = edge.figures().ready_answers_bytes();
        assert!(bytes > 0 && bytes <= 64 * 1024, "{bytes}");
    }
    drop(talk);
    assert!(given(&edge, 2990).await >= 2990);
}

#[tokio::test]
async fn requests_that_come_together_are_answered_in_their_order() {
    let edge = Edge::with(HELLO, Router::new());
    let mut talk = Talk::plain(&edge).await;
    for _ in 0..3 {
        talk.ask(&get("/hello"), false).await;
    }
    let paths = [
        "/hello",
        "/nothing",
        "/hello",
        "/hello",
        "/hello?new",
        "/hello",
    ];
    let requests: Vec<u8> = paths.iter().flat_map(|path| get(path)).collect();
    talk.send(&requests).await;
    for path in paths {
        let answer = String::from_utf8(talk.answer(false).await).unwrap();
        let found = if path == "/nothing" { "404" } else { "200" };
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {found} ")),
            "{path}: {answer}"
        );
    }
    drop(talk);
    assert_eq!(given(&edge, 5).await, 5);
}

#[tokio::test]
async fn a_replaced_file_is_seen_within_a_second() {
    let root = tempfile::tempdir().unwrap();
    let file = root.path().join("page.txt");
    fs::write(&file, "old").unwrap();
    let route = format!("[[route]]\npath = \"/files/\"\nfiles = {:?}", root.path());
    let edge = Edge::with(&route, Router::new());
    let mut talk = Talk::plain(&edge).await;
    for _ in 0..10 {
        assert!(
            talk.ask(&get("/files/page.txt"), false)
                .await
                .ends_with(b"old")
        );
    }
    let new = root.path().join("new");
    fs::write(&new, "new").unwrap();
    fs::rename(new, file).unwrap();
    let replaced = Instant::now();
    while !talk
        .ask(&get("/files/page.txt"), false)
        .await
        .ends_with(b"new")
    {
        assert!(replaced.elapsed() < Duration::from_secs(1));
    }
}

fn server() -> Server {
    Setup::new()
        .database("postgres://nobody@127.0.0.1:1/none")
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\n[tls]\nmode = \"off\"\n\
             [database]\nwait = \"1ms\"\n{HELLO}"
        ))
        .start()
}

#[test]
fn ready_answers_have_the_same_line_in_the_access_log() {
    let mut server = server();
    let mut client = Raw::connect(server.http.unwrap());
    let mut lines = Vec::new();
    for method in ["GET", "HEAD"] {
        for _ in 0..4 {
            client.send(format!(
                "{method} /hello?token=s3cret&a=1 HTTP/1.1\r\nHost: localhost\r\n\
                 User-Agent: a \"browser\"\r\nReferer: https://a.test/?token=s3cret\r\n\r\n"
            ));
            let answer = if method == "HEAD" {
                client.head()
            } else {
                client.answer()
            };
            let line = server.line_with(answer.header("x-request-id").unwrap());
            assert!(line.starts_with("127.0.0.1 - - ["), "{line}");
            let (_, after_time) = line.split_once("] ").unwrap();
            let (said, times) = after_time.split_once(" rt=").unwrap();
            assert!(
                times.contains(" uct=\"-\" uhtt=\"-\" urt=\"-\" upstream=\"-\" id="),
                "{line}"
            );
            lines.push(said.to_owned());
        }
    }
    let expected = |method, bytes| {
        format!(
            "\"{method} /hello?token=***&a=1 HTTP/1.1\" 200 {bytes} \
             \"https://a.test/?token=***\" \"a \\x22browser\\x22\""
        )
    };
    assert_eq!(lines[..4], vec![expected("GET", 5); 4]);
    assert_eq!(lines[4..], vec![expected("HEAD", 0); 4]);
}

#[test]
fn at_shutdown_a_request_under_way_is_told_that_the_connection_closes() {
    let mut server = server();
    let mut client = Raw::connect(server.http.unwrap());
    for _ in 0..4 {
        client.send(get("/hello"));
        assert_eq!(client.answer().header("connection"), Some("keep-alive"));
    }
    let request = get("/hello");
    let (start, rest) = request.split_at(20);
    // Its first bytes have come: they were sent before another's answer was.
    client.send(start);
    let mut other = Raw::connect(server.http.unwrap());
    other.send(get("/hello"));
    other.answer();
    server.signal(Signal::SIGTERM);
    // It is idle, so it is closed as soon as the server stops.
    assert!(other.read_to_end().is_empty());
    client.send(rest);
    let last = client.last_answer();
    assert_eq!((last.status, last.text().as_str()), (200, "hello"));
    assert_eq!(last.header("connection"), Some("close"));
    assert!(server.wait().success());
}
