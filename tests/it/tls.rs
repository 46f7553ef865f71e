//! TLS on the assembled server: certificates, names, versions, deadlines.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rcgen::{CertificateParams, KeyPair};
use rustls::ProtocolVersion;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::support::handshake::{Handshake, Handshakes};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, Server, Setup};

const HTTP1: &[&str] = &["http/1.1"];
const BOTH: &[&str] = &["h2", "http/1.1"];

/// The names in a certificate, addresses as text.
fn names(der: &[u8]) -> Vec<String> {
    let (_, certificate) = X509Certificate::from_der(der).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let mut names: Vec<String> = names
        .value
        .general_names
        .iter()
        .map(|name| match name {
            GeneralName::DNSName(name) => (*name).to_owned(),
            GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
                Ok(v4) => std::net::Ipv4Addr::from(v4).to_string(),
                Err(_) => {
                    std::net::Ipv6Addr::from(<[u8; 16]>::try_from(*bytes).unwrap()).to_string()
                }
            },
            other => panic!("{other}"),
        })
        .collect();
    names.sort_unstable();
    names
}

async fn certificate(server: &Server, name: &str) -> Vec<u8> {
    let handshake = Handshakes::new(HTTP1)
        .connect(server.https.unwrap(), name)
        .await
        .unwrap();
    handshake.certificate().to_vec()
}

#[tokio::test]
async fn the_self_signed_certificate_names_the_hosts_and_survives_a_restart() {
    let server = Setup::new()
        .config(
            "[server]\nhttp = []\nhttps = [\"127.0.0.1:0\"]\n\
             hosts = [\"notes.test\", \"*.notes.test\", \"localhost\"]\n",
        )
        .start();
    let first = certificate(&server, "notes.test").await;
    assert_eq!(
        names(&first),
        [
            "*.notes.test",
            "127.0.0.1",
            "::1",
            "localhost",
            "notes.test"
        ]
    );
    for name in ["a.notes.test", "localhost", "127.0.0.1"] {
        assert_eq!(certificate(&server, name).await, first, "{name}");
    }
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let certs = server.path("certs");
    assert_eq!(mode(&certs), 0o700);
    let files = files_below(&certs);
    assert!(!files.is_empty());
    for file in files {
        let secret = fs::read_to_string(&file).is_ok_and(|text| text.contains("PRIVATE KEY"));
        if secret {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
    let server = server.restart();
    assert_eq!(certificate(&server, "notes.test").await, first);
}

fn files_below(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// Writes a fresh pair for `names` as `NAME.pem` and `NAME.key`; answers the certificate.
fn write_pair(directory: &Path, file: &str, names: &[&str]) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let certificate = CertificateParams::new(names)
        .unwrap()
        .self_signed(&key)
        .unwrap();
    fs::write(directory.join(format!("{file}.key")), key.serialize_pem()).unwrap();
    fs::write(directory.join(format!("{file}.pem")), certificate.pem()).unwrap();
    certificate.der().to_vec()
}

/// Two sites with a pair each.
fn two_sites() -> (Server, Vec<u8>, Vec<u8>) {
    let setup = Setup::new();
    let one = write_pair(setup.directory(), "one", &["one.test", "www.one.test"]);
    let two = write_pair(setup.directory(), "two", &["*.two.test"]);
    let server = setup
        .config(
            r#"
            [server]
            http = []
            https = ["127.0.0.1:0"]
            hosts = ["one.test", "www.one.test", "*.two.test"]
            [tls]
            mode = "files"
            [[tls.files]]
            cert = "one.pem"
            key = "one.key"
            [[tls.files]]
            hosts = ["*.two.test"]
            cert = "two.pem"
            key = "two.key"
            [[route]]
            path = "/"
            respond = { body = "hello" }
            "#,
        )
        .start();
    (server, one, two)
}

#[tokio::test]
async fn each_name_gets_its_own_certificate_and_unknown_names_none() {
    let (server, one, two) = two_sites();
    for (name, expected) in [
        ("one.test", &one),
        ("www.one.test", &one),
        ("WWW.ONE.test", &one),
        ("a.two.test", &two),
        ("b.two.test", &two),
        // Without SNI the first configured.
        ("127.0.0.1", &one),
    ] {
        assert!(certificate(&server, name).await == *expected, "{name}");
    }
    for name in ["other.test", "two.test", "a.b.two.test"] {
        let refused = Handshakes::new(HTTP1)
            .connect(server.https.unwrap(), name)
            .await;
        assert!(refused.is_err(), "{name}");
    }
    assert!(!server.path("certs").exists(), "nothing of ours was made");
}

/// Asks on an open connection; whether it was answered.
async fn ask(connection: &mut Handshake) -> String {
    let request = "GET / HTTP/1.1\r\nHost: one.test\r\n\r\n";
    connection
        .stream
        .write_all(request.as_bytes())
        .await
        .unwrap();
    let mut answer = String::new();
    while !answer.ends_with("hello") {
        let mut byte = [0];
        connection.stream.read_exact(&mut byte).await.unwrap();
        answer.push(char::from(byte[0]));
    }
    answer
}

#[tokio::test]
async fn replaced_files_are_served_within_seconds_and_no_connection_notices() {
    let (server, old, _) = two_sites();
    let mut open = Handshakes::new(HTTP1)
        .connect(server.https.unwrap(), "one.test")
        .await
        .unwrap();
    assert!(ask(&mut open).await.starts_with("HTTP/1.1 200"));

    let new = write_pair(server.directory.path(), "one", &["one.test"]);
    let replaced = Instant::now();
    loop {
        let shown = certificate(&server, "one.test").await;
        if shown == new {
            break;
        }
        assert!(shown == old, "never anything else");
        assert!(replaced.elapsed() < PATIENCE, "not served");
        sleep(Duration::from_millis(100)).await;
    }
    // The promise is five seconds; a busy machine may take some more.
    assert!(replaced.elapsed() < Duration::from_secs(15));
    assert!(
        ask(&mut open).await.starts_with("HTTP/1.1 200"),
        "as before"
    );

    // A key that doesn't belong to it: what was served stays.
    let key = KeyPair::generate().unwrap().serialize_pem();
    fs::write(server.path("one.key"), key).unwrap();
    let mut server = server;
    server.wait_for_line("the certificate before stays in service");
    assert!(certificate(&server, "one.test").await == new);
}

#[tokio::test]
async fn alpn_chooses_http_2_before_http_1() {
    let server = Server::start();
    for (offered, chosen) in [
        (BOTH, Some("h2")),
        (&["http/1.1", "h2"], Some("h2")),
        (HTTP1, Some("http/1.1")),
        (&["http/1.0"], Some("http/1.0")),
        (&["http/1.0", "http/1.1"], Some("http/1.1")),
        (&["h2"], Some("h2")),
        (&[], None),
    ] {
        let handshake = Handshakes::new(offered)
            .connect(server.https.unwrap(), "localhost")
            .await
            .unwrap();
        assert_eq!(handshake.alpn(), chosen, "{offered:?}");
    }
    let refused = Handshakes::new(&["spdy/3"])
        .connect(server.https.unwrap(), "localhost")
        .await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn the_oldest_version_is_chosen_by_the_configuration() {
    let server = Server::start();
    let address = server.https.unwrap();
    let old = Handshakes::tls12().connect(address, "localhost").await;
    assert_eq!(old.unwrap().version(), ProtocolVersion::TLSv1_2);
    let new = Handshakes::new(BOTH).connect(address, "localhost").await;
    assert_eq!(new.unwrap().version(), ProtocolVersion::TLSv1_3);

    let strict = Setup::new()
        .config("[tls]\nmin_version = \"1.3\"\n")
        .start();
    let address = strict.https.unwrap();
    let old = Handshakes::tls12().connect(address, "localhost").await;
    assert!(old.is_err());
    let new = Handshakes::new(BOTH).connect(address, "localhost").await;
    assert_eq!(new.unwrap().version(), ProtocolVersion::TLSv1_3);
}

#[tokio::test]
async fn a_client_that_comes_back_resumes_its_session() {
    let server = Server::start();
    for (version, client) in [
        ("1.3", Handshakes::new(HTTP1)),
        ("1.2", Handshakes::tls12()),
    ] {
        let mut first = client
            .connect(server.https.unwrap(), "localhost")
            .await
            .unwrap();
        assert!(!first.is_resumed(), "TLS {version}");
        // The tickets of TLS 1.3 come with the first bytes.
        first
            .stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        first.stream.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 200"), "TLS {version}");
        let second = client
            .connect(server.https.unwrap(), "localhost")
            .await
            .unwrap();
        assert!(second.is_resumed(), "TLS {version}");
    }
}

#[test]
fn a_client_that_does_not_shake_hands_is_cut_off() {
    let server = Setup::new()
        .config(
            "[server]\nhttp = []\nhttps = [\"127.0.0.1:0\"]\n\
             [server.timeouts]\ntls_handshake = \"500ms\"\n",
        )
        .start();
    let address: SocketAddr = server.https.unwrap();
    for (what, bytes) in [
        ("says nothing", &b""[..]),
        (
            "begins a hello",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        ),
    ] {
        let mut raw = Raw::connect(address);
        raw.send(bytes);
        let connected = Instant::now();
        assert_eq!(raw.read_to_end(), b"", "a client that {what}");
        let took = connected.elapsed();
        // Far from every other deadline, which are a minute and more.
        assert!(
            took < Duration::from_secs(10),
            "a client that {what}: {took:?}"
        );
    }
    drop(TcpStream::connect(address).unwrap());
}

#[test]
fn a_client_that_speaks_plain_http_learns_that_and_nothing_else() {
    let server = Setup::new().config("[tls]\nhsts = \"180 days\"\n").start();
    let ask = |pieces: &[&str]| {
        let mut raw = Raw::connect(server.https.unwrap());
        for piece in pieces {
            raw.send(piece);
        }
        String::from_utf8(raw.read_to_end()).unwrap()
    };
    let get = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for pieces in [
        &[get][..],
        &["G", "ET /healthz HTTP/1.1\r\nHost: localhost\r\n", "\r\n"],
        // No better request gets another answer.
        &["POST /api/notes HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"],
        &["GET / HTTP/1.1\nHost: a\n\n"],
        &[get, get],
    ] {
        let said = ask(pieces);
        assert!(said.starts_with("HTTP/1.1 400 "), "{pieces:?}: {said}");
        assert!(said.contains("ask with https://"), "{pieces:?}: {said}");
        assert!(said.contains("Connection: close"), "{pieces:?}: {said}");
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{pieces:?}: {said}");
        // Nobody believes it of a connection that anyone could have written to (RFC 6797, section 8.1).
        let said = said.to_lowercase();
        assert!(!said.contains("strict-transport-security"), "{said}");
    }
    let head = ask(&["HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n"]);
    assert!(
        head.starts_with("HTTP/1.1 400 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );

    // Who speaks something else is told in TLS: an alert (RFC 8446, section 6), and nothing in the clear.
    for bytes in [&b"\x00\x01\x02\x03\x04\x05"[..], b"get / HTTP/1.1\r\n\r\n"] {
        let mut raw = Raw::connect(server.https.unwrap());
        raw.send(bytes);
        let said = raw.read_to_end();
        assert_eq!(said.first(), Some(&21), "{said:?}");
    }
}

#[test]
fn openssl_agrees() {
    let server = Server::start();
    let address = server.https.unwrap().to_string();
    let output = std::process::Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "localhost"])
        .args(["-alpn", "h2,http/1.1", "-brief"])
        .stdin(std::process::Stdio::null())
        .output()
        .expect("openssl is installed (Debian: apt install openssl)");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Protocol version: TLSv1.3"), "{said}");
}
