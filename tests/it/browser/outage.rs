//! The API goes away under an open page, and comes back: nothing typed is lost, nothing is reloaded.

use serde_json::json;

use super::{browse, write_note};
use crate::support::browser::Browser;
use crate::support::server::{Server, Setup};

#[test]
fn a_note_written_while_the_server_is_away_is_saved_when_it_is_back() {
    let mut server = Setup::new().own_ports().start();
    let page = browse(&server);
    write_note(&page, "before", "");
    mark(&page);

    server.stop();
    page.click("#new-note");
    page.write("#title", "meanwhile");
    page.write("#body", "in the dark");
    page.click("#save");
    page.sees(
        "#banner-text",
        "The server can’t be reached. What you write is kept in this browser.",
    );
    page.sees("#editor-state", "Draft, not saved yet");
    page.write("#body", ", and on");

    // It comes back by itself: nobody presses a button.
    let server = server.restart();
    page.sees_no("#banner");
    page.sees("#editor-state", "Saved");
    page.sees("#title", "meanwhile");
    page.sees("#body", "in the dark, and on");
    page.lists(&["meanwhile", "before"]);
    assert_not_reloaded(&page);
    let stored = "SELECT count(*) FROM notes WHERE body = 'in the dark, and on'";
    assert_eq!(server.database.as_ref().unwrap().count(stored), 1);
}

#[test]
fn the_page_waits_for_the_database() {
    let server = Server::start();
    let database = server.database.as_ref().unwrap();
    let page = browse(&server);
    write_note(&page, "before", "as it was");
    mark(&page);

    database.go_away();
    page.write("#body", ", changed");
    page.click("#save");
    page.sees(
        "#banner-text",
        "The notes are unavailable at the moment. What you write is kept in this browser.",
    );
    page.sees("#editor-state", "Unsaved changes");
    page.sees("#body", "as it was, changed");

    database.come_back();
    page.click("#banner-retry");
    page.sees_no("#banner");
    page.sees("#editor-state", "Saved");
    assert_not_reloaded(&page);
    assert_eq!(
        database.count("SELECT count(*) FROM notes WHERE body = 'as it was, changed'"),
        1
    );
}

#[test]
fn a_page_opened_while_the_database_is_away_fills_itself() {
    let server = Server::start();
    let database = server.database.as_ref().unwrap();
    database.execute("INSERT INTO notes (id, title) VALUES (gen_random_uuid(), 'there all along')");
    database.go_away();
    let page = Browser::start();
    page.open(&server.url("/"));
    page.sees(
        "#banner-text",
        "The notes are unavailable at the moment. What you write is kept in this browser.",
    );
    mark(&page);
    database.come_back();
    page.lists(&["there all along"]);
    page.sees_no("#banner");
    assert_not_reloaded(&page);
}

#[test]
fn a_note_is_not_said_to_be_deleted_when_it_is_not() {
    let server = Server::start();
    let database = server.database.as_ref().unwrap();
    let page = browse(&server);
    write_note(&page, "stubborn", "");
    database.go_away();
    page.click("#delete");
    page.sees("#status", "Not deleted: the server doesn’t answer.");
    page.lists(&["stubborn"]);
    page.sees("#title", "stubborn");
}

/// Leaves a sign that a reload would wipe away.
fn mark(page: &Browser) {
    page.evaluate("window.hasNeverBeenReloaded = true");
}

#[track_caller]
fn assert_not_reloaded(page: &Browser) {
    assert_eq!(page.evaluate("window.hasNeverBeenReloaded"), json!(true));
}
