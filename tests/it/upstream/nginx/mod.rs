//! The same exchanges with nginx directly and through us, over each way that leads to it.
//!
//! [`exchanges`] is what both are asked, [`client`] asks. What differs is in [`ALWAYS`] and
//! [`DIFFERENCES`], with the reason; a difference that is not listed fails the test, and so does one in
//! the list that is not there.

mod client;
mod exchanges;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use self::client::{Client, Exchanged};
use self::exchanges::{Exchange, PAGE};
use super::forwarding_with;
use crate::support::breakable::{Breakable, Target};
use crate::support::nginx::Nginx;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::tls_front::Authority;

/// What differs in every final answer.
const ALWAYS: [(&str, &str); 7] = [
    ("- server: nginx/*", "who answers the client is not nginx"),
    ("+ server: unibody", "but we, and without a version"),
    ("+ x-request-id: *", "what to look for in the logs"),
    (
        "+ x-frame-options: SAMEORIGIN",
        "[headers], which are for every answer",
    ),
    ("+ x-content-type-options: nosniff", "[headers]"),
    (
        "+ referrer-policy: strict-origin-when-cross-origin",
        "[headers]",
    ),
    ("+ content-security-policy: *", "[headers]"),
];

/// What differs in the answers of single exchanges: its name, the difference, and why ours is right.
const DIFFERENCES: [(&str, &str, &str); 8] = [
    ("HEAD", "+ vary: Accept-Encoding", COMPRESSED),
    ("304", "+ vary: Accept-Encoding", COMPRESSED),
    ("chunks", "+ vary: Accept-Encoding", COMPRESSED),
    ("trailers", "+ vary: Accept-Encoding", COMPRESSED),
    ("a large answer", "+ vary: Accept-Encoding", COMPRESSED),
    ("a large upload", "+ vary: Accept-Encoding", COMPRESSED),
    (
        "a large upload in chunks",
        "+ vary: Accept-Encoding",
        COMPRESSED,
    ),
    (
        "trailers",
        r#"trailers "X-Sum: 1" -> """#,
        "Pingora drops those of HTTP/1.1, which a recipient may (RFC 9110, section 6.5.1)",
    ),
];

const COMPRESSED: &str = "who asks for it gets it compressed: text of 1 KiB or of unknown length";

/// The contents of nginx's `server` block.
fn site(directory: &Path, authority: &Authority) -> String {
    let (certificate, key) = (directory.join("pair.pem"), directory.join("pair.key"));
    authority.write_pair(&["127.0.0.1"], &certificate, &key);
    format!(
        "listen unix:{socket} ssl; ssl_certificate {certificate}; ssl_certificate_key {key};
        default_type text/plain; absolute_redirect off;
        location / {{ }}
        location = /count {{ return 200 $connection_requests; }}
        location = /nothing {{ return 204; }}
        location = /moved {{ return 301 /page; }}
        location = /asked {{ return 200 \"$request_method $request_uri $http_host\"; }}
        location = /chunks {{ try_files /page =404; sub_filter_types *; sub_filter a a; }}
        location = /trailers {{ try_files /page =404; sub_filter_types *; sub_filter a a; add_trailer X-Sum 1; }}
        location = /gzip {{ try_files /page =404; gzip on; gzip_types *; gzip_min_length 1; gzip_vary on; }}
        location = /accel {{
            try_files /page =404;
            add_header X-Accel-Redirect /nothing; add_header X-Accel-Buffering no; add_header X-Sendfile /etc/passwd;
            add_header X-Accel-Expires 60; add_header Set-Cookie a=1; add_header Set-Cookie b=2;
        }}
        location /store/ {{ dav_methods PUT DELETE; create_full_put_path on; etag off; add_header Last-Modified \"\"; }}
        location /small/ {{ dav_methods PUT; client_max_body_size 1k; }}
        location /closed {{ return 403; }}",
        socket = directory.join("tls.sock").display(),
        certificate = certificate.display(),
        key = key.display(),
    )
}

/// Everything to `server`; it has no app of its own to wait for.
fn forwarding(setup: Setup, server: &str, keys: &str) -> Server {
    setup
        .plain()
        .database("postgres://localhost:1/none")
        .config(&format!(
            "[database]\nwait = \"0s\"\n[[upstream]]\nname = \"backend\"\nservers = [\"{server}\"]\n{keys}\n\
             [[route]]\npath = \"/\"\nupstream = \"backend\"\nmax_body = \"10MiB\""
        ))
        .start()
}

#[test]
fn every_exchange_is_as_with_nginx_itself_or_differs_for_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let nginx = Nginx::start(&site(directory.path(), &authority));
    fs::write(nginx.path("page"), PAGE).unwrap();
    fs::write(nginx.path("large"), exchanges::large()).unwrap();

    let tcp = Breakable::before(Target::Unix(nginx.path("socket")));
    let tls = Breakable::before(Target::Unix(directory.path().join("tls.sock")));
    let trusting = Setup::new();
    authority.write(&trusting.directory().join("ca.pem"));
    let socket = format!("unix:{}", nginx.path("socket").display());
    let ways = [
        ("unix", forwarding(Setup::new(), &socket, "")),
        (
            "TCP",
            forwarding(Setup::new(), &tcp.address().to_string(), ""),
        ),
        (
            "TLS",
            forwarding(
                trusting,
                &format!("https://{}", tls.address()),
                "ca_file = \"ca.pem\"",
            ),
        ),
    ];
    let mut wrong = Vec::new();
    for (way, server) in &ways {
        let mut unused: Vec<_> = DIFFERENCES.iter().collect();
        for exchange in exchanges::all() {
            let theirs = Client::of_nginx(&nginx.path("socket")).run(&exchange);
            let ours = Client::of(server.http.unwrap()).run(&exchange);
            for difference in unlisted(&exchange, &theirs, &ours, &mut unused) {
                wrong.push(format!("{way}: {}: {difference}", exchange.name));
            }
        }
        wrong.extend(
            unused
                .iter()
                .map(|listed| format!("{way}: no longer so: {listed:?}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What differs and is not in the lists; what of them was met is taken out of `unused`.
fn unlisted(
    exchange: &Exchange,
    theirs: &Exchanged,
    ours: &Exchanged,
    unused: &mut Vec<&(&str, &str, &str)>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    if theirs.is_closed != ours.is_closed {
        wrong.push(format!("closed {} -> {}", theirs.is_closed, ours.is_closed));
    }
    if theirs.answers.len() != ours.answers.len() {
        let (theirs, ours) = (theirs.statuses(), ours.statuses());
        wrong.push(format!("answers {theirs:?} -> {ours:?}"));
    }
    for (theirs, ours) in theirs.answers.iter().zip(&ours.answers) {
        let mut differences = theirs.differences(ours);
        for (always, _) in ALWAYS.iter().filter(|_| ours.status >= 200) {
            match differences.iter().position(|found| is_like(found, always)) {
                Some(place) => drop(differences.remove(place)),
                None => wrong.push(format!("lacks {always}")),
            }
        }
        for difference in differences {
            let is_listed = |listed: &(&str, &str, &str)| {
                listed.0 == exchange.name && is_like(&difference, listed.1)
            };
            if DIFFERENCES.iter().any(is_listed) {
                unused.retain(|listed| !is_listed(listed));
            } else {
                wrong.push(difference);
            }
        }
    }
    wrong
}

/// Whether `found` is `listed`, where a `*` at its end is anything.
fn is_like(found: &str, listed: &str) -> bool {
    match listed.strip_suffix('*') {
        Some(start) => found.starts_with(start),
        None => found == listed,
    }
}

#[test]
fn many_clients_share_a_connection_to_nginx() {
    let nginx = Nginx::start("location / { return 200 $connection_requests; }");
    // One worker: with several, Pingora's pool sometimes loses a connection to a race.
    let server = forwarding_with("workers = 1", &nginx.table(""));
    let ask = |address: SocketAddr| {
        let mut raw = Raw::connect(address);
        raw.send("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        raw.answer().text()
    };
    for round in 1..=5 {
        assert_eq!(ask(server.http.unwrap()), round.to_string());
    }
}
