//! Upstreams that are not there, say nothing, or nonsense.

use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{access_line, forwarding_to, forwarding_with};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};
use crate::support::upstream::{Upstream, table};

fn ask(server: &Server, accept: &str) -> crate::support::raw::RawAnswer {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
    ));
    raw.answer()
}

/// An address where nothing listens.
fn nobody() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

fn backend(server: &str, keys: &str) -> String {
    format!("[[upstream]]\nname = \"backend\"\nservers = [\"{server}\"]\n{keys}\n")
}

#[test]
fn a_refused_connection_is_502_as_page_or_problem() {
    let mut server = forwarding_to(&backend(&nobody().to_string(), ""));
    let page = ask(&server, "text/html,*/*;q=0.8");
    assert_eq!(page.status, 502);
    assert_eq!(
        page.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert!(text.contains("502 Bad Gateway"), "{text}");
    let id = page.header("x-request-id").unwrap();
    assert!(text.contains(id), "the page names the request: {text}");
    assert!(
        !text.contains("127.0.0.1"),
        "and nothing from inside: {text}"
    );

    let problem = ask(&server, "application/json");
    assert_eq!(problem.status, 502);
    assert_eq!(
        problem.header("content-type"),
        Some("application/problem+json")
    );
    let problem: serde_json::Value = serde_json::from_slice(&problem.body).unwrap();
    assert_eq!(problem["status"], 502);

    let line = access_line(&mut server, &page);
    assert!(line.contains("\" 502 "), "{line}");
    assert!(line.contains("uhtt=\"-\""), "{line}");
    assert!(!line.contains("urt=\"-\""), "it was tried: {line}");
    assert!(server.log().contains("request failed"), "{}", server.log());
}

#[test]
fn a_socket_that_is_not_there_is_502() {
    let server = forwarding_to(&backend("unix:/nonexistent/app.sock", ""));
    assert_eq!(ask(&server, "*/*").status, 502);
}

#[test]
fn no_answer_within_read_timeout_is_504() {
    let upstream = Upstream::scripted(|connection| {
        connection.request();
        connection.is_closed();
    });
    let mut server = forwarding_to(&upstream.table("read_timeout = \"500ms\""));
    let asked = Instant::now();
    let answer = ask(&server, "text/html");
    assert_eq!(answer.status, 504);
    assert!(asked.elapsed() >= Duration::from_millis(500));
    assert!(asked.elapsed() < PATIENCE / 2);
    let line = access_line(&mut server, &answer);
    assert!(
        line.contains("uhtt=\"-\" urt=\"0.") || line.contains("urt=\"1."),
        "{line}"
    );
}

#[test]
fn no_connection_within_connect_timeout_is_504() {
    let full = FullListener::new();
    let server = forwarding_to(&backend(
        &full.address.to_string(),
        "connect_timeout = \"500ms\"",
    ));
    let asked = Instant::now();
    assert_eq!(ask(&server, "*/*").status, 504);
    assert!(asked.elapsed() >= Duration::from_millis(500));
    assert!(asked.elapsed() < PATIENCE / 2);
}

/// Not even one that may fail only once.
#[test]
fn a_client_that_takes_its_time_is_no_failure_of_the_server() {
    let upstream = Upstream::scripted(|connection| {
        if connection
            .head()
            .is_some_and(|head| head.starts_with("POST"))
        {
            // What has come of the body, and then the end.
            while !connection.is_closed() {}
        } else {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup");
        }
    });
    let keys = "read_timeout = \"500ms\"\neject_after = 1\neject_for = \"1h\"";
    let mut server = super::forwarding_to(&upstream.table(keys));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(raw.answer().status, 504);
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(raw.answer().text(), "up");
    assert!(!server.log().contains("ejected"), "{}", server.log());

    // The whole of it, and no answer: that is the server's.
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nhalf");
    assert_eq!(raw.answer().status, 504);
    server.line_with("ejected");
}

#[test]
fn a_body_that_is_not_taken_within_send_timeout_is_504() {
    let upstream = Upstream::scripted(|connection| {
        connection.head();
        // Whoever waits has given up when this ends.
        std::thread::park_timeout(PATIENCE);
    });
    // Pingora listens for an answer that may have come early before it gives up.
    let keys = "send_timeout = \"500ms\"\nread_timeout = \"3s\"";
    let mut server = super::forwarding_with("max_body = \"1GiB\"", &upstream.table(keys));
    let mut raw = Raw::connect(server.http.unwrap());
    let length: usize = 64 << 20;
    raw.send(format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
    ));
    let mut sender = Raw(raw.0.try_clone().unwrap());
    let sending = std::thread::spawn(move || {
        sender.send(vec![b'x'; length]);
    });
    let answer = raw.answer();
    assert_eq!(answer.status, 504);
    let id = answer.header("x-request-id").unwrap();
    let line = server.line_with(&format!("request_id={id}"));
    assert!(line.contains("WriteTimedout"), "{line}");
    drop(raw);
    sending.join().unwrap();
}

/// A listener that accepts nobody and whose queue is full, so that connecting takes for ever.
struct FullListener {
    address: SocketAddr,
    _listener: socket::Listener,
    _queued: Vec<TcpStream>,
}

impl FullListener {
    fn new() -> Self {
        let listener = socket::Listener::with_backlog(1);
        let address = listener.address();
        let mut queued = Vec::new();
        while let Ok(stream) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            queued.push(stream);
            assert!(queued.len() < 100, "the queue never fills");
        }
        Self {
            address,
            _listener: listener,
            _queued: queued,
        }
    }
}

mod socket {
    //! A listener whose queue has the length the test wants.

    use std::net::SocketAddr;

    use tokio::net::{TcpListener, TcpSocket};
    use tokio::runtime::Runtime;

    pub(super) struct Listener {
        listener: TcpListener,
        _runtime: Runtime,
    }

    impl Listener {
        pub(super) fn with_backlog(length: u32) -> Self {
            let runtime = Runtime::new().unwrap();
            let entered = runtime.enter();
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(length).unwrap();
            drop(entered);
            Self {
                listener,
                _runtime: runtime,
            }
        }

        pub(super) fn address(&self) -> SocketAddr {
            self.listener.local_addr().unwrap()
        }
    }
}

#[test]
fn an_upstream_that_closes_or_talks_nonsense_is_502() {
    for (why, answer) in [
        ("closes without a word", ""),
        ("speaks another protocol", "SSH-2.0-OpenSSH_9.2\r\n"),
        ("closes in the head", "HTTP/1.1 200 OK\r\nContent-Le"),
        (
            "contradicts itself",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        ),
    ] {
        let upstream = Upstream::scripted(move |connection| {
            connection.request();
            connection.send(answer);
        });
        let server = forwarding_to(&upstream.table(""));
        assert_eq!(ask(&server, "*/*").status, 502, "it {why}");
    }
}

#[test]
fn a_post_is_sent_once_however_it_fails() {
    let upstream = Upstream::scripted(|connection| {
        connection.request();
    });
    let server = forwarding_to(&upstream.table(""));
    for (body, read) in [
        ("Content-Length: 2\r\n\r\nab", "ab"),
        ("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""),
    ] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!("POST / HTTP/1.1\r\nHost: localhost\r\n{body}"));
        assert_eq!(raw.answer().status, 502);
        assert_eq!(upstream.request().body, read.as_bytes());
        assert!(!upstream.has_more_requests(), "it may have been acted on");
    }
}

#[test]
fn a_server_that_breaks_off_in_the_middle_has_failed() {
    let upstream = Upstream::scripted(|connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let server = Setup::new()
        .admin()
        .plain()
        .config(&format!(
            "{}[[route]]\npath = \"/\"\nupstream = \"backend\"\n",
            upstream.table("")
        ))
        .start();
    let failed = || {
        let said = server.ask(&["status", "--json"]);
        let status: Value = serde_json::from_slice(&said.stdout).unwrap();
        status["upstreams"][0]["servers"][0]["failed"].as_u64()
    };
    for count in 1..=2 {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.last_answer().text(), "half");
        assert_eq!(failed(), Some(count));
    }
}

/// Takes its time for the head, and as long again for the body.
fn slow_by(pause: Duration) -> Upstream {
    Upstream::scripted(move |connection| {
        while connection.request().is_some() {
            sleep(pause);
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
            sleep(pause);
            connection.send("slow");
        }
    })
}

#[test]
fn the_log_tells_the_times_of_the_upstream() {
    let pause = 0.2;
    let upstream = slow_by(Duration::from_secs_f64(pause));
    // One worker: with several, Pingora's pool sometimes loses a connection to a race.
    let mut server = forwarding_with("workers = 1", &upstream.table(""));
    for is_first in [true, false] {
        let answer = ask(&server, "*/*");
        let line = access_line(&mut server, &answer);
        let time = |name: &str| {
            let (_, rest) = line.split_once(&format!(" {name}=")).expect(name);
            let rest = rest.trim_start_matches('"');
            let end = rest.find([' ', '"']).unwrap();
            rest[..end].parse::<f64>().ok()
        };
        let [rt, uhtt, urt] = ["rt", "uhtt", "urt"].map(|name| time(name).expect(name));
        assert!(uhtt >= pause, "to the head: {line}");
        assert!(urt >= uhtt + pause * 0.9, "and the body: {line}");
        assert!(rt >= urt - 0.001, "all of it: {line}");
        let uct = time("uct");
        assert_eq!(
            uct.is_some(),
            is_first,
            "the second time it is kept: {line}"
        );
        assert!(
            uct.unwrap_or_default() < pause,
            "before anything was asked: {line}"
        );
    }
}

#[test]
fn json_has_the_times_of_each_try() {
    let pause = 0.2;
    let (rude, slow) = (
        Upstream::scripted(|connection| {
            connection.request();
        }),
        slow_by(Duration::from_secs_f64(pause)),
    );
    let log = "[log]\naccess = \"json\"\n";
    let mut server = forwarding_to(&format!("{log}{}", table(&[&rude, &slow], "")));
    let answer = ask(&server, "*/*");
    assert_eq!(answer.status, 200);
    let id = answer.header("x-request-id").unwrap().to_owned();
    let line = server.wait_for_line(&format!("\"request_id\":\"{id}\""));
    let line: Value = serde_json::from_str(&line).unwrap();
    let tries = line["upstream"].as_array().unwrap();
    let servers: Vec<_> = tries
        .iter()
        .map(|each| each["server"].as_str().unwrap())
        .collect();
    assert_eq!(servers, [&rude.address, &slow.address], "{line}");
    assert_eq!(tries[0]["uhtt"], Value::Null, "{line}");
    let [uhtt, urt] = ["uhtt", "urt"].map(|name| tries[1][name].as_f64().unwrap());
    assert!(uhtt >= pause && urt >= uhtt + pause * 0.9, "{line}");
    for name in ["uct", "uhtt", "urt"] {
        assert_eq!(
            line[name], tries[1][name],
            "of the answer that came: {line}"
        );
    }
}
