//! Upstreams with TLS: who they must be, and whose connections are whose.

use std::net::SocketAddr;

use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{Server, Setup};
use crate::support::tls_front::{Authority, TlsFront};
use crate::support::upstream::Upstream;

fn front(authority: &Authority, names: &[&str], upstream: &Upstream) -> TlsFront {
    authority.front(names, &["http/1.1"], upstream.address.parse().unwrap())
}

/// A server that forwards `/NAME` to each upstream of this name, to `address` with these keys.
fn server(
    authorities: &[(&str, &Authority)],
    address: SocketAddr,
    upstreams: &[(&str, &str)],
) -> Server {
    // One worker: with several, Pingora's pool sometimes loses a connection to a race.
    let mut setup = Setup::new().plain().server("workers = 1");
    for (file, authority) in authorities {
        authority.write(&setup.directory().join(file));
    }
    for (name, keys) in upstreams {
        setup = setup.config(&format!(
            "[[upstream]]\nname = \"{name}\"\nservers = [\"https://{address}\"]\n{keys}\n\
             [[route]]\npath = \"/{name}\"\nupstream = \"{name}\""
        ));
    }
    setup.start()
}

fn ask(server: &Server, path: &str) -> RawAnswer {
    let mut raw = Raw::connect(server.http.unwrap());
    raw.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    raw.answer()
}

#[test]
fn a_server_proves_its_name_by_the_roots_that_are_trusted() {
    let (ours, other) = (Authority::new(), Authority::new());
    let upstream = Upstream::saying("proven");
    let named = front(&ours, &["app.internal"], &upstream);
    let authorities = [("ours.pem", &ours), ("other.pem", &other)];
    let mut server = server(
        &authorities,
        named.address,
        &[
            (
                "right",
                "ca_file = \"ours.pem\"\nserver_name = \"app.internal\"\nhost = \"vhost.internal:8080\"",
            ),
            ("name", "ca_file = \"ours.pem\""),
            (
                "root",
                "ca_file = \"other.pem\"\nserver_name = \"app.internal\"",
            ),
            ("system", "server_name = \"app.internal\""),
        ],
    );
    let answer = ask(&server, "/right");
    assert_eq!((answer.status, answer.text().as_str()), (200, "proven"));
    assert_eq!(named.asked().name.as_deref(), Some("app.internal"));
    let received = upstream.request();
    assert_eq!(received.header("host"), Some("vhost.internal:8080"));
    assert_eq!(received.header("x-forwarded-host"), Some("localhost"));

    for (path, reason) in [
        ("/name", "not valid for name"),
        ("/root", "invalid peer certificate"),
        ("/system", "UnknownIssuer"),
    ] {
        let answer = ask(&server, path);
        assert_eq!(answer.status, 502, "{path}");
        let id = answer.header("x-request-id").unwrap();
        let line = server.line_with(&format!("request_id={id}"));
        assert!(line.contains(reason), "{path}: {line}");
    }
    assert!(!upstream.has_more_requests(), "nobody else got through");
}

#[test]
fn without_roots_of_its_own_the_systems_count() {
    let authority = Authority::new();
    let upstream = Upstream::saying("proven");
    let front = front(&authority, &["127.0.0.1"], &upstream);
    let setup = Setup::new().plain();
    let roots = setup.directory().join("system.pem");
    authority.write(&roots);
    let server = setup
        .environment("SSL_CERT_FILE", roots.to_str().unwrap())
        .config(&format!(
            "[[upstream]]\nname = \"a\"\nservers = [\"https://{}\"]\n\
             [[route]]\npath = \"/a\"\nupstream = \"a\"",
            front.address
        ))
        .start();
    assert_eq!(ask(&server, "/a").text(), "proven");
}

/// An address is proven as well as a name.
#[test]
fn a_server_without_a_name_proves_its_address() {
    let authority = Authority::new();
    let upstream = Upstream::saying("proven");
    let front = front(&authority, &["127.0.0.1"], &upstream);
    let keys = "ca_file = \"ca.pem\"";
    let server = server(&[("ca.pem", &authority)], front.address, &[("a", keys)]);
    assert_eq!(ask(&server, "/a").status, 200);
    assert_eq!(front.asked().name, None);
}

/// Pingora's pool knows nothing of roots: a connection that one upstream has verified and left there
/// must not serve another that would not.
#[test]
fn a_kept_connection_serves_only_those_who_trust_alike() {
    let (ours, other) = (Authority::new(), Authority::new());
    let upstream = Upstream::saying("proven");
    let front = front(&ours, &["127.0.0.1"], &upstream);
    let authorities = [("ours.pem", &ours), ("other.pem", &other)];
    let server = server(
        &authorities,
        front.address,
        &[
            ("ours", "ca_file = \"ours.pem\""),
            ("other", "ca_file = \"other.pem\""),
            ("system", ""),
        ],
    );
    for round in 0..3 {
        assert_eq!(ask(&server, "/ours").status, 200, "{round}");
        assert_eq!(upstream.request().connection, 0, "it is kept");
        assert_eq!(ask(&server, "/other").status, 502, "{round}");
        assert_eq!(ask(&server, "/system").status, 502, "{round}");
    }
}
