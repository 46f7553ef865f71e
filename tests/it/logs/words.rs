//! Words of others that commands and answers pass on: what failed, and nobody's secret.

use std::time::Instant;

use super::secrets::{KEPT, assert_hidden};
use crate::support::http;
use crate::support::server::{PATIENCE, Setup};

#[test]
fn what_a_command_of_the_users_says_is_told_without_secrets() {
    let said = format!(
        "{{'Authorization': 'Bearer {KEPT} a', 'X-Mine': b'{KEPT}'}} password='a {KEPT}' x-mine = {KEPT} and the end"
    );
    let server = Setup::new().admin().config(
        "[log]\nmask = [\"Authorization\", \"X-Mine\"]\n\
             [backup]\nevery = \"1h\"\ncommand = \"cat > /dev/null; cat said >&2; exit 3\"",
    );
    std::fs::write(server.directory().join("said"), said).unwrap();
    let mut server = server.start();
    server.wait_for_line("backup.command failed");
    let begun = Instant::now();
    let told = loop {
        let ran = server.ask(&["backup"]);
        let told = String::from_utf8(ran.stderr).unwrap();
        // The server's own attempt may still have the lock.
        if told.contains("backup.command failed") {
            break told;
        }
        assert!(begun.elapsed() < PATIENCE, "{told}");
    };
    server.stop();
    for (text, place) in [(&told, "an error"), (&server.log(), "the log")] {
        assert_hidden(KEPT, text, place);
        let hidden =
            "{'Authorization': '***', 'X-Mine': b'***'} password='***' x-mine = *** and the end";
        assert!(text.contains(hidden), "{place}: {text}");
    }
}

#[tokio::test]
async fn why_something_that_was_asked_for_failed_is_told_without_secrets() {
    let mut server = Setup::new().admin().start();
    let path = server.path("config.toml");
    let right = std::fs::read_to_string(&path).unwrap();
    let files = format!("cert = \"c?token={KEPT}\"\nkey = \"k?token={KEPT}\"");
    let redirect = format!("redirect = {{ to = \"gopher://a/?token={KEPT}\" }}");
    for (more, why) in [
        (
            format!("[tls]\nmode = \"files\"\n[[tls.files]]\n{files}"),
            "a file that is not there",
        ),
        (format!("[[route]]\npath = \"/a\"\n{redirect}"), "a mistake"),
    ] {
        std::fs::write(&path, format!("{right}\n{more}\n")).unwrap();
        for command in ["reload", "upgrade", "check"] {
            let ran = server.ask(&[command]);
            assert!(!ran.status.success(), "{command}: {ran:?}");
            let told = String::from_utf8(ran.stderr).unwrap();
            assert_hidden(KEPT, &told, "an error");
            assert!(told.contains("token=***"), "{why}, {command}: {told}");
        }
        for (at, body) in [("/reload", "{}"), ("/upgrade", "{\"patience\": 60}")] {
            let asked = http::client().post(server.admin_url(at));
            let asked = asked.header("content-type", "application/json").body(body);
            let answer = asked.send().await.unwrap();
            assert!(!answer.status().is_success(), "{at}: {}", answer.status());
            let told = answer.text().await.unwrap();
            assert_hidden(KEPT, &told, "an answer");
            assert!(told.contains("token=***"), "{why}, {at}: {told}");
        }
    }
    server.stop();
    assert_hidden(KEPT, &server.log(), "the log");
}

#[test]
fn the_password_that_is_made_for_the_embedded_database_is_never_told() {
    let mut server = Setup::new()
        .embedded()
        .config("[log]\nlevel = \"info,tokio_postgres=debug\"")
        .start();
    let password = std::fs::read_to_string(server.path("data/postgres.password")).unwrap();
    server.stop();
    assert_hidden(password.trim(), &server.log(), "the log");
    let made = "CREATE ROLE unibody LOGIN PASSWORD '***'";
    assert!(server.log().contains(made), "{}", server.log());
}
