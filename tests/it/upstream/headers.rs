//! What an upstream is told, and what of its answer comes back.

use super::forwarding_to;
use crate::support::http;
use crate::support::http2::Http2;
use crate::support::raw::Raw;
use crate::support::upstream::Upstream;

#[test]
fn the_upstream_sees_the_request_as_it_was_and_who_asked() {
    let upstream = Upstream::saying("hello");
    let server = forwarding_to(&upstream.table(""));
    let port = server.http.unwrap().port();
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!(
        "GET /a%2Fb//c?d=e&f HTTP/1.1\r\nHost: localhost:{port}\r\nX-Own: 1\r\nX-Own: 2\r\n\
         Cookie: a=b\r\nAuthorization: Bearer t\r\nAccept-Encoding: br, gzip\r\n\r\n"
    ));
    let answer = raw.answer();
    assert_eq!((answer.status, answer.body), (200, b"hello".to_vec()));
    let received = upstream.request();
    assert_eq!(received.line(), "GET /a%2Fb//c?d=e&f HTTP/1.1");
    let host = format!("localhost:{port}");
    for (name, value) in [
        ("host", host.as_str()),
        ("x-forwarded-host", &host),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-own", "1"),
        ("cookie", "a=b"),
        ("authorization", "Bearer t"),
    ] {
        assert_eq!(received.header(name), Some(value), "{name}");
    }
    assert!(received.head.contains("2\r\n"), "both lines of X-Own");
}

#[tokio::test]
async fn https_and_http_2_arrive_as_http_1_with_host_and_scheme() {
    let upstream = Upstream::saying("hello");
    let server = forwarding_to(&upstream.table(""));
    let host = format!("localhost:{}", server.https.unwrap().port());
    let answer = http::client()
        .get(server.url("/x?y"))
        .header("cookie", "a=b")
        .send()
        .await
        .unwrap();
    assert_eq!(answer.version(), reqwest::Version::HTTP_2);
    assert_eq!(answer.text().await.unwrap(), "hello");
    let received = upstream.request();
    assert_eq!(received.line(), "GET /x?y HTTP/1.1");
    assert_eq!(received.header("host"), Some(host.as_str()));
    assert_eq!(received.header("x-forwarded-host"), Some(host.as_str()));
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    assert_eq!(received.header("cookie"), Some("a=b"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_query_comes_through_as_browsers_write_it() {
    let upstream = Upstream::saying("found");
    let server = forwarding_to(&upstream.table(""));
    let target = "/grep?q=^foo|[a]{2}`x`&path=C:\\dir&to=/?@:";
    tokio::task::block_in_place(|| {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        assert_eq!(raw.answer().text(), "found");
        assert_eq!(upstream.request().line(), format!("GET {target} HTTP/1.1"));
    });
    let mut client = Http2::connect(server.https.unwrap()).await;
    assert_eq!(client.get(target, &[]).await.status(), 200);
    tokio::task::block_in_place(|| {
        assert_eq!(upstream.request().line(), format!("GET {target} HTTP/1.1"));
    });
}

#[test]
fn headers_of_one_connection_do_not_travel_on() {
    let upstream = Upstream::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
         Keep-Alive: timeout=7\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\r\nok",
    );
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, X-Secret-Hop\r\n\
         X-Secret-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\n\
         TE: trailers\r\nProxy-Connection: keep-alive\r\nX-Kept: 1\r\n\r\n",
    );
    let answer = raw.answer();
    assert_eq!(answer.status, 200);
    for name in ["x-hop", "keep-alive", "upgrade"] {
        assert_eq!(answer.header(name), None, "{name}: {}", answer.head);
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    let received = upstream.request();
    for name in [
        "x-secret-hop",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
    ] {
        assert_eq!(received.header(name), None, "{name}: {}", received.head);
    }
    assert_eq!(received.header("x-kept"), Some("1"));
}

#[test]
fn the_connection_header_cannot_take_away_who_asked() {
    let upstream = Upstream::saying("");
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    let ask = |named: &str| {
        format!(
            "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: {named}\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n"
        )
    };
    raw.send(ask("X-Request-Id, X-Real-IP"));
    assert_eq!(raw.answer().status, 200);
    let received = upstream.request();
    assert!(
        received.header("x-request-id").is_some(),
        "{}",
        received.head
    );
    for name in ["x-real-ip", "x-forwarded-for"] {
        assert_eq!(
            received.header(name),
            Some("127.0.0.1"),
            "{}",
            received.head
        );
    }

    // Pingora holds these to be an attack.
    for named in [
        "Host",
        "X-Forwarded-For",
        "x-forwarded-host",
        "close, X-Forwarded-Proto",
    ] {
        let mut raw = Raw::connect(server.http.unwrap());
        raw.send(ask(named));
        assert_eq!(raw.answer().status, 400, "{named}");
        assert!(!upstream.has_more_requests(), "{named}");
    }
}

#[test]
fn the_answers_of_an_upstream_come_through_as_they_are() {
    for (answer, status, length, body) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, None, ""),
        (
            "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
            304,
            None,
            "",
        ),
        (
            "HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nmine",
            404,
            Some("4"),
            "mine",
        ),
        (
            "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n",
            500,
            Some("0"),
            "",
        ),
        (
            "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
            302,
            Some("0"),
            "",
        ),
        (
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            200,
            Some("2"),
            "ok",
        ),
    ] {
        let upstream = Upstream::answering(answer);
        let server = forwarding_to(&upstream.table(""));
        let mut raw = Raw::connect(server.http.unwrap());
        for _ in 0..2 {
            raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
            let mut head = raw.head();
            while head.status == 103 {
                head = raw.head();
            }
            assert_eq!(head.status, status, "{answer}");
            assert_eq!(head.header("content-length"), length, "{answer}");
            let mut rest = vec![0; body.len()];
            std::io::Read::read_exact(&mut raw.0, &mut rest).unwrap();
            assert_eq!(rest, body.as_bytes(), "{answer}");
        }
    }
}

#[test]
fn head_is_answered_without_the_body() {
    let upstream = Upstream::answering("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n");
    let server = forwarding_to(&upstream.table(""));
    let mut raw = Raw::connect(server.http.unwrap());
    for _ in 0..2 {
        raw.send("HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(raw.head().header("content-length"), Some("5000"));
        assert_eq!(upstream.request().line(), "HEAD / HTTP/1.1");
    }
}
