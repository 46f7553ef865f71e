//! Who is asking, as the access log and an upstream are told: the peer, or what trusted proxies
//! say of it.

use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

fn server(upstream: &Upstream, trusted: &str) -> Server {
    Setup::new()
        .config(&format!(
            "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = []\ntrusted_proxies = {trusted}\n\
             [tls]\nmode = \"off\"\nhsts = \"180 days\"\n"
        ))
        .config(&upstream.table(""))
        .config("[[route]]\npath = \"/\"\nupstream = \"backend\"\n")
        .start()
}

/// A request with these headers, and the client of its line in the access log.
fn ask(server: &mut Server, upstream: &Upstream, headers: &str) -> (Asked, String) {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!(
        "GET /x HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"
    ));
    let answer = raw.answer();
    let asked = Asked {
        id: answer.header("x-request-id").unwrap().to_owned(),
        hsts: answer.header("strict-transport-security").is_some(),
        received: upstream.request(),
    };
    let line = server.wait_for_line(&format!(" id={}", asked.id));
    (asked, line.split(' ').next().unwrap().to_owned())
}

struct Asked {
    id: String,
    hsts: bool,
    received: crate::support::upstream::Received,
}

#[test]
fn what_an_untrusted_client_claims_counts_for_nothing() {
    let upstream = Upstream::saying("");
    let mut server = server(&upstream, "[\"192.0.2.0/24\"]");
    let (asked, client) = ask(
        &mut server,
        &upstream,
        "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 127.0.0.1, 192.0.2.1\r\n\
         X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.test\r\nX-Real-IP: 6.6.6.6\r\n\
         Forwarded: for=6.6.6.6;proto=https\r\nX-Request-Id: mine\r\n",
    );
    assert_eq!(client, "127.0.0.1");
    assert_ne!(asked.id, "mine");
    assert!(!asked.hsts, "the client did not come over TLS");
    let received = asked.received;
    for (name, value) in [
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("x-forwarded-host", Some("localhost")),
        ("x-real-ip", Some("127.0.0.1")),
        ("forwarded", None),
        ("x-request-id", Some(asked.id.as_str())),
    ] {
        assert_eq!(received.header(name), value, "{name}");
    }
    let head = received.head.to_lowercase();
    assert_eq!(head.matches("x-forwarded-for").count(), 1, "{head}");
    assert!(!head.contains("6.6.6.6"), "{head}");
}

#[test]
fn the_list_of_a_trusted_proxy_is_walked_from_its_right_end() {
    let upstream = Upstream::saying("");
    let mut server = server(&upstream, "[\"127.0.0.1\", \"10.0.0.0/8\"]");
    for (headers, expected, why) in [
        ("", "127.0.0.1", "nothing said: the proxy itself"),
        ("X-Forwarded-For: 203.0.113.9\r\n", "203.0.113.9", "one hop"),
        (
            "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\n",
            "203.0.113.9",
            "trusted hops are skipped, what the client wrote is not reached",
        ),
        (
            "X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 2001:db8::7\r\n",
            "2001:db8::7",
            "the last line",
        ),
        (
            "X-Forwarded-For: 6.6.6.6, nonsense, 10.1.1.1\r\n",
            "10.1.1.1",
            "what can't be read ends the walk",
        ),
        (
            "Forwarded: for=6.6.6.6, for=\"[2001:db8::8]:99\"\r\n",
            "2001:db8::8",
            "RFC 7239",
        ),
    ] {
        let (asked, client) = ask(&mut server, &upstream, headers);
        assert_eq!(client, expected, "{why}");
        assert_eq!(asked.received.header("x-real-ip"), Some(expected), "{why}");
    }
}

#[test]
fn a_trusted_proxys_scheme_and_request_id_are_kept() {
    let upstream = Upstream::saying("");
    let mut server = server(&upstream, "[\"127.0.0.1\"]");
    let (asked, client) = ask(
        &mut server,
        &upstream,
        "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Request-Id: lb-4711\r\n",
    );
    assert_eq!(client, "203.0.113.9");
    assert_eq!(asked.id, "lb-4711");
    assert!(asked.hsts, "the client came over TLS, to the load balancer");
    let received = asked.received;
    assert_eq!(received.header("x-forwarded-proto"), Some("https"));
    assert_eq!(received.header("x-request-id"), Some("lb-4711"));
    assert_eq!(
        received.header("x-forwarded-for"),
        Some("203.0.113.9, 127.0.0.1")
    );

    let (asked, _) = ask(&mut server, &upstream, "X-Request-Id: not \"an\" id\r\n");
    assert_eq!(asked.id.len(), 32, "an id unfit for logs is replaced");
}

#[test]
fn ids_are_made_anew_for_each_request() {
    let upstream = Upstream::saying("");
    let mut server = server(&upstream, "[]");
    let (first, _) = ask(&mut server, &upstream, "");
    let (second, _) = ask(&mut server, &upstream, "");
    assert_ne!(first.id, second.id);
    assert!(first.id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}
