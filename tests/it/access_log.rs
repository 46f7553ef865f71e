//! One line for each exchange, whichever way it ended.

use serde_json::Value;

use crate::support::api::Api;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};

#[tokio::test]
async fn each_answer_has_a_line_in_the_combined_format_with_times_and_id() {
    let mut server = Server::start();
    let (http1, http2) = (Api::http1(&server), Api::http2(&server));
    for (api, version, path, status) in [
        (&http1, "HTTP/1.1", "/api/notes?limit=5", 200),
        (&http2, "HTTP/2.0", "/api/notes?limit=5", 200),
        (&http2, "HTTP/2.0", "/", 200),
        (&http1, "HTTP/1.1", "/nothing", 404),
    ] {
        let request = api
            .request("GET", path)
            .header("user-agent", "a \"browser\"")
            .header("referer", "https://example.com/from");
        let answer = api.send(request).await;
        assert_eq!(answer.status, status, "{path}");
        let line = line_of(&mut server, answer.header("x-request-id"));
        assert_eq!(line.request, format!("GET {path} {version}"));
        assert_eq!(line.status, status);
        assert_eq!(line.bytes, answer.body.len(), "{path}");
        assert_eq!(line.referer, "https://example.com/from");
        assert_eq!(line.user_agent, "a \\x22browser\\x22");
        assert!(line.took <= answer.took.as_secs_f64() + 0.001, "{path}");
    }
}

#[tokio::test]
async fn redirects_and_refused_heads_have_theirs() {
    let mut server = Server::start();
    let address = server.http.unwrap();

    let mut raw = Raw::connect(address);
    raw.send("GET /notes?a=1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let redirect = raw.last_answer();
    assert_eq!(redirect.status, 301);
    let line = line_of(&mut server, redirect.header("x-request-id").unwrap());
    assert_eq!(line.request, "GET /notes?a=1 HTTP/1.1");
    assert_eq!((line.status, line.bytes), (301, redirect.body.len()));

    let mut raw = Raw::connect(address);
    raw.send("GET /secret HTTP/1.1\r\nHost: localhost\r\nX: a\nb\r\n\r\n");
    let refused = raw.last_answer();
    assert_eq!(refused.status, 400);
    let line = line_of(&mut server, refused.header("x-request-id").unwrap());
    assert_eq!(line.request, "-", "there was no request that could be read");
    assert_eq!((line.status, line.bytes), (400, refused.body.len()));
}

#[tokio::test]
async fn a_client_that_leaves_is_499() {
    let mut server = Setup::new().plain().start();
    let lock = server.database.as_ref().unwrap().lock_notes();
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("GET /api/notes HTTP/1.1\r\nHost: localhost\r\nUser-Agent: short\r\n\r\n");
    server.database.as_ref().unwrap().wait_for_waiting(1);
    drop(raw);
    let line = Line::parse(&server.wait_for_line("\"short\""));
    assert_eq!((line.status, line.bytes), (499, 0));
    assert_eq!(line.request, "GET /api/notes HTTP/1.1");
    assert!(!server.log().contains(" WARN "), "{}", server.log());
    drop(lock);
}

#[tokio::test]
async fn a_client_that_resets_its_stream_is_499() {
    let mut server = Server::start();
    let api = Api::http2(&server);
    api.create_note("the connection is there").await;
    let database = server.database.as_ref().unwrap();
    let lock = database.lock_notes();
    let request = api
        .request("GET", "/api/notes")
        .header("user-agent", "short");
    tokio::select! {
        answer = api.send(request) => panic!("{answer:?}"),
        () = database.waiting(1) => {}
    }
    // The connection stays and goes on.
    assert_eq!(api.get("/healthz").await.status, 200);
    let line = Line::parse(&server.wait_for_line("\"short\""));
    assert_eq!((line.status, line.bytes), (499, 0));
    drop(lock);
}

#[tokio::test]
async fn json_lines_have_the_same_facts() {
    let mut server = Setup::new()
        .config("[log]\nformat = \"json\"\naccess = \"json\"")
        .start();
    let api = Api::http2(&server);
    let answer = api.get("/api/notes?limit=5").await;
    let line = server.line_with(answer.header("x-request-id"));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["method"], "GET");
    assert_eq!(line["target"], "/api/notes?limit=5");
    assert_eq!(line["version"], "HTTP/2.0");
    assert_eq!(line["status"], 200);
    assert_eq!(line["body_bytes"], answer.body.len());
    assert_eq!(line["client"], "127.0.0.1");
    // The server may be put aside between the answer's last byte and the line.
    assert!(line["rt"].as_f64().unwrap() <= answer.took.as_secs_f64() + 1.0);
    assert!(line["urt"].is_null());
    assert_eq!(line["upstream"], Value::Array(Vec::new()));
    server.stop();
    for line in server.log().lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[tokio::test]
async fn secrets_of_clients_are_not_written() {
    let mut server = Setup::new().config("[log]\nlevel = \"trace\"").start();
    for api in [Api::http1(&server), Api::http2(&server)] {
        let request = api
            .request("GET", "/api?token=s3cret&a=1&p%61ssword=s3cret")
            .header("authorization", "Bearer s3cret")
            .header("cookie", "session=s3cret")
            .header("x-api-key", "s3cret")
            .header("referer", "https://localhost/?token=s3cret");
        let answer = api.send(request).await;
        assert_eq!(answer.status, 200);
        let line = line_of(&mut server, answer.header("x-request-id"));
        assert!(
            line.request
                .starts_with("GET /api?token=***&a=1&p%61ssword=*** "),
            "{}",
            line.request
        );
        assert_eq!(line.referer, "https://localhost/?token=***");
    }
    server.stop();
    assert!(!server.log().contains("s3cret"), "{}", server.log());
}

/// A line of the combined format, taken apart.
struct Line {
    request: String,
    status: u16,
    bytes: usize,
    referer: String,
    user_agent: String,
    /// Seconds.
    took: f64,
}

/// The line of the exchange with this id.
fn line_of(server: &mut Server, id: &str) -> Line {
    assert_eq!(id.len(), 32, "{id}");
    Line::parse(&server.line_with(&format!(" id={id}")))
}

impl Line {
    /// `client - - [time] "request" status bytes "referer" "agent" rt=… uct="-" … id=…`
    fn parse(line: &str) -> Self {
        let mut parts = line.split('"');
        let mut next = || parts.next().unwrap_or_else(|| panic!("{line}"));
        let (before, request) = (next(), next());
        let numbers: Vec<&str> = next().split_whitespace().collect();
        let (referer, _, user_agent, after) = (next(), next(), next(), next());
        let upstream = [next(), next(), next(), next(), next(), next(), next()];
        let last = next();

        let time = before.strip_prefix("127.0.0.1 - - [").unwrap();
        let time = time.strip_suffix("] ").unwrap();
        assert!(is_time(time), "{line}");
        let nobody = ["-", " uhtt=", "-", " urt=", "-", " upstream=", "-"];
        assert_eq!(upstream, nobody, "{line}");
        assert!(last.starts_with(" id="), "{line}");
        let took = after.strip_prefix(" rt=").unwrap();
        let took = took.strip_suffix(" uct=").unwrap();
        Self {
            request: request.to_owned(),
            status: numbers[0].parse().unwrap(),
            bytes: numbers[1].parse().unwrap(),
            referer: referer.to_owned(),
            user_agent: user_agent.to_owned(),
            took: took.parse().unwrap(),
        }
    }
}

/// Like `02/Jan/2026:03:04:05 +0000`.
fn is_time(text: &str) -> bool {
    let shape: String = text
        .chars()
        .map(|character| match character {
            '0'..='9' => '0',
            'A'..='Z' => 'A',
            'a'..='z' => 'a',
            other => other,
        })
        .collect();
    shape == "00/Aaa/0000:00:00:00 +0000"
}
