//! Secrets that are sent and configured, looked for in everything the server says.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::support::api::Api;
use crate::support::breakable::Break;
use crate::support::command::unibody;
use crate::support::database::TestDatabase;
use crate::support::http;
use crate::support::pebble::Pebble;
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

/// What a client sends.
const SENT: &str = "s3cr3t-7Hq";
/// What an upstream sends back.
const SET: &str = "s3t-c00k1e";
/// What the configuration has.
pub(super) const KEPT: &str = "k3pt-9Zx";

/// Everything that libraries would say, the most talkative among them by name.
const TRACE: &str =
    "trace,h2=trace,pingora_core=trace,pingora_proxy=trace,rustls=trace,tokio_postgres=trace";

const ROUTES: &str = r#"
[[route]]
path = "/api/"
app = true
[[route]]
path = "/up/"
upstream = "backend"
request_headers = { set = { X-Api-Key = "k3pt-9Zx" } }
[[route]]
path = "/dead/"
upstream = "dead"
[[route]]
path = "/broken/"
upstream = "broken"
[[route]]
path = "/private/"
respond = { body = "in" }
basic_auth = { alice = "$2y$05$Y4HrLKjFqoTBbDXTnXeXwe7BRByxPjQA.q8lzmcaTFqFGDya7m96u" }
[[route]]
path = "/away/"
redirect = { to = "https://localhost/?token=k3pt-9Zx" }
[[route]]
path = "/"
files = "public"
"#;

/// The forms in which a secret may come to light.
fn forms(secret: &str) -> Vec<String> {
    let bytes: Vec<_> = secret.bytes().map(|byte| byte.to_string()).collect();
    vec![
        secret.to_owned(),
        bytes.join(", "),
        BASE64_STANDARD.encode(format!("alice:{secret}")),
        // As http escapes it in debug output, and as a URL may.
        secret.replace('-', "%2D"),
    ]
}

pub(super) fn assert_hidden(secret: &str, text: &str, place: &str) {
    for form in forms(secret) {
        let found: Vec<_> = text.lines().filter(|line| line.contains(&form)).collect();
        assert!(found.is_empty(), "{form} in {place}:\n{}", found.join("\n"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_a_request_or_of_the_configuration_is_ever_told() {
    for format in ["text", "json"] {
        let database = TestDatabase::new();
        let (proxy, url) = database.behind_a_proxy();
        let backend = Upstream::answering(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: session={SET}\r\nContent-Length: 0\r\n\r\n"
        ));
        let broken = Upstream::answering(format!(
            "HTTP/1.1 200 OK\r\nSet-Cookie: a={SET}\r\nContent-Length: 10\r\nContent-Length: 11\r\n\r\nno"
        ));
        let mut server = Setup::new()
            .admin()
            .server("trusted_proxies = [\"127.0.0.0/8\"]")
            .config(&format!(
                "[log]\nlevel = \"{TRACE}\"\nformat = \"{format}\"\n[headers]\nSet-Cookie = \"a={KEPT}\"\n{ROUTES}\
                 [[upstream]]\nname = \"backend\"\nservers = [\"{}\"]\nhealth = {{ path = \"/?password={KEPT}\" }}\n\
                 [[upstream]]\nname = \"dead\"\nservers = [\"127.0.0.1:1\"]\n\
                 [[upstream]]\nname = \"broken\"\nservers = [\"{}\"]\n\
                 [acme]\neab_kid = \"me\"\neab_hmac_key = \"{}\"\nwebhook = \"http://127.0.0.1:1/{KEPT}\"\n",
                backend.address,
                broken.address,
                KEPT.repeat(4)
            ))
            .database(&url)
            .start();
        let mut told = String::new();
        for api in [Api::http1(&server), Api::http2(&server)] {
            ask_everything(&api, &mut told).await;
            proxy.refuse();
            proxy.end(Break::Reset);
            ask_everything(&api, &mut told).await;
            proxy.forward();
        }
        let (http, https) = (server.http.unwrap(), server.https.unwrap());
        tokio::task::spawn_blocking(move || {
            for head in heads() {
                Raw::connect(http).send(&head).read_to_end();
            }
            Raw::connect(https).send(&heads()[0]).read_to_end();
        })
        .await
        .unwrap();
        for path in [
            "/status",
            "/metrics",
            "/log",
            &format!("/nothing?token={SENT}"),
        ] {
            let answer = http::client().get(server.admin_url(path)).send();
            told.push_str(&answer.await.unwrap().text().await.unwrap());
        }
        told.push_str(&String::from_utf8(server.ask(&["config"]).stdout).unwrap());
        told.push_str(&String::from_utf8(server.ask(&["status"]).stdout).unwrap());
        server.stop();

        let log = server.log();
        let password = url::Url::parse(&url).unwrap();
        for secret in [SENT, SET, KEPT, password.password().unwrap()] {
            assert_hidden(secret, &log, "the log");
            assert_hidden(secret, &told, "an answer");
        }
        // It has said what it could, and what is left is still to be read.
        for words in [
            "Request header",
            "token=***",
            "ejected",
            "the database is unavailable",
        ] {
            assert!(log.contains(words), "{words} is not in the log");
        }
        if format == "json" {
            for line in log.lines().filter(|line| line.starts_with('{')) {
                serde_json::from_str::<serde_json::Value>(line)
                    .unwrap_or_else(|error| panic!("{error}: {line}"));
            }
        }
    }
}

/// Requests that are answered, refused and broken in every way, all with a secret wherever one may be.
async fn ask_everything(api: &Api, told: &mut String) {
    let query =
        format!("token={SENT}&a=1&pass%77ord={SENT};b&user[password]={SENT}&c=2;token={SENT}");
    for (method, path) in [
        ("GET", "/api/notes"),
        ("GET", "/api/notes/nothing"),
        ("GET", "/readyz"),
        ("POST", "/api/notes"),
        ("GET", "/up/"),
        ("POST", "/up/"),
        ("GET", "/dead/"),
        ("GET", "/broken/"),
        ("GET", "/private/"),
        ("GET", "/nothing"),
        ("GET", "/"),
        ("PUT", "/"),
        ("GET", "/%2e%2e/"),
    ] {
        let request = api
            .request(method, &format!("{path}?limit=none&{query}"))
            .header(
                "authorization",
                format!("Basic {}", BASE64_STANDARD.encode(format!("alice:{SENT}"))),
            )
            .header("cookie", format!("a=\"{SENT}\"; b={SENT}"))
            .header("set-cookie", SENT)
            .header("x-api-key", SENT)
            .header("x-request-id", "known")
            .header("referer", format!("https://localhost/?{query}"))
            .header("content-type", "application/json");
        let request = match method {
            "GET" => request,
            _ => request.body("{\"title\": 7, \"unknown\": 1"),
        };
        let answer = api.send(request).await;
        // What an upstream sends is the client's to see, and so is what [headers] says.
        if answer.status >= 400 {
            told.push_str(&String::from_utf8_lossy(&answer.body));
        }
    }
}

/// Heads that never become a request.
fn heads() -> Vec<String> {
    let fields =
        format!("Authorization: Bearer {SENT}\r\nCookie: a={SENT}\r\nX-Api-Key: {SENT}\r\n");
    vec![
        format!("GET /?token={SENT} HTTP/1.1\r\nHost: localhost\r\n{fields}X: a\nb\r\n\r\n"),
        format!("GET /?token={SENT} HTTP/1.1\r\n{fields}\r\n"),
        format!(
            "GET /?token={SENT} HTTP/1.1\r\nHost: elsewhere\r\nConnection: close\r\n{fields}\r\n"
        ),
        format!("GET /?token={SENT} HTTP/9.9\r\nHost: localhost\r\n{fields}\r\n"),
        format!("G\u{1}T /?token={SENT} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"),
        format!(
            "GET http://alice:{SENT}@localhost/?token={SENT} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n"
        ),
        format!(
            "GET /?token={SENT} HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n{fields}\r\n",
            "x".repeat(70_000)
        ),
        format!(
            "GET /?token={SENT}{} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n",
            "x".repeat(70_000)
        ),
        format!(
            "GET /?token={SENT} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n{fields}\r\n"
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ties_the_account_to_a_customer_is_never_told() {
    const KEY: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let ca = Pebble::setup().customer("customer-7", KEY).start().await;
    let more = format!(
        "eab_kid = \"customer-7\"\neab_hmac_key = \"{KEY}\"\nwebhook = \"http://127.0.0.1:1/{KEPT}?token={KEPT}\"\n\
         [log]\nlevel = \"trace,rustls=trace\""
    );
    let mut server: Server = ca
        .server_at(ca.address, &["a.test"], &["http-01"], &more)
        .start();
    // The webhook is tried three times.
    server.wait_for_line("could not be told (acme.webhook)");
    server.stop();
    for secret in [KEY, KEPT] {
        assert_hidden(secret, &server.log(), "the log");
    }
}

#[test]
fn a_mistake_in_the_configuration_shows_no_secret() {
    let directory = tempfile::tempdir().unwrap();
    let file = format!(
        "[headers]\nAuthorization = \"a\\n{KEPT}\"\n[database]\nurl = \"mysql://u:{KEPT}@h/\"\n\
         [acme]\neab_kid = \"a\"\neab_hmac_key = \"{KEPT}!\"\nwebhook = \"gopher://{KEPT}\"\n\
         [[upstream]]\nname = \"a\"\nservers = [\"http://u:{KEPT}@h:1\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"a\"\nbasic_auth = {{ alice = \"{KEPT}\" }}\n\
         request_headers = {{ set = {{ X-Api-Key = \"{KEPT}\\n\" }} }}\n"
    );
    std::fs::write(directory.path().join("config.toml"), file).unwrap();
    for command in [&["check"][..], &["config"], &["serve"]] {
        let ran = unibody(directory.path(), command, &[]).assert_status(78);
        assert_hidden(KEPT, &(ran.stdout + &ran.stderr), "a message");
    }
}
