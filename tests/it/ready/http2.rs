//! The same over HTTP/2, field by field: nobody can tell there either.

use axum::Router;
use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use http::Request;
use tokio::time::timeout;

use super::differences::{FIELDS, HOSTS, METHODS, Random, TARGETS, app, etag, settle, site};
use super::{HELLO, given};
use crate::support::edge::Edge;
use crate::support::handshake::Handshakes;
use crate::support::http2::read_to_end;
use crate::support::server::PATIENCE;

/// How many requests are made up.
const REQUESTS: usize = 700;
/// How often each is sent to the server with ready answers: it is asked for, recorded, and given.
const TIMES: usize = 3;

const HOSTS_KEY: &str = "hosts = [\"localhost\", \"*.b.test\"]";

/// All that a client can see of an answer.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: u16,
    /// In their order.
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

/// One connection, with a window for each stream.
struct Client(SendRequest<Bytes>);

impl Client {
    async fn connect(edge: &Edge, window: u32) -> Self {
        let tls = Handshakes::new(&["h2"]);
        let tls = tls.connect(edge.https, "localhost").await.unwrap();
        let (sender, connection) = Builder::new()
            .initial_window_size(window)
            .handshake(tls.stream)
            .await
            .unwrap();
        tokio::spawn(connection);
        Self(sender)
    }

    /// `None` where the stream was reset.
    async fn ask(&mut self, request: Request<()>) -> Option<Answer> {
        let answer = async {
            let mut sender = self.0.clone().ready().await.unwrap();
            let (answer, _) = sender.send_request(request, true).unwrap();
            let (head, mut body) = answer.await.ok()?.into_parts();
            let fields = head.headers.iter();
            Some(Answer {
                status: head.status.as_u16(),
                fields: fields
                    .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                    .collect(),
                body: read_to_end(&mut body).await.ok()?,
            })
        };
        timeout(PATIENCE, answer).await.unwrap()
    }

    async fn get(&mut self, path: &str) -> Answer {
        let request = Request::get(format!("https://localhost{path}"));
        self.ask(request.body(()).unwrap()).await.unwrap()
    }
}

impl Answer {
    fn field(&mut self, wanted: &str) -> Option<&mut Vec<u8>> {
        let mut fields = self.fields.iter_mut();
        fields
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
    }

    /// Blanks out `Date` and the request id, which error pages show as well; gives the id back.
    fn take_date_and_id(&mut self) -> Option<String> {
        // What is refused before it is a request has none.
        if let Some(date) = self.field("date") {
            date.clear();
        }
        let id = std::mem::take(self.field("x-request-id")?);
        if id.len() == 32 {
            while let Some(at) = self.body.windows(32).position(|window| window == id) {
                self.body[at..at + 32].fill(b'-');
            }
        }
        Some(String::from_utf8(id).unwrap())
    }
}

#[tokio::test]
async fn over_http2_a_ready_answer_differs_in_nothing_but_its_date_and_id() {
    compare("", 3).await;
}

#[tokio::test]
async fn over_http2_behind_a_trusted_proxy_neither() {
    compare("trusted_proxies = [\"127.0.0.1\"]", 4).await;
}

async fn compare(server: &str, seed: u64) {
    let root = tempfile::tempdir().unwrap();
    let routes = site(root.path());
    let start =
        |keys: &str| Edge::with_server(&format!("{HOSTS_KEY}\n{server}\n{keys}"), &routes, app());
    let (ready, normal) = (start(""), start("ready_answers = 0"));
    settle(&normal).await;
    settle(&ready).await;
    let etag = etag(&normal).await;
    let mut to_ready = Client::connect(&ready, 1 << 20).await;
    let mut to_normal = Client::connect(&normal, 1 << 20).await;
    let mut random = Random::new(seed);
    let mut ids = Vec::new();
    for number in 0..REQUESTS {
        let request = request(&mut random, &etag);
        let mut expected = to_normal.ask(request.clone()).await;
        let _ = expected.as_mut().map(Answer::take_date_and_id);
        for time in 0..TIMES {
            let mut found = to_ready.ask(request.clone()).await;
            let id = found.as_mut().and_then(Answer::take_date_and_id);
            ids.extend(id.filter(|id| id.len() == 32));
            assert!(
                found == expected,
                "request {number}, asked {time} times before:\n{request:?}\n-- normal\n{expected:?}\n-- found\n{found:?}",
            );
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "each request has an id of its own");
    drop((to_ready, to_normal));
    assert_eq!(normal.figures().ready_answers_given(), 0);
    let least = REQUESTS as u64 / 4;
    let given = given(&ready, least).await;
    assert!(given >= least, "only {given} answers were ready");
}

/// A request that a client of the `h2` crate is able to send.
fn request(random: &mut Random, etag: &str) -> Request<()> {
    loop {
        let (method, host) = (random.one(METHODS), random.one(HOSTS));
        let target = random.one(TARGETS);
        let mut request = Request::builder()
            .method(method)
            .uri(format!("https://{host}{target}"));
        if random.below(10) == 0 {
            request = request.header("host", host);
        }
        for (percent, fields) in FIELDS {
            if random.below(200) < *percent {
                for line in random.one(fields).split("\r\n") {
                    let (name, value) = line.split_once(':').unwrap();
                    let name = name.to_ascii_lowercase();
                    // HTTP/2 has none of these (RFC 9113, section 8.2.2).
                    if matches!(&*name, "connection" | "upgrade") {
                        continue;
                    }
                    let gzip = format!("{}-gzip\"", etag.trim_end_matches('"'));
                    let value = value.replace("{etag}", etag).replace("{gzip}", &gzip);
                    request = request.header(name, value.trim().as_bytes());
                }
            }
        }
        // Not all that is a target to somebody is one to that crate.
        if target.starts_with('/')
            && let Ok(request) = request.body(())
        {
            return request;
        }
    }
}

#[tokio::test]
async fn an_answer_that_the_client_has_no_room_for_comes_as_it_makes_room() {
    let root = tempfile::tempdir().unwrap();
    let edge = Edge::with_server(HOSTS_KEY, &site(root.path()), Router::new());
    // It is given in a few pieces, and in many.
    for window in [100_000, 1000] {
        let mut client = Client::connect(&edge, window).await;
        let first = client.get("/plain").await;
        for _ in 0..4 {
            assert_eq!(client.get("/plain").await.body, first.body);
        }
    }
    assert!(given(&edge, 8).await >= 8);
}

#[tokio::test]
async fn a_client_that_takes_nothing_keeps_nobody_waiting() {
    let root = tempfile::tempdir().unwrap();
    let edge = Edge::with_server(HOSTS_KEY, &site(root.path()), Router::new());
    let mut client = Client::connect(&edge, 1000).await;
    for _ in 0..3 {
        client.get("/plain").await;
    }
    let request = Request::get("https://localhost/plain").body(()).unwrap();
    let mut sender = client.0.clone().ready().await.unwrap();
    let (stalled, _) = sender.send_request(request, true).unwrap();
    // Its head comes, and its body only as far as there is room.
    let mut stalled = timeout(PATIENCE, stalled).await.unwrap().unwrap();
    assert_eq!(client.get("/small").await.body, b"hello");
    let whole = read_to_end(stalled.body_mut()).await.unwrap();
    assert_eq!(whole, client.get("/plain").await.body);
}

#[tokio::test]
async fn each_protocol_has_recordings_of_its_own() {
    let edge = Edge::with(HELLO, Router::new());
    let mut talk = super::talk::Talk::tls(&edge).await;
    let mut client = Client::connect(&edge, 65_535).await;
    for _ in 0..5 {
        let lines = talk.ask(&super::get("/hello"), false).await;
        assert!(lines.starts_with(b"HTTP/1.1 200 ") && lines.ends_with(b"hello"));
        let mut answer = client.get("/hello").await;
        assert_eq!((answer.status, &*answer.body), (200, &b"hello"[..]));
        assert!(answer.field("connection").is_none());
    }
    drop((talk, client));
    assert_eq!(given(&edge, 6).await, 6);
}

#[tokio::test]
async fn what_selects_an_answer_selects_a_ready_one() {
    let root = tempfile::tempdir().unwrap();
    let edge = Edge::with_server(HOSTS_KEY, &site(root.path()), Router::new());
    let mut client = Client::connect(&edge, 1 << 20).await;
    let fields: &[&[(&str, &str)]] = &[
        &[],
        &[("accept-encoding", "gzip")],
        &[("accept-encoding", "br")],
        &[("accept-encoding", "gzip"), ("cookie", "a=b")],
        &[("accept-encoding", "gzip"), ("range", "bytes=0-3")],
    ];
    let mut answers = [const { Vec::new() }; 5];
    for _ in 0..4 {
        for (fields, answers) in fields.iter().zip(&mut answers) {
            let mut request = Request::get("https://localhost/large");
            for (name, value) in *fields {
                request = request.header(*name, *value);
            }
            let mut answer = client.ask(request.body(()).unwrap()).await.unwrap();
            answer.take_date_and_id();
            answers.push(answer);
        }
    }
    for answers in &answers {
        assert!(answers.iter().all(|answer| *answer == answers[0]));
    }
    let coding = |number: usize| {
        let fields = &answers[number][0].fields;
        let found = fields.iter().find(|(name, _)| name == "content-encoding");
        found.map(|(_, value)| value.as_slice())
    };
    let codings = [coding(0), coding(1), coding(2), coding(3)];
    let expected = [None, Some(&b"gzip"[..]), Some(&b"br"[..]), None];
    assert_eq!(codings, expected, "with cookies nothing is compressed");
    drop(client);
    assert_eq!(given(&edge, 8).await, 8);
}
