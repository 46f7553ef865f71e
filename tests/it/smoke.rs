//! The main job, end to end.

use serde_json::{Value, json};

use crate::support::http;
use crate::support::server::Server;

#[tokio::test]
async fn a_note_is_written_over_https_and_survives_a_restart() {
    let server = Server::start();
    let client = http::client();
    let created = client
        .post(server.url("/api/notes"))
        .json(&json!({"title": "milk", "body": "two litres"}))
        .send()
        .await
        .unwrap();
    assert_eq!(created.status(), 201);
    let location = created.headers()["location"].to_str().unwrap().to_owned();

    let server = server.restart();
    let found: Value = http::client()
        .get(server.url(&location))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(found["title"], "milk");
    assert_eq!(found["body"], "two litres");
}
