//! Everything works without a mouse.

use serde_json::json;

use super::{assert_quiet, browse, write_note};
use crate::support::browser::{Browser, key};
use crate::support::server::Server;

#[test]
fn a_note_is_written_and_left_by_keys_alone() {
    let server = Server::start();
    let page = browse(&server);
    page.press(&['n']);
    focus_is_on(&page, "#title");
    page.type_text("milk");
    page.press(&[key::ENTER]);
    focus_is_on(&page, "#body");
    // While one writes, letters are letters.
    page.type_text("new / ?");
    page.press(&[key::CONTROL, key::ENTER]);
    page.sees("#editor-state", "Saved");
    page.lists(&["milk"]);
    page.sees("#body", "new / ?");

    // From the saved note's row, back into it, and out again.
    focus_is_on(&page, "[aria-label='Edit milk']");
    page.press(&[key::ENTER]);
    focus_is_on(&page, "#body");
    page.type_text("!");
    page.press(&[key::ESCAPE]);
    page.sees_no("#editor");
    page.sees("#status", "Not saved yet: kept as a draft in this browser.");
    focus_is_on(&page, "[aria-label='Edit milk']");
    page.press(&[key::ENTER]);
    page.sees("#body", "new / ?!");
    assert_quiet(&page);
}

#[test]
fn the_list_is_walked_filtered_and_shortened_by_keys() {
    let server = Server::start();
    let page = browse(&server);
    for title in ["three", "two", "one"] {
        write_note(&page, title, "");
    }
    page.press(&[key::ESCAPE]);
    page.press(&['/']);
    focus_is_on(&page, "#filter");
    page.type_text("t");
    page.lists(&["two", "three"]);
    page.press(&[key::ESCAPE]);
    page.lists(&["one", "two", "three"]);

    page.press(&[key::DOWN]);
    focus_is_on(&page, "[aria-label='Edit one']");
    page.press(&[key::DOWN]);
    focus_is_on(&page, "[aria-label='Edit two']");
    page.press(&[key::DELETE]);
    page.lists(&["one", "three"]);
    focus_is_on(&page, "[aria-label='Edit three']");
    page.press(&['u']);
    page.sees("#status", "Restored “two”.");
    page.wait_for(
        "titles('#notes').toSorted()",
        &json!(["one", "three", "two"]),
    );

    page.press(&['?']);
    page.sees("#help h2", "Keyboard shortcuts");
    page.press(&[key::ESCAPE]);
    page.sees_no("#help");

    page.press(&[key::UP]);
    focus_is_on(&page, "#filter");
    assert_quiet(&page);
}

#[test]
fn every_control_can_be_reached_by_tab_and_has_a_name() {
    let server = Server::start();
    let page = browse(&server);
    write_note(&page, "milk", "two litres");
    page.write("#body", " or three");
    page.sees("#discard", "Discard");

    let controls =
        "[...document.querySelectorAll('button, input, textarea, a[href]')].filter(visible)";
    let count = page
        .evaluate(&format!("{controls}.length"))
        .as_u64()
        .unwrap();
    assert!(count >= 10, "{count} controls");
    page.evaluate(&format!(
        "{controls}.forEach((element, index) => {{ element.dataset.test = index; }})"
    ));
    for index in 0..count {
        let name = page.accessible_name(&format!("[data-test='{index}']"));
        assert!(!name.is_empty(), "control {index} has no name");
    }
    page.evaluate("document.activeElement.blur()");
    // One more for the moment between the last control and the first.
    for _ in 0..=count {
        page.press(&[key::TAB]);
        page.evaluate("delete document.activeElement.dataset.test");
    }
    let left = page.evaluate(&format!(
        "{controls}.filter((element) => 'test' in element.dataset).map((element) => element.outerHTML)"
    ));
    assert_eq!(left, json!([]), "Tab leads not there");
    assert_quiet(&page);
}

#[track_caller]
fn focus_is_on(page: &Browser, css: &str) {
    page.wait_for(
        &format!("document.activeElement?.matches({})", json!(css)),
        &json!(true),
    );
}
