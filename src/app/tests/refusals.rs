//! Requests that are the client's mistake, and what they are told.

use axum::body::Body;
use futures_util::stream;
use http::{Method, Request};
use serde_json::json;

use crate::app::testing::App;

const PATH: &str = "/api/notes/00000000-0000-7000-8000-000000000000";

#[tokio::test]
async fn other_content_types_are_415() {
    let app = App::without_database();
    let accept = ("accept", "application/json");
    let accept_patch = (
        "accept-patch",
        "application/merge-patch+json, application/json",
    );
    for (method, path, media_type, (name, value)) in [
        (Method::POST, "/api/notes", None, accept),
        (Method::POST, "/api/notes", Some("text/plain"), accept),
        (
            Method::POST,
            "/api/notes",
            Some("application/x-www-form-urlencoded"),
            accept,
        ),
        (
            Method::POST,
            "/api/notes",
            Some("application/json; charset=latin1"),
            accept,
        ),
        (
            Method::POST,
            "/api/notes",
            Some("application/merge-patch+json"),
            accept,
        ),
        (Method::PUT, PATH, Some("application/vnd.note+json"), accept),
        (
            Method::PATCH,
            PATH,
            Some("application/json-patch+json"),
            accept_patch,
        ),
        (Method::PATCH, PATH, None, accept_patch),
    ] {
        let mut request = Request::builder().method(&method).uri(path);
        if let Some(media_type) = media_type {
            request = request.header("Content-Type", media_type);
        }
        let reply = app.send(request.body(Body::from("{}")).unwrap()).await;
        reply.assert_problem(415);
        assert_eq!(reply.header(name), value, "{method} {media_type:?}");
    }
}

#[tokio::test]
async fn two_content_types_or_a_coding_are_415() {
    let app = App::without_database();
    let twice = [("Content-Type", "application/json")];
    app.ask(Method::POST, "/api/notes", &twice, "{}")
        .await
        .assert_problem(415);
    let coded = [("Content-Encoding", "gzip")];
    let reply = app.ask(Method::POST, "/api/notes", &coded, "{}").await;
    reply.assert_problem(415);
    assert_eq!(reply.header("accept-encoding"), "identity");
}

#[tokio::test]
async fn bad_documents_are_told_apart() {
    let app = App::without_database();
    let long = format!(r#"{{"title":"{}"}}"#, "ä".repeat(161));
    for (content, status, fields) in [
        (" ", 400, &[][..]),
        ("{", 400, &[]),
        ("title=a", 400, &[]),
        (r#"{"title":"a"}x"#, 400, &[]),
        (r#"{"title":"\ud800"}"#, 400, &[]),
        ("null", 422, &[""]),
        ("[]", 422, &[""]),
        (r#""milk""#, 422, &[""]),
        (r#"{"title":""}"#, 422, &["title"]),
        (r#"{"title":"   "}"#, 422, &["title"]),
        (&long, 422, &["title"]),
        (r#"{"title":"a\u0000"}"#, 422, &["title"]),
        (r#"{"title":"a\nb"}"#, 422, &["title"]),
        (r#"{"title":5}"#, 422, &["title"]),
        (r#"{"title":null}"#, 422, &["title"]),
        (r#"{"body":"\u0000"}"#, 422, &["body"]),
        (r#"{"body":{"a":["b"]}}"#, 422, &["body"]),
        (r#"{"color":"red"}"#, 422, &["color"]),
        (r#"{"id":"x","title":"a"}"#, 422, &["id"]),
        (r#"{"title":"a","title":"b"}"#, 422, &["title"]),
        (
            r#"{"x":1,"title":"","body":7}"#,
            422,
            &["x", "title", "body"],
        ),
    ] {
        let reply = app.post(content).await;
        reply.assert_problem(status);
        assert_eq!(reply.fields(), fields, "{content}");
        let kind = if status == 422 {
            "/problems/validation"
        } else {
            "about:blank"
        };
        assert_eq!(reply.json()["type"], kind, "{content}");
    }
    app.ask(Method::PUT, PATH, &[], r#"{"body":"b"}"#)
        .await
        .assert_problem(422);
    app.ask(Method::PATCH, PATH, &[], r#"{"title":null}"#)
        .await
        .assert_problem(422);
}

#[tokio::test]
async fn a_problem_tells_the_request_id_and_every_error() {
    let app = App::without_database();
    let content = r#"{"title":"","body":false}"#;
    let headers = [("X-Request-Id", "0192-abc")];
    let reply = app.ask(Method::POST, "/api/notes", &headers, content).await;
    let expected = json!({
        "type": "/problems/validation",
        "title": "Not acceptable values",
        "status": 422,
        "detail": "2 values are not acceptable.",
        "errors": [
            { "field": "title", "detail": "must not be empty" },
            { "field": "body", "detail": "must be a string, not a boolean" },
        ],
        "request_id": "0192-abc",
    });
    assert_eq!(reply.json(), expected);
}

#[tokio::test]
async fn a_flood_of_mistakes_is_not_echoed() {
    let app = App::without_database();
    let name = "x".repeat(100_000);
    let members = vec![format!(r#""{name}":1"#); 40].join(",");
    let reply = app.post(&format!("{{{members}}}")).await;
    reply.assert_problem(422);
    assert!(reply.content.len() < 8_000, "{} bytes", reply.content.len());
}

#[tokio::test]
async fn a_body_that_breaks_off_is_400() {
    let app = App::without_database();
    let pieces = [
        Ok("{\"title\":"),
        Err(std::io::Error::other("body too large")),
    ];
    let request = Request::post("/api/notes")
        .header("Content-Type", "application/json")
        .body(Body::from_stream(stream::iter(pieces)))
        .unwrap();
    app.send(request).await.assert_problem(400);
}
