//! `basic_auth`, and the command that makes its hashes.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::{ask, from, server};
use crate::support::server::Setup;
use crate::support::upstream::Upstream;

/// bcrypt of "secret", as `htpasswd -B` writes it.
const BCRYPT: &str = "$2y$05$Y4HrLKjFqoTBbDXTnXeXwe7BRByxPjQA.q8lzmcaTFqFGDya7m96u";

/// What `unibody hash-password` says when `input` is on its standard input.
fn hash_password(input: &[u8]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unibody"))
        .arg("hash-password")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that has read enough may be gone.
    let _ = command.stdin.take().unwrap().write_all(input);
    let output = command.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn basic(login: &str) -> String {
    format!("Authorization: Basic {}\r\n", BASE64_STANDARD.encode(login))
}

#[test]
fn only_who_signs_in_comes_through_and_no_password_is_logged() {
    let (status, hash, _) = hash_password("p\u{e4}ss:word\n".as_bytes());
    assert_eq!(status, Some(0));
    let upstream = Upstream::saying("inside");
    let mut server = server(
        &upstream,
        &format!(
            "[[route]]\npath = \"/\"\nupstream = \"backend\"\n\
             [[route]]\npath = \"/admin/\"\nupstream = \"backend\"\n\
             basic_auth = {{ alice = \"{}\", bob = \"{BCRYPT}\" }}\n",
            hash.trim_end()
        ),
    );
    for (path, headers, status, why) in [
        ("/", String::new(), 200, "another route asks nobody"),
        ("/admin/", String::new(), 401, "nobody"),
        ("/admin", String::new(), 401, "without its slash"),
        ("/admin/", basic("alice:p\u{e4}ss:word"), 200, "Argon2id"),
        ("/admin/", basic("alice:p\u{e4}ss:word"), 200, "known again"),
        ("/admin/", basic("bob:secret"), 200, "bcrypt"),
        ("/admin/", basic("bob:Secret"), 401, "wrong"),
        ("/admin/", basic("alice:secret"), 401, "somebody else's"),
        ("/admin/", basic("carol:secret"), 401, "an unknown name"),
        ("/admin/", basic("alice"), 401, "no password at all"),
        (
            "/admin/",
            format!("{}{}", basic("bob:secret"), basic("bob:x")),
            401,
            "two of them",
        ),
        (
            "/admin/",
            "Authorization: Bearer secret\r\n".to_owned(),
            401,
            "another scheme",
        ),
    ] {
        let answer = ask(&server, &format!("GET {path}"), &headers);
        assert_eq!(answer.status, status, "{why}: {}", answer.head);
        let challenge = answer.header("www-authenticate");
        if status == 401 {
            let expected = "basic realm=\"/admin/\", charset=\"utf-8\"";
            assert_eq!(challenge, Some(expected), "{why}");
        } else {
            assert_eq!(challenge, None, "{why}");
            let received = upstream.request();
            let sent = headers.strip_prefix("Authorization: ").map(str::trim_end);
            assert_eq!(received.header("authorization"), sent, "passed on: {why}");
        }
        assert!(!upstream.has_more_requests(), "{why}");
    }
    server.stop();
    let log = server.log();
    for secret in ["p\u{e4}ss", "secret", "$argon2", "$2y", "YWxpY2U6"] {
        assert!(!log.contains(secret), "{secret} in {log}");
    }
}

#[test]
fn guesses_are_limited_before_they_are_checked() {
    let upstream = Upstream::saying("");
    let server = server(
        &upstream,
        &format!(
            "[[rate_limit]]\nname = \"guesses\"\nrate = \"1/d\"\nburst = 2\n\
             [[route]]\npath = \"/\"\nupstream = \"backend\"\nrate_limit = [\"guesses\"]\n\
             basic_auth.bob = \"{BCRYPT}\"\n"
        ),
    );
    let statuses =
        ["bob:a", "bob:b", "bob:secret"].map(|login| ask(&server, "GET /", &basic(login)).status);
    assert_eq!(statuses, [401, 401, 429]);
    let elsewhere = from("203.0.113.9") + &basic("bob:secret");
    assert_eq!(ask(&server, "GET /", &elsewhere).status, 200);
}

#[test]
fn a_name_that_nobody_has_costs_what_a_wrong_password_costs() {
    let upstream = Upstream::saying("");
    let slow = bcrypt_of_cost_10();
    let server = server(
        &upstream,
        &format!("[[route]]\npath = \"/\"\nupstream = \"backend\"\nbasic_auth.bob = \"{slow}\"\n"),
    );
    let fastest = |login: &str| {
        let times = (0..5).map(|_| {
            let began = Instant::now();
            assert_eq!(ask(&server, "GET /", &basic(login)).status, 401);
            began.elapsed()
        });
        times.min().unwrap()
    };
    let (wrong, unknown) = (fastest("bob:wrong"), fastest("nobody:wrong"));
    let nothing = {
        let began = Instant::now();
        assert_eq!(ask(&server, "GET /", "").status, 401);
        began.elapsed()
    };
    assert!(
        wrong > Duration::from_millis(10) && unknown > wrong / 2 && wrong > unknown / 2,
        "wrong {wrong:?}, unknown {unknown:?}, nothing {nothing:?}"
    );
}

/// A hash that takes tens of milliseconds, of a password that nobody knows.
fn bcrypt_of_cost_10() -> &'static str {
    "$2b$10$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
}

#[test]
fn users_may_stand_in_a_file() {
    let setup = Setup::new();
    let file = format!("# users\n\nbob:{BCRYPT}\n");
    std::fs::write(setup.directory().join("users"), file).unwrap();
    let server = setup
        .plain()
        .config("[[route]]\npath = \"/\"\nrespond = {}\nbasic_auth_file = \"users\"\n")
        .start();
    assert_eq!(ask(&server, "GET /", &basic("bob:secret")).status, 200);
    assert_eq!(ask(&server, "GET /", &basic("bob:wrong")).status, 401);
}

#[test]
fn the_command_hashes_what_it_is_given_and_nothing_else() {
    for (input, said, why) in [
        (b"\n".as_slice(), "the password is empty", "nothing"),
        (b"", "the password is empty", "nothing at all"),
        (b"\xff\xfe", "as UTF-8 text", "not text"),
        (&[b'x'; 5000], "that is no password", "a file"),
    ] {
        let (status, stdout, stderr) = hash_password(input);
        assert_eq!((status, stdout.as_str()), (Some(1), ""), "{why}");
        assert!(stderr.contains(said), "{why}: {stderr}");
        assert_eq!(stderr.lines().count(), 1, "{why}: {stderr}");
    }
    let (_, one, _) = hash_password(b"secret\r\n");
    let (_, two, _) = hash_password(b"secret");
    assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
    assert_ne!(one, two, "each has its salt");
}
