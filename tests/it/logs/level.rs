//! The level, changed while the server runs.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::http;
use crate::support::server::{Server, Setup};

async fn post(server: &Server, wanted: &Value) -> (StatusCode, Value) {
    let request = http::client().post(server.admin_url("/log")).json(wanted);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn get(server: &Server) -> Value {
    let answer = http::client().get(server.admin_url("/log")).send();
    answer.await.unwrap().json().await.unwrap()
}

/// Whether a line of level debug is said of a connection that fails its handshake.
fn says_more(server: &mut Server, number: usize) -> bool {
    let address = server.https.unwrap();
    for _ in 0..number {
        let mut raw = crate::support::raw::Raw::connect(address);
        raw.send("this is no handshake\r\n\r\n").read_to_end();
    }
    server.log().matches("TLS handshake failed").count() >= number
}

#[tokio::test(flavor = "multi_thread")]
async fn a_level_lasts_as_long_as_it_is_wanted() {
    let mut server = Setup::new().admin().start();
    let configured = json!({ "level": "info", "configured": "info", "until": null });
    assert_eq!(get(&server).await, configured);
    assert!(!says_more(&mut server, 1));

    let (status, level) = post(&server, &json!({ "level": "debug", "for": "1h" })).await;
    assert_eq!(status, StatusCode::OK, "{level}");
    assert_eq!(level["level"], "debug");
    assert_eq!(level["configured"], "info");
    assert!(level["until"].is_string(), "{level}");
    assert_eq!(get(&server).await, level);
    let mut raw = crate::support::raw::Raw::connect(server.https.unwrap());
    raw.send("this is no handshake\r\n\r\n");
    server.wait_for_line("TLS handshake failed");

    post(&server, &json!({ "level": "debug", "for": "1s" })).await;
    server.wait_for_line("log.level is in force again");
    assert_eq!(get(&server).await, configured);
    let told = server.log().matches("TLS handshake failed").count();
    assert!(!says_more(&mut server, told + 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn libraries_that_log_another_way_follow() {
    let mut server = Setup::new().admin().start();
    let (status, level) = post(&server, &json!({ "level": "info,pingora_core=debug" })).await;
    assert_eq!(status, StatusCode::OK, "{level}");
    Api::http1(&server).get("/api").await;
    server.wait_for_line(" DEBUG ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_one_choice_does_not_end_the_next() {
    let mut server = Setup::new().admin().start();
    post(&server, &json!({ "level": "debug", "for": "1s" })).await;
    let (_, level) = post(&server, &json!({ "level": "trace", "for": "forever" })).await;
    assert_eq!(level["until"], Value::Null);
    // The first would have ended by now.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(get(&server).await["level"], "trace");
    let (status, level) = post(&server, &json!({})).await;
    assert_eq!((status, &level["level"]), (StatusCode::OK, &json!("info")));
    assert!(!server.log().contains("in force again"), "{}", server.log());
    assert!(server.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_level_changes_nothing() {
    let server = Setup::new().admin().start();
    for (wanted, words) in [
        (
            json!({ "level": "loud" }),
            "\"loud\" is not a level; write error, warn",
        ),
        (json!({ "level": "" }), "not a level"),
        (json!({ "level": "unibody=loud" }), "not a level"),
        (
            json!({ "level": "debug", "for": "a while" }),
            "for = \"a while\" is not",
        ),
    ] {
        let (status, answer) = post(&server, &wanted).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{wanted}");
        let message = answer["message"].as_str().unwrap();
        assert!(message.contains(words), "{wanted}: {message}");
        assert_eq!(get(&server).await["level"], "info", "{wanted}");
    }
}

#[test]
fn the_command_tells_and_changes_it() {
    let server = Setup::new().admin().start();
    for (arguments, status, words) in [
        (&["log-level"][..], 0, "info, as log.level says"),
        (&["log-level", "debug"], 0, "debug until 2"),
        (&["log-level"], 0, "Z, then info"),
        (
            &["log-level", "trace", "--for", "forever"],
            0,
            "trace until the server ends; log.level is info",
        ),
        (&["log-level", "--reset"], 0, "info, as log.level says"),
        (
            &["log-level", "loud"],
            1,
            "unibody: \"loud\" is not a level",
        ),
        (&["log-level", "--reset", "debug"], 2, "cannot be used with"),
    ] {
        let ran = server.ask(arguments);
        let said = [ran.stdout, ran.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert_eq!(ran.status.code(), Some(status), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}
