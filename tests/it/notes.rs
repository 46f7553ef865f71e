//! The notes API through the whole server, over both versions of HTTP.

use std::convert::Infallible;

use bytes::Bytes;
use futures_util::stream;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};
use crate::support::server::{Server, Setup};

#[tokio::test]
async fn a_note_lives_its_life_over_http_1_1() {
    let server = Server::start();
    life_of_a_note(&Api::http1(&server)).await;
}

#[tokio::test]
async fn a_note_lives_its_life_over_http_2() {
    let server = Server::start();
    life_of_a_note(&Api::http2(&server)).await;
}

async fn life_of_a_note(api: &Api) {
    let created = api
        .send_json(
            "POST",
            "/api/notes",
            &json!({"title": "milk", "body": "two litres"}),
        )
        .await;
    assert_eq!(created.status, 201, "{created:?}");
    let note = created.json();
    let path = format!("/api/notes/{}", note["id"].as_str().unwrap());
    assert_eq!(created.header("location"), path);
    assert_eq!(created.header("etag"), "\"v1\"");
    assert_eq!(note["title"], "milk");
    assert_eq!(note["body"], "two litres");
    assert_eq!(note["version"], 1);
    assert_eq!(note["created_at"], note["updated_at"]);

    api.create_note("newer").await;
    assert_eq!(api.titles().await, ["newer", "milk"], "newest first");
    assert_eq!(api.get(&path).await.json(), note, "shown as it was made");

    let replaced = api
        .send_json("PUT", &path, &json!({"title": "oat milk"}))
        .await;
    assert_eq!(replaced.status, 200, "{replaced:?}");
    assert_eq!(replaced.json()["body"], "", "PUT replaces all of it");
    assert_eq!(replaced.header("etag"), "\"v2\"");

    let patched = api
        .send_json("PATCH", &path, &json!({"body": "one litre"}))
        .await;
    assert_eq!(patched.status, 200, "{patched:?}");
    assert_eq!(patched.json()["title"], "oat milk", "PATCH keeps the rest");
    assert_eq!(patched.json()["version"], 3);
    assert_eq!(api.get(&path).await.json(), patched.json());

    let deleted = api.send(api.request("DELETE", &path)).await;
    assert_eq!(deleted.status, 204, "{deleted:?}");
    assert!(deleted.body.is_empty());
    assert_eq!(api.get(&path).await.status, 404);
    assert_eq!(api.titles().await, ["newer"]);
}

#[tokio::test]
async fn an_editor_does_not_overwrite_another() {
    let server = Server::start();
    let api = Api::http2(&server);
    let note = api.create_note("draft").await;
    let path = format!("/api/notes/{}", note["id"].as_str().unwrap());
    let edit = |name: &'static str, tag: &'static str, title: &'static str| {
        let request = api.request("PUT", &path).header(name, tag);
        api.send(request.json(&json!({ "title": title })))
    };

    assert_eq!(edit("if-match", "\"v1\"", "first").await.status, 200);
    let second = edit("if-match", "\"v1\"", "second").await;
    assert_eq!(second.status, 412);
    second.problem();
    assert_eq!(edit("if-match", "v2", "unquoted").await.status, 400);
    assert_eq!(edit("if-none-match", "*", "third").await.status, 412);
    assert_eq!(edit("if-match", "W/\"v2\"", "fourth").await.status, 200);
    let stale = api.request("DELETE", &path).header("if-match", "\"v2\"");
    assert_eq!(api.send(stale).await.status, 412);
    let shown = api.get(&path).await.json();
    assert_eq!(shown["title"], "fourth");
    assert_eq!(shown["version"], 3);
}

#[tokio::test]
async fn what_a_client_has_already_is_not_sent_again() {
    let server = Server::start();
    let api = Api::http1(&server);
    let note = api.create_note("known").await;
    for path in [
        "/api/notes".to_owned(),
        format!("/api/notes/{}", note["id"].as_str().unwrap()),
    ] {
        let tag = api.get(&path).await.header("etag").to_owned();
        let again = || api.request("GET", &path).header("if-none-match", &tag);
        let known = api.send(again()).await;
        assert_eq!(known.status, 304, "{path}: {known:?}");
        assert!(known.body.is_empty(), "{path}");
        assert_eq!(known.header("etag"), tag, "{path}");

        let change = json!({"title": format!("changed for {path}")});
        let note_path = format!("/api/notes/{}", note["id"].as_str().unwrap());
        api.send_json("PUT", &note_path, &change).await;
        assert_eq!(api.send(again()).await.status, 200, "{path} has changed");
    }
}

#[tokio::test]
async fn refusals_are_problem_documents_with_the_id_that_the_log_has() {
    let mut server = Server::start();
    let (http1, http2) = (Api::http1(&server), Api::http2(&server));
    let note = http1.create_note("milk").await;
    let path = format!("/api/notes/{}", note["id"].as_str().unwrap());
    let missing = "/api/notes/0192f4a1-0000-7000-8000-000000000001";
    let json = "application/json";
    for (method, path, content_type, body, status, why) in [
        ("POST", "/api/notes", "text/plain", "{}", 415, "not JSON"),
        ("POST", "/api/notes", "", "{}", 415, "no type at all"),
        ("PATCH", &path, "application/xml", "{}", 415, "not JSON"),
        ("POST", "/api/notes", json, "{", 400, "broken JSON"),
        ("POST", "/api/notes", json, "", 400, "nothing"),
        ("POST", "/api/notes", json, "[]", 422, "no object"),
        (
            "POST",
            "/api/notes",
            json,
            r#"{"title":1}"#,
            422,
            "a number",
        ),
        ("POST", "/api/notes", json, r#"{"title":""}"#, 422, "empty"),
        (
            "POST",
            "/api/notes",
            json,
            r#"{"titel":"a"}"#,
            422,
            "unknown",
        ),
        (
            "POST",
            "/api/notes",
            json,
            r#"{"body":"\u0000"}"#,
            422,
            "NUL",
        ),
        ("PUT", &path, json, r#"{"body":"b"}"#, 422, "no title"),
        (
            "PUT",
            missing,
            json,
            r#"{"title":"a"}"#,
            404,
            "no such note",
        ),
        ("GET", missing, "", "", 404, "no such note"),
        ("GET", "/api/notes/1", "", "", 404, "no id"),
        ("DELETE", missing, "", "", 404, "no such note"),
        ("GET", "/api/nothing", "", "", 404, "no such path"),
        ("GET", "/api/notes?limit=0", "", "", 422, "limit"),
        ("DELETE", "/api/notes", "", "", 405, "not all at once"),
        ("POST", &path, json, "{}", 405, "notes are made elsewhere"),
    ] {
        for api in [&http1, &http2] {
            let mut request = api.request(method, path);
            if !content_type.is_empty() {
                request = request.header("content-type", content_type);
            }
            if !body.is_empty() || !content_type.is_empty() {
                request = request.body(body);
            }
            let answer = api.send(request).await;
            assert_eq!(answer.status, status, "{method} {path}: {why}: {answer:?}");
            let problem = answer.problem();
            if status == 422 {
                assert!(!problem["errors"][0]["detail"].is_null(), "{problem}");
            }
            if status == 405 {
                assert!(answer.header("allow").contains("GET"), "{answer:?}");
            }
            let id = problem["request_id"].as_str().unwrap();
            let line = server.line_with(&format!("id={id}"));
            assert!(line.contains(&format!("\"{method} {path} HTTP/")), "{line}");
            assert!(line.contains(&format!("\" {status} ")), "{line}");
        }
    }
    assert_eq!(http1.titles().await, ["milk"], "nothing was changed");
}

#[tokio::test]
async fn titles_are_counted_in_characters() {
    let server = Server::start();
    let api = Api::http2(&server);
    for (title, status) in [
        ("田中さんへの手紙 🦀 Grüße".to_owned(), 201),
        ("🦀".repeat(160), 201),
        ("é".repeat(161), 422),
        ("e\u{301}".repeat(81), 422),
        ("two\nlines".to_owned(), 422),
    ] {
        let answer = api
            .send_json("POST", "/api/notes", &json!({ "title": title }))
            .await;
        assert_eq!(answer.status, status, "{title}");
        if status == 201 {
            assert_eq!(answer.json()["title"], title);
            let shown = api.get(answer.header("location")).await;
            assert_eq!(shown.json()["title"], title);
        }
    }
    let untitled = api.send_json("POST", "/api/notes", &json!({})).await;
    assert_eq!(untitled.json()["title"], "Untitled");
}

#[tokio::test]
async fn a_body_above_max_body_is_refused_however_it_is_sent() {
    let server = Setup::new().server("max_body = \"64KiB\"").start();
    for api in [Api::http1(&server), Api::http2(&server)] {
        let document = |length: usize| {
            let frame = json!({"title": "long", "body": ""}).to_string().len();
            let body = "x".repeat(length - frame);
            Bytes::from(json!({"title": "long", "body": body}).to_string())
        };
        let (largest, too_large) = (document(64 * 1024), document(64 * 1024 + 1));
        let known = |bytes: &Bytes| json_request(&api).body(bytes.clone());
        let streamed = |bytes: &Bytes| json_request(&api).body(in_pieces(bytes));

        assert_eq!(api.send(known(&largest)).await.status, 201);
        assert_eq!(api.send(streamed(&largest)).await.status, 201);
        assert_too_large(&api.send(known(&too_large)).await);
        assert_too_large(&api.send(streamed(&too_large)).await);
    }
}

fn json_request(api: &Api) -> reqwest::RequestBuilder {
    api.request("POST", "/api/notes")
        .header("content-type", "application/json")
}

/// A body of unknown length.
fn in_pieces(bytes: &Bytes) -> reqwest::Body {
    let pieces: Vec<_> = bytes.chunks(10_000).map(Bytes::copy_from_slice).collect();
    reqwest::Body::wrap_stream(stream::iter(
        pieces.into_iter().map(Ok::<Bytes, Infallible>),
    ))
}

fn assert_too_large(answer: &Answer) {
    assert_eq!(answer.status, 413, "{answer:?}");
    answer.problem();
}

#[tokio::test]
async fn head_says_what_get_would_and_sends_nothing() {
    let server = Server::start();
    for api in [Api::http1(&server), Api::http2(&server)] {
        let note = api.create_note("milk").await;
        let path = format!("/api/notes/{}", note["id"].as_str().unwrap());
        for path in [&path, "/api/notes", "/api", "/healthz", "/readyz"] {
            let got = api.get(path).await;
            let head = api.send(api.request("HEAD", path)).await;
            assert_eq!(head.status, 200, "{path}");
            assert!(head.body.is_empty(), "{path}");
            for name in ["content-type", "content-length", "etag", "cache-control"] {
                assert_eq!(head.header(name), got.header(name), "{path}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn the_list_is_read_page_by_page() {
    let server = Server::start();
    let api = Api::http2(&server);
    for number in 0..5 {
        api.create_note(&format!("note {number}")).await;
    }
    let mut path = "/api/notes?limit=2".to_owned();
    let mut titles = Vec::new();
    let mut pages = 0;
    loop {
        let page = api.get(&path).await;
        let notes: Vec<Value> = serde_json::from_slice(&page.body).unwrap();
        titles.extend(notes.into_iter().map(|note| note["title"].clone()));
        pages += 1;
        let Some((next, rest)) = page.header("link").split_once('>') else {
            break;
        };
        assert_eq!(rest, "; rel=\"next\"");
        path = next.trim_start_matches('<').to_owned();
    }
    assert_eq!(titles, ["note 4", "note 3", "note 2", "note 1", "note 0"]);
    assert_eq!(pages, 3);
}
