//! What can be read, and how it is addressed.

use http::Method;
use serde_json::json;

use crate::app::testing::App;

#[tokio::test]
async fn health_and_index_need_no_database() {
    let app = App::without_database();
    let alive = app.get("/healthz").await;
    assert_eq!(alive.status, 200);
    assert_eq!(alive.json(), json!({ "ok": true }));
    assert_eq!(alive.header("cache-control"), "no-store");

    let index = app.get("/api").await;
    assert_eq!(index.status, 200);
    let document = index.json();
    assert_eq!(document["message"], "Hello, production!");
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(document["links"]["notes"], "/api/notes");
}

#[tokio::test]
async fn a_note_reads_as_it_was_written() {
    let app = App::start().await;
    let location = app.create_note("Ünïcode 🦀", "two\r\nlines\t\u{1}").await;
    let reply = app.get(&location).await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("cache-control"), "private, no-cache");
    assert_eq!(reply.header("etag"), "\"v1\"");
    let note = reply.json();
    let members: Vec<_> = note.as_object().unwrap().keys().cloned().collect();
    let mut expected = ["id", "title", "body", "created_at", "updated_at", "version"];
    expected.sort_unstable();
    assert_eq!(members, expected);
    assert_eq!(note["title"], "Ünïcode 🦀");
    assert_eq!(note["body"], "two\r\nlines\t\u{1}");
    assert_eq!(note["version"], 1);
    assert_eq!(note["created_at"], note["updated_at"]);
    assert_eq!(
        location,
        format!("/api/notes/{}", note["id"].as_str().unwrap())
    );
}

#[tokio::test]
async fn head_answers_as_get_without_the_content() {
    let app = App::start().await;
    let note = app.create_note("milk", "two litres").await;
    for path in [
        &note,
        "/api/notes",
        "/api",
        "/healthz",
        "/readyz",
        "/api/notes/none",
        "/api/none",
    ] {
        let get = app.get(path).await;
        let head = app.ask(Method::HEAD, path, &[], "").await;
        assert_eq!(head.status, get.status, "{path}");
        assert_eq!(head.headers, get.headers, "{path}");
        assert_eq!(head.content, b"", "{path}");
        assert_eq!(
            get.header("content-length"),
            get.content.len().to_string(),
            "{path}"
        );
    }
}

#[tokio::test]
async fn what_names_no_note_is_404() {
    let app = App::start().await;
    let note = app.create_note("milk", "").await;
    let content = r#"{"title":"x"}"#;
    for path in [
        "/api/notes/00000000-0000-0000-0000-000000000000",
        "/api/notes/1",
        "/api/notes/%00",
        "/api/notes/%ff",
        &note.to_uppercase().replace("/API/NOTES", "/api/notes"),
        &format!("{note}%20"),
    ] {
        for (method, content) in [
            (Method::GET, ""),
            (Method::PUT, content),
            (Method::PATCH, content),
            (Method::PATCH, "{}"),
            (Method::DELETE, ""),
        ] {
            let reply = app.ask(method, path, &[], content).await;
            reply.assert_problem(404);
        }
    }
}

#[tokio::test]
async fn unknown_paths_are_404_with_a_problem() {
    let app = App::without_database();
    for path in [
        "/",
        "/api/",
        "/api/nothing",
        "/api/notes/",
        "/api/notes/1/2",
        "/healthz/",
        "/API",
    ] {
        let reply = app
            .ask(Method::GET, path, &[("X-Request-Id", "r-1")], "")
            .await;
        reply.assert_problem(404);
        assert_eq!(reply.json()["type"], "about:blank");
        assert_eq!(reply.json()["title"], "Not Found");
        assert_eq!(reply.json()["request_id"], "r-1");
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_with_what_is_allowed() {
    let app = App::without_database();
    for (path, allowed) in [
        ("/healthz", "GET,HEAD"),
        ("/readyz", "GET,HEAD"),
        ("/api", "GET,HEAD"),
        ("/api/notes", "GET,HEAD,POST"),
        ("/api/notes/1", "GET,HEAD,PUT,PATCH,DELETE"),
    ] {
        let reply = app.ask(Method::TRACE, path, &[], "").await;
        reply.assert_problem(405);
        assert_eq!(reply.header("allow"), allowed, "{path}");
        let options = app.ask(Method::OPTIONS, path, &[], "").await;
        assert_eq!(options.status, 204);
        assert_eq!(options.header("allow"), allowed, "{path}");
    }
    app.ask(Method::DELETE, "/api/notes", &[], "")
        .await
        .assert_problem(405);
}
