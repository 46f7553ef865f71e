//! What writing does to a note, one at a time and many at once.

use http::Method;
use serde_json::{Value, json};

use crate::app::testing::App;

#[tokio::test]
async fn a_new_note_is_answered_whole() {
    let app = App::start().await;
    for (content, title, body) in [
        (r#"{"title":"milk","body":"two"}"#, "milk", "two"),
        (r#"{"title":"  milk\n"}"#, "milk", ""),
        (r#"{"body":" kept \n"}"#, "Untitled", " kept \n"),
        ("{}", "Untitled", ""),
    ] {
        let reply = app.post(content).await;
        assert_eq!(reply.status, 201, "{content}");
        assert_eq!(reply.header("etag"), "\"v1\"");
        assert_eq!(reply.header("content-location"), reply.header("location"));
        let note = reply.json();
        assert_eq!(
            (&note["title"], &note["body"]),
            (&json!(title), &json!(body))
        );
        let read = app.get(reply.header("location")).await;
        assert_eq!(read.json(), note, "the same as is read afterwards");
    }
}

#[tokio::test]
async fn put_replaces_all_of_a_note() {
    let app = App::start().await;
    let path = app.create_note("milk", "two litres").await;
    let created = app.get(&path).await.json();
    let reply = app
        .ask(Method::PUT, &path, &[], r#"{"title":"bread"}"#)
        .await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("etag"), "\"v2\"");
    assert_eq!(reply.header("content-location"), path);
    let note = reply.json();
    assert_eq!(
        (&note["title"], &note["body"]),
        (&json!("bread"), &json!(""))
    );
    assert_eq!(note["id"], created["id"]);
    assert_eq!(note["created_at"], created["created_at"]);
    assert!(note["updated_at"].as_str() > created["updated_at"].as_str());
    assert_eq!(app.get(&path).await.json(), note);
}

#[tokio::test]
async fn patch_changes_what_it_names() {
    let app = App::start().await;
    let path = app.create_note("milk", "two").await;
    for (content, title, body, version) in [
        (r#"{"title":"bread"}"#, "bread", "two", 2),
        (r#"{"body":"three"}"#, "bread", "three", 3),
        ("{}", "bread", "three", 3),
        (r#"{"body":null}"#, "bread", "", 4),
        (r#"{"title":"a","body":"b"}"#, "a", "b", 5),
    ] {
        for media_type in ["application/json", "application/merge-patch+json"] {
            let only_once = [(
                "If-Match",
                &*format!("\"v{version}\", \"v{}\"", version - 1),
            )];
            if media_type == "application/merge-patch+json" {
                // Both names mean the same; the second time nothing is left to do.
                let again = app.ask(Method::PATCH, &path, &only_once, "{}").await;
                assert_eq!(again.json()["version"], version, "{content}");
                continue;
            }
            let reply = app.ask(Method::PATCH, &path, &only_once, content).await;
            assert_eq!(reply.status, 200, "{content}: {reply:?}");
            let note = reply.json();
            let state = (&note["title"], &note["body"], &note["version"]);
            assert_eq!(
                state,
                (&json!(title), &json!(body), &json!(version)),
                "{content}"
            );
            assert_eq!(reply.header("etag"), format!("\"v{version}\""));
            assert_eq!(app.get(&path).await.json(), note);
        }
    }
}

#[tokio::test]
async fn a_deleted_note_is_gone() {
    let app = App::start().await;
    let path = app.create_note("milk", "").await;
    let other = app.create_note("bread", "").await;
    let reply = app.ask(Method::DELETE, &path, &[], "").await;
    assert_eq!((reply.status.as_u16(), &*reply.content), (204, &b""[..]));
    app.ask(Method::DELETE, &path, &[], "")
        .await
        .assert_problem(404);
    app.get(&path).await.assert_problem(404);
    assert_eq!(app.get(&other).await.status, 200);
}

#[tokio::test]
async fn long_texts_are_kept_whole() {
    let app = App::start().await;
    // Above the 2 MB at which axum's own reader of bodies would stop.
    let body = "0123456789abcdef".repeat(200_000);
    let path = app.create_note(&"🦀".repeat(160), &body).await;
    let note = app.get(&path).await.json();
    assert_eq!(note["body"], body);
    assert_eq!(note["title"], "🦀".repeat(160));
}

#[tokio::test]
async fn patches_at_the_same_time_all_apply() {
    let app = App::start().await;
    let path = &app.create_note("milk", "two").await;
    let patches = (0..20).map(|number| {
        let app = &app;
        let content = match number % 2 {
            0 => json!({ "title": format!("title {number}") }),
            _ => json!({ "body": format!("body {number}") }),
        };
        async move {
            let reply = app
                .ask(Method::PATCH, path, &[], &content.to_string())
                .await;
            assert_eq!(reply.status, 200, "{reply:?}");
            reply.json()["version"].as_i64().unwrap()
        }
    });
    let mut versions = futures_util::future::join_all(patches).await;
    versions.sort_unstable();
    assert_eq!(
        versions,
        (2..=21).collect::<Vec<_>>(),
        "each made a version of its own"
    );
    let note = app.get(path).await.json();
    assert!(note["title"].as_str().unwrap().starts_with("title "));
    assert!(note["body"].as_str().unwrap().starts_with("body "));
}

#[tokio::test]
async fn of_editors_of_one_version_exactly_one_wins() {
    let app = App::start().await;
    let path = &app.create_note("milk", "").await;
    let edits = (0..20).map(|number| {
        let app = &app;
        async move {
            let content = json!({ "title": format!("title {number}") }).to_string();
            let method = if number % 2 == 0 {
                Method::PUT
            } else {
                Method::PATCH
            };
            let if_match = [("If-Match", "\"v1\"")];
            let reply = app.ask(method, path, &if_match, &content).await;
            (reply.status.as_u16(), reply.json()["title"].clone())
        }
    });
    let outcomes = futures_util::future::join_all(edits).await;
    let winners: Vec<&Value> = outcomes
        .iter()
        .filter_map(|(status, title)| (*status == 200).then_some(title))
        .collect();
    let refused = outcomes.iter().filter(|(status, _)| *status == 412);
    assert_eq!((winners.len(), refused.count()), (1, 19), "{outcomes:?}");
    let note = app.get(path).await.json();
    assert_eq!((&note["title"], &note["version"]), (winners[0], &json!(2)));
}

#[tokio::test]
async fn a_dropped_handler_leaves_the_whole_change_or_none() {
    let app = App::start().await;
    let path = &app.create_note("old", "old").await;
    let content = r#"{"title":"new","body":"new"}"#;
    for polls in 0..40 {
        let mut request = Box::pin(app.ask(Method::PUT, path, &[], content));
        for _ in 0..polls {
            if futures_util::poll!(&mut request).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(request);
        let note = app.get(path).await.json();
        assert_eq!(note["title"], note["body"], "after {polls} polls");
        let reset = app
            .ask(Method::PUT, path, &[], r#"{"title":"old","body":"old"}"#)
            .await;
        assert_eq!(reset.status, 200);
    }
}
