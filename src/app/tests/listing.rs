//! The list of notes: order, pages, validators.

use http::Method;
use serde_json::json;

use crate::app::testing::App;

#[tokio::test]
async fn an_empty_list_is_an_empty_array() {
    let app = App::start().await;
    let reply = app.get("/api/notes").await;
    assert_eq!((reply.status.as_u16(), reply.json()), (200, json!([])));
    assert_eq!(reply.header("link"), "");
}

#[tokio::test]
async fn the_newest_come_first_and_whole() {
    let app = App::start().await;
    let mut expected = Vec::new();
    for title in ["first", "second", "third"] {
        let path = app.create_note(title, "text").await;
        expected.insert(0, app.get(&path).await.json());
    }
    assert_eq!(app.get("/api/notes").await.json(), json!(expected));
}

#[tokio::test]
async fn pages_show_every_note_once() {
    let app = App::start().await;
    // Two of each moment, so that the id has to decide as well.
    let insert = "INSERT INTO notes (id, title, created_at)
                  SELECT gen_random_uuid(), n, timestamptz '2026-01-01' + n / 2 * interval '1 us'
                  FROM generate_series(1, 121) AS n";
    app.sql().await.batch_execute(insert).await.unwrap();
    for (limit, sizes) in [
        ("", &[50, 50, 21][..]),
        ("?limit=121", &[121]),
        ("?limit=120", &[120, 1]),
        ("?limit=200", &[121]),
        ("?limit=7", &[[7; 17].as_slice(), &[2]].concat()),
    ] {
        let mut path = format!("/api/notes{limit}");
        let (mut seen, mut found) = (Vec::new(), Vec::new());
        loop {
            let page = app.get(&path).await;
            assert_eq!(page.status, 200, "{path}");
            found.push(page.titles().len());
            seen.extend(
                page.titles()
                    .into_iter()
                    .map(|title| title.parse::<i64>().unwrap()),
            );
            let Some(next) = page.next_page() else { break };
            path = next.to_owned();
        }
        assert_eq!(found, sizes, "{limit}");
        assert!(
            seen.windows(2).all(|pair| pair[0] / 2 >= pair[1] / 2),
            "{limit}: {seen:?}"
        );
        seen.sort_unstable();
        assert_eq!(seen, (1..=121).collect::<Vec<_>>(), "{limit}");
    }
}

#[tokio::test]
async fn notes_that_come_and_go_do_not_shift_the_pages() {
    let app = App::start().await;
    let mut paths = Vec::new();
    for title in ["1", "2", "3", "4"] {
        paths.push(app.create_note(title, "").await);
    }
    let page = app.get("/api/notes?limit=2").await;
    assert_eq!(page.titles(), ["4", "3"]);
    app.create_note("5", "").await;
    // The very note that the cursor names.
    app.ask(Method::DELETE, &paths[2], &[], "").await;
    let next = app.get(page.next_page().unwrap()).await;
    assert_eq!(next.titles(), ["2", "1"]);
    assert_eq!(next.next_page(), None);
}

#[tokio::test]
async fn a_page_of_huge_notes_ends_early_and_says_where_it_goes_on() {
    let app = App::start().await;
    let insert = "INSERT INTO notes (id, title, body, created_at)
                  SELECT gen_random_uuid(), n, repeat('x', 3 << 20), now() + n * interval '1 s'
                  FROM generate_series(1, 5) AS n";
    app.sql().await.batch_execute(insert).await.unwrap();
    let page = app.get("/api/notes?limit=5").await;
    assert_eq!(
        page.titles(),
        ["5", "4", "3"],
        "8 MiB, and the note that crosses them"
    );
    let next = app.get(page.next_page().unwrap()).await;
    assert_eq!(next.titles(), ["2", "1"]);
    assert_eq!(next.next_page(), None);
}

#[tokio::test]
async fn the_tag_changes_with_the_list() {
    let app = App::start().await;
    let mut seen = Vec::new();
    let mut tag = async |what: &str| {
        let reply = app.get("/api/notes?limit=2").await;
        let tag = reply.header("etag").to_owned();
        assert!(tag.starts_with("W/\""), "{tag}");
        assert!(!seen.contains(&tag), "{what}");
        seen.push(tag);
    };
    tag("nothing").await;
    let first = app.create_note("1", "").await;
    tag("a note").await;
    app.ask(Method::PATCH, &first, &[], r#"{"body":"x"}"#).await;
    tag("changed").await;
    app.create_note("2", "").await;
    tag("another").await;
    app.create_note("3", "").await;
    tag("the oldest is on the next page").await;
    app.ask(Method::DELETE, &first, &[], "").await;
    tag("there is no next page any more").await;
    let known = app.get("/api/notes?limit=2").await;
    let again = app.get("/api/notes?limit=2").await;
    assert_eq!(known.headers, again.headers, "nothing happened");
}

#[tokio::test]
async fn a_query_that_means_nothing_is_422() {
    let app = App::without_database();
    for (query, fields) in [
        ("limit=0", &["limit"][..]),
        ("limit=201", &["limit"]),
        ("limit=ten", &["limit"]),
        ("cursor=x", &["cursor"]),
        ("limt=5", &["limt"]),
        ("limit=0&cursor=&x=1", &["limit", "cursor", "x"]),
    ] {
        let reply = app.get(&format!("/api/notes?{query}")).await;
        reply.assert_problem(422);
        assert_eq!(reply.json()["type"], "/problems/validation");
        assert_eq!(reply.fields(), fields, "{query}");
    }
}
