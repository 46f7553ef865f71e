//! What somebody else wrote is text, and the Content-Security-Policy stands behind that.

use serde_json::json;

use super::{assert_quiet, browse, row};
use crate::support::browser::Browser;
use crate::support::http;
use crate::support::server::Server;

#[test]
fn markup_in_a_note_is_shown_as_text() {
    let server = Server::start();
    let page = browse(&server);
    let title = "<script>window.hacked = 1</script>";
    let body = r#"<img src=x onerror="window.hacked = 2"> &amp; <b>bold</b>"#;
    super::write_note(&page, title, body);
    page.lists(&[title]);
    page.sees("#notes .note-excerpt", body);

    page.reload();
    page.lists(&[title]);
    page.sees("#title", title);
    page.sees("#body", body);
    page.click("#delete");
    page.sees("#status", &format!("Deleted “{title}”."));
    assert_eq!(page.evaluate("window.hacked ?? null"), json!(null));
    assert_quiet(&page);
}

#[test]
fn the_policy_stops_scripts_and_styles_that_are_not_ours() {
    let server = Server::start();
    let page = browse(&server);
    assert_quiet(&page);
    page.evaluate(
        "(() => {
            const script = document.createElement('script');
            script.textContent = 'window.hacked = 1';
            document.body.append(script);
            document.body.insertAdjacentHTML('beforeend', '<p id=styled style=\"color: red\">x</p>');
        })()",
    );
    assert_eq!(page.evaluate("window.hacked ?? null"), json!(null));
    assert_ne!(
        page.evaluate("getComputedStyle(styled).color"),
        json!("rgb(255, 0, 0)")
    );
    // And the other tests would have seen it, had the page done so itself.
    let console = page.console();
    assert_eq!(console.len(), 2, "{console:?}");
    for line in console {
        assert!(line.contains("Content Security Policy"), "{line}");
    }
}

#[test]
fn an_unknown_address_is_answered_by_a_page() {
    let server = Server::start();
    let page = Browser::start();
    page.open(&server.url("/nowhere"));
    page.sees("h1", "There is nothing at this address");
    let console = page.console();
    assert_eq!(console.len(), 1, "only the 404 itself: {console:?}");
    page.click("a");
    page.sees("#list-empty", "No notes yet.");
    assert_quiet(&page);
}

#[test]
fn an_address_of_a_note_that_is_gone_shows_the_list() {
    let server = Server::start();
    let page = browse(&server);
    super::write_note(&page, "here", "");
    page.open(&server.url("/404"));
    page.open(&server.url("/#/note.00000000-0000-7000-8000-000000000000"));
    page.lists(&["here"]);
    page.wait_for("location.hash", &json!(""));
    page.sees_no("#editor");
    page.click(&row("here"));
    page.sees("#title", "here");
}

#[tokio::test]
async fn every_file_of_the_page_carries_the_policy_and_its_right_type() {
    let server = Server::start();
    let client = http::client();
    for (path, content_type) in [
        ("/", "text/html"),
        ("/static/app.css", "text/css"),
        ("/static/js/main.js", "text/javascript"),
        ("/favicon.svg", "image/svg+xml"),
        ("/nowhere", "text/html"),
    ] {
        let answer = client.get(server.url(path)).send().await.unwrap();
        let header = |name: &str| answer.headers()[name].to_str().unwrap();
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
        assert!(header("content-type").starts_with(content_type), "{path}");
    }
}
