//! `If-Match` and `If-None-Match`, method by method.

use http::Method;

use crate::app::testing::App;

const CONTENT: &str = r#"{"title":"changed"}"#;

#[tokio::test]
async fn preconditions_decide_on_writes() {
    let app = App::start().await;
    // The note is at version 2.
    for (name, value, passes, why) in [
        ("If-Match", r#""v2""#, true, "current"),
        (
            "If-Match",
            r#"W/"v2""#,
            true,
            "current, as a compressed answer told it",
        ),
        ("If-Match", r#""v1", "v2""#, true, "current among others"),
        ("If-Match", "*", true, "anything"),
        ("If-Match", r#""v1""#, false, "outdated"),
        ("If-Match", r#""v3""#, false, "not yet"),
        ("If-Match", r#""2""#, false, "not a tag of ours"),
        ("If-Match", r#""v02""#, false, "not how we write it"),
        ("If-None-Match", "*", false, "it exists"),
        ("If-None-Match", r#""v2""#, false, "it is that"),
        ("If-None-Match", r#"W/"v2""#, false, "it is that"),
        ("If-None-Match", r#""v1""#, true, "it isn't that"),
        ("If-None-Match", r#""x""#, true, "it isn't that"),
    ] {
        for (method, content, done) in [
            (Method::PUT, CONTENT, 200),
            (Method::PATCH, CONTENT, 200),
            (Method::PATCH, "{}", 200),
            (Method::DELETE, "", 204),
        ] {
            let path = app.create_note("milk", "").await;
            app.ask(Method::PATCH, &path, &[], r#"{"body":"v2"}"#).await;
            let before = app.get(&path).await.json();
            let reply = app
                .ask(method.clone(), &path, &[(name, value)], content)
                .await;
            if passes {
                assert_eq!(
                    reply.status, done,
                    "{method} {name}: {value} ({why}) {reply:?}"
                );
            } else {
                reply.assert_problem(412);
                assert_eq!(
                    app.get(&path).await.json(),
                    before,
                    "{method} changed nothing"
                );
            }
        }
    }
}

#[tokio::test]
async fn both_preconditions_must_hold() {
    let app = App::start().await;
    let path = app.create_note("milk", "").await;
    for (if_match, if_none_match, status) in [
        (r#""v1""#, r#""v1""#, 412),
        (r#""v9""#, r#""v9""#, 412),
        ("*", "*", 412),
        (r#""v1""#, r#""v9""#, 200),
    ] {
        let headers = [("If-Match", if_match), ("If-None-Match", if_none_match)];
        let reply = app.ask(Method::PUT, &path, &headers, CONTENT).await;
        assert_eq!(reply.status, status, "{if_match} {if_none_match}");
    }
}

#[tokio::test]
async fn reading_what_is_known_is_304() {
    let app = App::start().await;
    let path = app.create_note("milk", "").await;
    let list_tag = app.get("/api/notes").await.header("etag").to_owned();
    for (path, value, status) in [
        (&*path, r#""v1""#, 304),
        (&path, r#"W/"v1""#, 304),
        (&path, r#""x", "v1""#, 304),
        (&path, "*", 304),
        (&path, r#""v2""#, 200),
        ("/api/notes", &list_tag, 304),
        ("/api/notes", list_tag.trim_start_matches("W/"), 304),
        ("/api/notes", "*", 304),
        ("/api/notes", r#""v1""#, 200),
    ] {
        for method in [Method::GET, Method::HEAD] {
            let reply = app.ask(method, path, &[("If-None-Match", value)], "").await;
            assert_eq!(reply.status, status, "{path} {value}");
            assert_eq!(reply.header("cache-control"), "private, no-cache");
            assert!(!reply.header("etag").is_empty());
            if status == 304 {
                assert_eq!(
                    (&*reply.content, reply.header("content-type")),
                    (&b""[..], "")
                );
            }
        }
    }
    let reply = app
        .ask(Method::GET, &path, &[("If-Match", "\"v9\"")], "")
        .await;
    reply.assert_problem(412);
}

#[tokio::test]
async fn preconditions_matter_only_where_the_request_would_succeed() {
    // RFC 9110, section 13.2.1.
    let app = App::start().await;
    let missing = "/api/notes/00000000-0000-7000-8000-000000000000";
    for headers in [
        [("If-Match", "*")],
        [("If-Match", "\"v1\"")],
        [("If-None-Match", "*")],
    ] {
        for (method, content) in [
            (Method::GET, ""),
            (Method::PUT, CONTENT),
            (Method::PATCH, CONTENT),
            (Method::PATCH, "{}"),
            (Method::DELETE, ""),
        ] {
            app.ask(method, missing, &headers, content)
                .await
                .assert_problem(404);
        }
    }
    let path = app.create_note("milk", "").await;
    let outdated = [("If-Match", "\"v9\"")];
    app.ask(Method::PUT, &path, &outdated, "{}")
        .await
        .assert_problem(422);
    app.ask(Method::PUT, &path, &outdated, "{")
        .await
        .assert_problem(400);
}

#[tokio::test]
async fn a_precondition_that_cannot_be_read_is_400() {
    let app = App::start().await;
    let path = app.create_note("milk", "").await;
    for value in ["v1", "1", "", "\"v1", "*, \"v1\""] {
        let reply = app
            .ask(Method::PUT, &path, &[("If-Match", value)], CONTENT)
            .await;
        reply.assert_problem(400);
    }
    assert_eq!(app.get(&path).await.json()["version"], 1);
}
