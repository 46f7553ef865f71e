//! Upstreams that speak HTTP/2: gRPC calls, of which nothing is whole without its trailers.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;

use super::forwarding_to;
use crate::support::breakable::{Break, Breakable, Target};
use crate::support::grpc::Grpc;
use crate::support::http2::{Http2, piece, read_to_end};
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::tls_front::Authority;

const HEADERS: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];

fn h2c(grpc: &Grpc) -> Server {
    forwarding_to(&table(&format!("h2c://{}", grpc.address), ""))
}

fn table(server: &str, keys: &str) -> String {
    format!("[[upstream]]\nname = \"backend\"\nservers = [\"{server}\"]\n{keys}\n")
}

async fn trailers(body: &mut RecvStream) -> HeaderMap {
    body.trailers().await.unwrap().expect("trailers")
}

async fn call(address: SocketAddr, path: &str, message: &[u8]) -> (Vec<u8>, HeaderMap) {
    let mut client = Http2::connect(address).await;
    let (answer, mut upload) = client.begin("POST", path, &HEADERS, false).await;
    // At the same time: the echo of a large message waits until it is read.
    let ((), read) = tokio::join!(upload.send(message, true), async {
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "application/grpc");
        let mut body = answer.into_body();
        let read = read_to_end(&mut body).await.unwrap();
        (read, trailers(&mut body).await)
    });
    read
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unary_call_has_its_message_and_its_status() {
    let grpc = Grpc::start();
    let server = h2c(&grpc);
    for size in [5, 1000, 1_000_000] {
        let message = vec![b'm'; size];
        let (read, trailers) = call(server.https.unwrap(), "/echo", &message).await;
        assert!(read == message, "{size}");
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["grpc-message"], "all well");
        let request = tokio::task::block_in_place(|| grpc.request());
        assert_eq!(request.head.uri().path(), "/echo");
        assert_eq!(request.head.uri().authority().unwrap(), "localhost");
        assert_eq!(request.head.headers()["te"], "trailers");
        assert!(request.head.headers().contains_key("x-request-id"));
        assert_eq!(request.connection, 0, "it is kept");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_changed_keeps_its_host() {
    let grpc = Grpc::start();
    let upstream = table(&format!("h2c://{}", grpc.address), "");
    let server = Setup::new()
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n{upstream}\n\
             [[route]]\npath = \"/a/\"\nupstream = \"backend\"\nstrip_prefix = \"/a\"\n\
             [[route]]\npath = \"/b\"\nupstream = \"backend\"\nrewrite = \"/echo\"\n"
        ))
        .start();
    for path in ["/a/echo", "/b"] {
        let (read, _) = call(server.https.unwrap(), path, b"hello").await;
        assert_eq!(read, b"hello", "{path}");
        let request = tokio::task::block_in_place(|| grpc.request());
        assert_eq!(request.head.uri().path(), "/echo", "{path}");
        let authority = request.head.uri().authority().expect("a host");
        assert_eq!(authority.host(), "localhost", "{path}");
        assert_eq!(request.head.headers().get("host"), None, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_stream_both_ways_one_by_one() {
    let grpc = Grpc::start();
    let server = h2c(&grpc);
    let mut client = Http2::connect(server.https.unwrap()).await;
    let (answer, mut upload) = client.begin("POST", "/echo", &HEADERS, false).await;
    let mut body = answer.await.unwrap().into_body();
    for message in [&b"one"[..], b"two", b"three"] {
        upload.send(message, false).await;
        assert_eq!(piece(&mut body).await.unwrap().unwrap(), message);
    }
    upload.0.send_data(Bytes::new(), true).unwrap();
    assert!(piece(&mut body).await.is_none());
    assert_eq!(trailers(&mut body).await["grpc-status"], "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_calls_share_a_connection() {
    let grpc = Grpc::start();
    let server = h2c(&grpc);
    let mut client = Http2::connect(server.https.unwrap()).await;
    let mut calls = Vec::new();
    for _ in 0..20 {
        let (answer, mut upload) = client.begin("POST", "/echo", &HEADERS, false).await;
        let body = answer.await.unwrap().into_body();
        upload.send(b"x", false).await;
        calls.push((body, upload));
        let request = tokio::task::block_in_place(|| grpc.request());
        assert_eq!(request.connection, 0);
    }
    for (body, upload) in &mut calls {
        assert_eq!(piece(body).await.unwrap().unwrap(), "x");
        upload.0.send_data(Bytes::new(), true).unwrap();
        assert!(piece(body).await.is_none());
        assert_eq!(trailers(body).await["grpc-status"], "0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_fails_fails_for_the_client_too() {
    let grpc = Grpc::start();
    let server = h2c(&grpc);
    let mut client = Http2::connect(server.https.unwrap()).await;

    let (answer, mut upload) = client.begin("POST", "/fail", &HEADERS, false).await;
    upload.send(b"x", true).await;
    let answer = answer.await.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "12", "trailers only");

    let (answer, mut upload) = client.begin("POST", "/break", &HEADERS, false).await;
    let mut body = answer.await.unwrap().into_body();
    upload.send(b"x", false).await;
    read_to_end(&mut body).await.expect_err("never a clean end");

    // Refused again and again, and nobody else to ask.
    let (answer, mut upload) = client.begin("POST", "/refuse", &HEADERS, false).await;
    upload.send(b"x", true).await;
    assert_eq!(answer.await.unwrap().status(), 502);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_one_server_refuses_goes_to_another() {
    let (one, two) = (Grpc::start(), Grpc::start());
    let server = forwarding_to(&format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"h2c://{}\", \"h2c://{}\"]\nretries = 1\n",
        one.address, two.address
    ));
    let mut client = Http2::connect(server.https.unwrap()).await;
    let (answer, mut upload) = client.begin("POST", "/refuse", &HEADERS, false).await;
    upload.send(b"x", true).await;
    // Both refuse it; what counts is that both were asked, though it is a POST.
    assert_eq!(answer.await.unwrap().status(), 502);
    tokio::task::block_in_place(|| {
        one.request();
        two.request();
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn the_other_server_answers_a_call_that_one_refuses() {
    let (refusing, good) = (Grpc::refusing(), Grpc::start());
    let server = forwarding_to(&format!(
        "[[upstream]]\nname = \"backend\"\nservers = [\"h2c://{}\", \"h2c://{}\"]\nretries = 1\n\
         eject_after = 0\n",
        refusing.address, good.address
    ));
    for _ in 0..4 {
        let (read, trailers) = call(server.https.unwrap(), "/echo", b"hello").await;
        assert_eq!(read, b"hello");
        assert_eq!(trailers["grpc-status"], "0");
    }
    tokio::task::block_in_place(|| refusing.request());
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_over_tls_is_verified_and_has_trailers_too() {
    let grpc = Grpc::start();
    let authority = Authority::new();
    let front = authority.front(&["grpc.internal"], &["h2"], grpc.address);
    let setup = Setup::new();
    authority.write(&setup.directory().join("ca.pem"));
    let keys = "ca_file = \"ca.pem\"\nserver_name = \"grpc.internal\"";
    let upstream = table(&format!("h2://{}", front.address), keys);
    let server = setup
        .config(&format!(
            "[tls]\nredirect = false\n{upstream}[[route]]\npath = \"/\"\nupstream = \"backend\"\n"
        ))
        .start();
    let (read, trailers) = call(server.https.unwrap(), "/echo", b"hello").await;
    assert_eq!(read, b"hello");
    assert_eq!(trailers["grpc-status"], "0");
    let asked = tokio::task::block_in_place(|| front.asked());
    assert_eq!(asked.alpn.as_deref(), Some("h2"));
    assert_eq!(asked.name.as_deref(), Some("grpc.internal"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_that_has_ended_is_replaced_unnoticed() {
    let grpc = Grpc::start();
    let proxy = Breakable::before(Target::Tcp(grpc.address));
    let server = forwarding_to(&table(&format!("h2c://{}", proxy.address()), ""));
    for how in [Break::Cut, Break::Reset, Break::Cut, Break::Reset] {
        let (read, _) = call(server.https.unwrap(), "/echo", b"hello").await;
        assert_eq!(read, b"hello", "{how:?}");
        tokio::task::block_in_place(|| proxy.end(how));
    }
}

#[test]
fn its_health_is_asked_for_in_http_2() {
    let grpc = Grpc::start();
    let authority = Authority::new();
    let front = authority.front(&["127.0.0.1"], &["h2"], grpc.address);
    for server in [
        format!("h2c://{}", grpc.address),
        format!("h2://{}", front.address),
    ] {
        let setup = Setup::new().plain();
        authority.write(&setup.directory().join("ca.pem"));
        let keys = if server.starts_with("h2:") {
            "ca_file = \"ca.pem\""
        } else {
            ""
        };
        // It answers with 200, which is not what is hoped for.
        let health = "[upstream.health]\npath = \"/fail\"\nstatus = \"204\"\ninterval = \"50ms\"";
        let mut server = setup
            .config(&format!(
                "{}[[route]]\npath = \"/\"\nupstream = \"backend\"",
                table(&server, &format!("{keys}\n{health}"))
            ))
            .start();
        let line = server.line_with("unhealthy");
        assert!(line.contains("it answered 200 OK"), "{line}");
        let request = grpc.request().head;
        assert_eq!(request.method(), "GET");
        assert_eq!(request.uri().path(), "/fail");
        assert!(request.uri().authority().is_some(), "{request:?}");
    }
}

#[test]
fn an_http_1_client_gets_the_messages() {
    let grpc = Grpc::start();
    let server = h2c(&grpc);
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    let head = raw.head();
    assert_eq!(head.status, 200);
    assert_eq!(raw.chunks().unwrap(), b"hello");
    let request = grpc.request();
    assert_eq!(request.head.uri().authority().unwrap(), "localhost");
}
