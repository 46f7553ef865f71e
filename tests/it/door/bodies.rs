//! Request bodies: when they are asked for, how long they may be, how slow.

use std::time::{Duration, Instant};

use super::{connect, edge, get, post};

#[test]
fn a_body_is_called_for_when_the_handler_wants_it() {
    let server = edge("");
    let mut client = connect(&server);
    client.send(post("Expect: 100-continue\r\nContent-Length: 2\r\n"));
    let interim = client.head();
    assert_eq!(interim.status, 100);
    assert_eq!(interim.head.trim_end(), "http/1.1 100 continue");
    assert_eq!(client.send("[]").answer().status, 422);
    assert_eq!(client.send(get("/word/one")).answer().text(), "one");
}

#[test]
fn a_body_that_nobody_wants_is_not_called_for() {
    let server = edge("max_body = \"1KiB\"");
    let text = post("Expect: 100-continue\r\nContent-Length: 2\r\n").replace("json", "xml");
    let large = post("Expect: 100-continue\r\nContent-Length: 2000\r\n");
    let elsewhere = text.replace("/api/notes", "/word/one");
    for (head, status) in [(text, 415), (large, 413), (elsewhere, 200)] {
        let mut client = connect(&server);
        let answer = client.send(head).answer();
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"), "{answer:?}");
        assert_eq!(client.read_to_end(), b"");
    }
}

#[test]
fn http_1_0_gets_no_interim_answer() {
    let server = edge("");
    let mut client = connect(&server);
    let head = post("Expect: 100-continue\r\nContent-Length: 2\r\n").replace("1.1", "1.0");
    assert_eq!(client.send(head + "[]").answer().status, 422);
}

#[test]
fn a_body_announced_too_large_is_refused_before_it_comes() {
    let server = edge("max_body = \"1KiB\"");
    let mut client = connect(&server);
    let answer = client.send(post("Content-Length: 1025\r\n")).answer();
    assert_eq!(answer.status, 413);
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));

    let largest = "\"".to_owned() + &"a".repeat(1022) + "\"";
    let mut client = connect(&server);
    client.send(post("Content-Length: 1024\r\n") + &largest);
    assert_eq!(client.answer().status, 422, "it is within the limit");
}

#[test]
fn chunks_that_become_too_large_are_refused() {
    let server = edge("max_body = \"1KiB\"");
    let chunk = format!("200\r\n{}\r\n", "a".repeat(512));
    let mut client = connect(&server);
    client.send(post("Transfer-Encoding: chunked\r\n") + &chunk.repeat(2) + "1\r\na\r\n");
    let answer = client.answer();
    assert_eq!(answer.status, 413, "{answer:?}");
    assert_eq!(answer.header("connection"), Some("close"));

    let mut client = connect(&server);
    client.send(post("Transfer-Encoding: chunked\r\n") + &chunk.repeat(2) + "0\r\n\r\n");
    assert_eq!(client.answer().status, 400, "within the limit, and no JSON");
}

/// Without care the kernel resets a connection on which unread bytes arrive, and on many a client's
/// machine the reset takes the answer with it. On this one it shows in what can't be sent.
#[test]
fn a_client_that_goes_on_sending_reads_the_whole_refusal() {
    let server = edge("max_body = \"1KiB\"");
    let body = vec![b'a'; 8 * 1024 * 1024];
    let chunked = [b"800000\r\n", &body[..]].concat();
    let length = format!("Content-Length: {}\r\n", body.len());
    for (head, body) in [
        (post(&length), &body),
        (post("Transfer-Encoding: chunked\r\n"), &chunked),
        (post(&length).replace("json", "xml"), &body),
    ] {
        let mut client = connect(&server);
        client.send(head).send_undisturbed(body);
        let answer = client.last_answer();
        assert!([413, 415].contains(&answer.status), "{answer:?}");
        let length = answer.body.len().to_string();
        assert_eq!(
            answer.header("content-length"),
            Some(&*length),
            "{answer:?}"
        );
    }
}

#[test]
fn a_body_that_stops_coming_is_given_up() {
    let server = edge("timeouts = { body_idle = \"1s\" }");
    for head in [
        post("Content-Length: 10\r\n"),
        post("Transfer-Encoding: chunked\r\n") + "a\r\n",
    ] {
        let mut client = connect(&server);
        let start = Instant::now();
        let answer = client.send(head + "12345").last_answer();
        assert_eq!(answer.status, 408, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        let took = start.elapsed();
        assert!((1..20).contains(&took.as_secs()), "{took:?}");
    }
}

#[test]
fn a_slow_body_that_keeps_coming_is_waited_for() {
    let server = edge("timeouts = { body_idle = \"2s\" }");
    let mut client = connect(&server);
    let start = Instant::now();
    client.send(post("Content-Length: 12\r\n"));
    for _ in 0..6 {
        assert!(client.is_silent_for(Duration::from_millis(500)));
        client.send("[]");
    }
    let answer = client.answer();
    assert_eq!(answer.status, 400, "two arrays are no JSON: {answer:?}");
    assert!(
        start.elapsed() > Duration::from_secs(2),
        "longer than body_idle in all"
    );
}

#[test]
fn a_client_that_leaves_in_the_middle_is_noted() {
    let mut server = edge("max_connections = 1");
    let mut client = connect(&server);
    client.send(post("Content-Length: 10\r\n") + "12345");
    drop(client);
    let line = server.wait_for_line("POST /api/notes");
    assert!(line.contains("\" 499 0 "), "{line}");
}
