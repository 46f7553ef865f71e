//! What a client may ask, and what it is told.

use bytes::Bytes;
use http::{Request, Version};

use super::client::{post, to};
use super::{Client, edge};
use crate::support::handshake::Handshakes;

#[tokio::test]
async fn the_handshake_agrees_on_a_protocol() {
    let server = edge("");
    for (offered, agreed) in [
        (&["h2", "http/1.1"][..], Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (&["http/1.1"], Some("http/1.1")),
        (&[], None),
    ] {
        let tls = Handshakes::new(offered);
        let tls = tls.connect(server.https.unwrap(), "localhost").await;
        assert_eq!(tls.unwrap().alpn(), agreed, "{offered:?}");
    }
    assert_eq!(
        Client::connect(&server).await.get("/word").await.text(),
        "word"
    );
}

#[tokio::test]
async fn answers_have_the_same_headers_as_everywhere() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    for (path, status) in [
        ("/word", 200),
        ("/healthz", 200),
        ("/nothing", 404),
        ("/files/none", 404),
    ] {
        let answer = client.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(answer.headers["server"], "unibody", "{path}");
        assert_eq!(
            answer.headers["x-content-type-options"], "nosniff",
            "{path}"
        );
        assert!(answer.headers.contains_key("x-request-id"), "{path}");
        assert!(answer.headers.contains_key("date"), "{path}");
        assert!(!answer.headers.contains_key("connection"), "{path}");
    }
}

#[tokio::test]
async fn head_tells_of_a_body_and_brings_none() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    for path in ["/word", "/healthz", "/nothing", "/files/large"] {
        let whole = client.get(path).await;
        let head = client.send(to(path).method("HEAD")).await;
        assert_eq!(head.status, whole.status, "{path}");
        assert_eq!(
            head.headers["content-length"], whole.headers["content-length"],
            "{path}"
        );
        assert_eq!(head.body, b"", "{path}");
    }
}

#[tokio::test]
async fn bodies_go_both_ways() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    let file = client.get("/files/large").await;
    assert_eq!(file.body.len(), 4 * 1024 * 1024);

    let mut upload = client.post().await;
    // More than the windows: it arrives only because it is read.
    let text = "[".to_owned() + &" ".repeat(4 * 1024 * 1024) + "]";
    send_all(&mut upload.body, text.into()).await;
    let answer = upload.answer().await.unwrap();
    assert_eq!(
        answer.status,
        422,
        "it was read to its end: {}",
        answer.text()
    );
}

#[tokio::test]
async fn streams_do_not_wait_for_each_other() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    let mut slow = client.post().await;
    slow.send("[", false);
    for _ in 0..20 {
        assert_eq!(client.get("/word").await.text(), "word");
    }
    slow.send("]", true);
    assert_eq!(slow.answer().await.unwrap().status, 422);
}

#[tokio::test]
async fn a_request_names_one_host_of_ours() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    let absolute = |authority: &str| Request::get(format!("https://{authority}/word"));
    // Without an authority the client sends none, if it is told that this is HTTP/1.
    let relative = || Request::get("/word").version(Version::HTTP_11);
    for (request, status, why) in [
        (absolute("localhost"), 200, "our name"),
        (
            absolute("LocalHost:8443"),
            200,
            "our name, written otherwise",
        ),
        (absolute("127.0.0.1:1"), 200, "our address"),
        (
            relative().header("host", "localhost"),
            200,
            "Host stands in for it",
        ),
        (
            absolute("localhost").header("host", "localhost"),
            200,
            "both, and they agree",
        ),
        (absolute("other.test"), 421, "another name"),
        (
            relative().header("host", "other.test"),
            421,
            "another name in Host",
        ),
        (relative(), 400, "no name"),
        (absolute("127.1"), 400, "an address in short"),
        (absolute("local..host"), 400, "no name at all"),
        (absolute("u@localhost"), 400, "user information"),
        (
            absolute("localhost").header("host", "other.test"),
            400,
            "two names",
        ),
        (
            relative().header("host", "local host"),
            400,
            "no name in Host",
        ),
    ] {
        let answer = client.send(request).await;
        assert_eq!(answer.status, status, "{why}: {answer:?}");
    }
    assert_eq!(
        client.get("/word").await.text(),
        "word",
        "the connection lives on"
    );
}

#[tokio::test]
async fn nothing_is_echoed_and_nothing_tunnelled() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    assert_eq!(client.send(to("/word").method("TRACE")).await.status, 405);
    let tunnel = Request::connect("localhost:443");
    assert_eq!(client.send(tunnel).await.status, 405);
    assert_eq!(client.get("/word").await.text(), "word");
}

#[tokio::test]
async fn an_expectation_does_not_stand_in_the_way() {
    let server = edge("");
    let mut client = Client::connect(&server).await;
    let mut upload = client
        .begin(post().header("expect", "100-continue"), false)
        .await;
    upload.send("[]", true);
    assert_eq!(upload.answer().await.unwrap().status, 422);
}

async fn send_all(body: &mut h2::SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len());
        let room = std::future::poll_fn(|context| body.poll_capacity(context)).await;
        let piece = bytes.split_to(room.unwrap().unwrap().min(bytes.len()));
        body.send_data(piece, bytes.is_empty()).unwrap();
    }
}
