//! One connection, several requests.

use std::net::Shutdown;

use super::{connect, edge, get, post};
use crate::support::server::Setup;

#[test]
fn a_connection_lives_on() {
    let server = edge("");
    let mut client = connect(&server);
    for path in ["/healthz", "/word/one", "/nothing", "/healthz"] {
        let answer = client.send(get(path)).answer();
        assert_eq!(answer.header("connection"), Some("keep-alive"), "{path}");
        assert_eq!(answer.status, if path == "/nothing" { 404 } else { 200 });
    }
}

#[test]
fn whoever_says_close_has_the_last_answer() {
    let server = edge("");
    for lines in [
        "Connection: close\r\n",
        "connection: CLOSE\r\n",
        "Connection: keep-alive, close\r\n",
        "Connection: x , close,\r\n",
        "Connection: keep-alive\r\nConnection: close\r\n",
        "Connection: x\r\nConnection: y, close\r\n",
        "Connection: close\r\nConnection: keep-alive\r\n",
    ] {
        for path in ["/healthz", "/word/one"] {
            let mut client = connect(&server);
            client.send(format!(
                "GET {path} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"
            ));
            let answer = client.last_answer();
            assert_eq!(
                answer.header("connection"),
                Some("close"),
                "{path}, {lines}"
            );
        }
    }
}

#[test]
fn requests_sent_at_once_are_answered_in_their_order() {
    let server = edge("");
    let mut client = connect(&server);
    let words = ["one", "two", "three", "two", "one"];
    let requests: String = words.map(|word| get(&format!("/word/{word}"))).concat();
    client.send(requests.repeat(20));
    for _ in 0..20 {
        for word in words {
            assert_eq!(client.answer().text(), word);
        }
    }
    // The app's requests watch the client while they run; what it sends early must not end them.
    client.send((get("/healthz") + &get("/api")).repeat(20));
    for _ in 0..20 {
        assert!(client.answer().text().contains("ok"));
        assert!(client.answer().text().contains("message"));
    }
}

#[test]
fn requests_sent_before_the_client_closed_its_side_are_answered() {
    let server = edge("");
    let mut client = connect(&server);
    client.send(get("/healthz") + &get("/word/two"));
    client.0.shutdown(Shutdown::Write).unwrap();
    assert!(client.answer().text().contains("ok"));
    assert_eq!(client.answer().text(), "two");
    assert_eq!(client.read_to_end(), b"");
}

#[test]
fn a_body_ends_where_its_length_says() {
    let server = edge("");
    let mut client = connect(&server);
    // Were the body longer or shorter, `GET` would be part of it or the rest a broken request.
    client.send(post("Content-Length: 2\r\n") + "[]" + &get("/word/one") + &get("/word/two"));
    assert_eq!(client.answer().status, 422);
    assert_eq!(client.answer().text(), "one");
    assert_eq!(client.answer().text(), "two");
}

#[test]
fn a_request_in_a_body_is_no_request() {
    let server = edge("");
    let mut client = connect(&server);
    let hidden = get("/word/one");
    client.send(post(&format!("Content-Length: {}\r\n", hidden.len())) + &hidden);
    assert_eq!(client.answer().status, 400, "it is no JSON");
    assert_eq!(client.send(get("/word/two")).answer().text(), "two");
}

#[test]
fn a_connection_lives_on_after_chunks() {
    let server = edge("");
    let mut client = connect(&server);
    for body in [
        "2\r\n[]\r\n0\r\n\r\n",
        "1\r\n[\r\n1\r\n]\r\n0\r\n\r\n",
        "1;x=y\r\n[\r\n1\r\n]\r\n0\r\nTrailer: x\r\n\r\n",
    ] {
        client.send(post("Transfer-Encoding: chunked\r\n") + body);
        let answer = client.answer();
        assert_eq!(answer.status, 422, "{body:?}: {answer:?}");
        assert_eq!(
            client.send(get("/word/one")).answer().text(),
            "one",
            "{body:?}"
        );
    }
}

#[test]
fn what_follows_chunks_at_once_is_answered() {
    let server = edge("");
    let mut client = connect(&server);
    let body = "2\r\n[]\r\n0\r\n\r\n";
    client.send(post("Transfer-Encoding: chunked\r\n") + body + &get("/word/one"));
    assert_eq!(client.answer().status, 422);
    assert_eq!(client.answer().text(), "one");
}

#[test]
fn an_early_request_does_not_disturb_the_one_before() {
    let server = Setup::new()
        .config("[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\n[tls]\nmode = \"off\"\n")
        .start();
    let database = server.database.as_ref().unwrap();
    let body = "{\"title\":\"milk\"}";
    let whole = post(&format!("Content-Length: {}\r\n", body.len())) + body;
    let chunked = post("Transfer-Encoding: chunked\r\n")
        + &format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    for (request, status) in [
        (get("/api/notes"), 200),
        (whole, 201),
        (chunked, 201),
        (
            get("/api/notes").replace("Host", "Upgrade: h2c\r\nHost"),
            200,
        ),
        (
            get("/api/notes").replace("Host", "Upgrade: websocket\r\nHost"),
            200,
        ),
    ] {
        let mut client = connect(&server);
        let lock = database.lock_notes();
        client.send(request);
        database.wait_for_waiting(1);
        client.send(get("/healthz"));
        // Answered on another connection: the server has had its time to read the early one.
        assert_eq!(connect(&server).send(get("/healthz")).answer().status, 200);
        drop(lock);
        assert_eq!(client.answer().status, status);
        assert_eq!(client.answer().status, 200);
    }
}

#[test]
fn broken_chunks_end_the_connection() {
    let server = edge("");
    for body in [
        "0x2\r\n[]\r\n0\r\n\r\n",
        "2\n[]\n0\n\n",
        "-2\r\n[]\r\n0\r\n\r\n",
        "2\r\n[]0\r\n\r\n",
        "fffffffffffffffff\r\n[]",
        "x\r\n",
        "\r\n[]\r\n0\r\n\r\n",
    ] {
        // With the head, or when its request is under way.
        for waits in [false, true] {
            let mut client = connect(&server);
            let head = post(if waits {
                "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
            } else {
                "Transfer-Encoding: chunked\r\n"
            });
            let rest = format!("{body}{}", get("/word/one"));
            if waits {
                assert_eq!(client.send(head).head().status, 100);
                client.send(rest);
            } else {
                client.send(head + &rest);
            }
            let answer = client.last_answer();
            assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
            assert_eq!(answer.header("connection"), Some("close"), "{body:?}");
            assert!(!answer.text().contains("one"), "{body:?}: {answer:?}");
        }
    }
}

#[test]
fn a_connection_ends_when_the_client_wants_it_to() {
    let server = edge("");
    let mut client = connect(&server);
    client.send("GET /word/one HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = client.last_answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn http_1_0_keeps_a_connection_only_on_request() {
    let server = edge("");
    for (path, text) in [("/word/one", "one"), ("/healthz", "{\"ok\":true}")] {
        let start = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n");
        let answer = connect(&server).send(format!("{start}\r\n")).last_answer();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("connection"), Some("close"));
        assert_eq!(answer.header("transfer-encoding"), None);
        assert_eq!(answer.text().trim_end(), text);

        let mut client = connect(&server);
        for _ in 0..2 {
            client.send(format!("{start}Connection: keep-alive\r\n\r\n"));
            let answer = client.answer();
            assert_eq!(answer.header("connection"), Some("keep-alive"));
            assert_eq!(answer.text().trim_end(), text);
        }
    }
}

#[test]
fn http_1_0_without_a_host_is_for_a_server_that_takes_any() {
    let server = edge("");
    let mut client = connect(&server);
    assert_eq!(
        client
            .send("GET /word/one HTTP/1.0\r\n\r\n")
            .last_answer()
            .status,
        421
    );
}

#[test]
fn head_tells_of_a_body_and_brings_none() {
    let server = edge("");
    let mut client = connect(&server);
    for path in ["/word/three", "/healthz", "/nothing"] {
        let whole = client.send(get(path)).answer();
        let head = client.send(get(path).replacen("GET", "HEAD", 1)).head();
        assert_eq!(head.status, whole.status);
        assert_eq!(
            head.header("content-length"),
            whole.header("content-length")
        );
        assert_eq!(head.header("content-type"), whole.header("content-type"));
    }
    assert_eq!(client.send(get("/word/one")).answer().text(), "one");
}

#[test]
fn absolute_form_means_the_same() {
    let server = edge("");
    let mut client = connect(&server);
    for target in ["http://localhost/word/one", "HTTP://localhost/word/one"] {
        assert_eq!(client.send(get(target)).answer().text(), "one", "{target}");
    }
    let answer = client.send(get("http://localhost")).answer();
    assert_eq!(answer.status, 404, "the app has no page there: {answer:?}");
}

#[test]
fn options_of_the_server_itself_are_answered() {
    let server = edge("");
    let mut client = connect(&server);
    let answer = client
        .send("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .answer();
    assert_eq!(answer.status, 204);
    assert!(answer.header("allow").unwrap().contains("get"));
}

#[test]
fn a_stray_line_end_between_requests_is_skipped() {
    let server = edge("");
    let mut client = connect(&server);
    client.send(get("/word/one") + "\r\n" + &get("/word/two"));
    assert_eq!(client.answer().text(), "one");
    assert_eq!(client.answer().text(), "two");
    client.send("\r").send("\n").send(get("/word/three"));
    assert_eq!(client.answer().text(), "three");
}

#[test]
fn a_host_that_is_not_served_is_sent_elsewhere() {
    let server = edge("");
    let mut client = connect(&server);
    client.send("GET /word/one HTTP/1.1\r\nHost: other.test\r\n\r\n");
    assert_eq!(client.answer().status, 421);
    assert_eq!(client.send(get("/word/one")).answer().text(), "one");
}
