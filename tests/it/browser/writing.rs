//! Notes are written, found again, changed and deleted.

use serde_json::json;

use super::{assert_quiet, browse, row, write_note};
use crate::support::browser::key;
use crate::support::server::Server;

#[test]
fn a_note_is_written_edited_and_deleted() {
    let server = Server::start();
    let page = browse(&server);
    page.sees("#list-empty", "No notes yet.");
    page.sees("#welcome-text", "A blank sheet. Write the first note.");

    page.click("#new-note");
    page.write("#title", "milk");
    page.write("#body", "two litres");
    page.sees("#editor-state", "Draft, not saved yet");
    page.lists(&[]);
    page.click("#save");
    page.sees("#status", "Saved.");
    page.sees("#editor-state", "Saved");
    page.lists(&["milk"]);
    page.sees_no("#drafts");

    page.write("#body", " and oats");
    page.sees("#editor-state", "Unsaved changes");
    page.click("#save");
    page.sees("#editor-state", "Saved");

    // The note that was open is open again, and says what was saved.
    page.reload();
    page.sees("#title", "milk");
    page.sees("#body", "two litres and oats");
    page.lists(&["milk"]);

    page.click("#delete");
    page.sees("#status", "Deleted “milk”.");
    page.sees_no("#editor");
    page.lists(&[]);
    page.reload();
    page.sees("#list-empty", "No notes yet.");
    assert_eq!(
        server
            .database
            .as_ref()
            .unwrap()
            .count("SELECT count(*) FROM notes"),
        0
    );
    assert_quiet(&page);
}

#[test]
fn the_newest_note_stands_at_the_top_and_a_row_opens_its_note() {
    let server = Server::start();
    let page = browse(&server);
    write_note(&page, "first", "the one below");
    write_note(&page, "second", "the one above");
    page.lists(&["second", "first"]);

    page.click(&row("first"));
    page.sees("#title", "first");
    page.sees("#body", "the one below");
    page.wait_for(
        "document.querySelector('[aria-current=true]').ariaLabel",
        &json!("Edit first"),
    );
    page.click("#close");
    page.sees_no("#editor");
    assert_quiet(&page);
}

#[test]
fn a_deletion_is_taken_back() {
    let server = Server::start();
    let page = browse(&server);
    write_note(&page, "keep me", "every word of it");

    page.click("#delete");
    page.sees("#status", "Deleted “keep me”.");
    page.lists(&[]);
    page.click("#status-action");
    page.sees("#status", "Restored “keep me”.");
    page.lists(&["keep me"]);

    page.reload();
    page.click(&row("keep me"));
    page.sees("#body", "every word of it");
    assert_quiet(&page);
}

#[test]
fn text_that_was_not_saved_survives_a_reload() {
    let server = Server::start();
    let page = browse(&server);
    write_note(&page, "plan", "step one");
    page.write("#body", ", step two");
    page.sees("#editor-state", "Unsaved changes");
    page.reload();
    page.sees("#body", "step one, step two");
    page.sees("#editor-state", "Unsaved changes");
    page.sees("#notes .note-flag", "Unsaved");

    page.click("#new-note");
    page.write("#title", "not yet");
    page.sees("#editor-state", "Draft, not saved yet");
    page.reload();
    page.sees("#title", "not yet");
    page.wait_for("titles('#drafts')", &json!(["not yet"]));
    page.click("#save");
    page.lists(&["not yet", "plan"]);
    page.sees_no("#drafts");
    assert_quiet(&page);
}

#[test]
fn discarded_text_goes_and_comes_back() {
    let server = Server::start();
    let page = browse(&server);
    write_note(&page, "poem", "as it was");
    page.write("#body", ", spoilt");
    page.click("#discard");
    page.sees("#body", "as it was");
    page.click("#status-action");
    page.sees("#body", "as it was, spoilt");
    page.sees("#editor-state", "Unsaved changes");
    assert_quiet(&page);
}

#[test]
fn a_change_by_somebody_else_is_not_overwritten_unasked() {
    let server = Server::start();
    let database = server.database.as_ref().unwrap();
    let page = browse(&server);
    write_note(&page, "shared", "from here");
    page.write("#body", ", more");

    database.execute("UPDATE notes SET body = 'from there', version = version + 1");
    page.click("#save");
    page.wait_for(
        "text('#editor-message-text').startsWith('This note was changed elsewhere')",
        &json!(true),
    );
    assert_eq!(
        database.count("SELECT count(*) FROM notes WHERE body = 'from there'"),
        1
    );
    let toast = page.evaluate("getComputedStyle(document.querySelector('#toast')).opacity");
    assert_eq!(toast, "0", "it still says “Saved.”, of the save before");
    // Nothing of ours is lost either.
    page.sees("#body", "from here, more");

    page.click("#editor-message-actions button:first-child");
    page.sees("#body", "from there");
    page.click("#status-action");
    page.sees("#body", "from here, more");
}

#[test]
fn a_title_is_counted_in_characters_and_refused_before_it_is_sent() {
    let server = Server::start();
    let page = browse(&server);
    // Two UTF-16 units each: counted in those, half as many would be too long.
    let longest = "\u{1f95b}".repeat(160);
    page.click("#new-note");
    page.evaluate(&format!(
        "document.querySelector('#title').value = {}",
        json!(longest)
    ));
    page.write("#title", "x");
    page.sees("#title-hint", "1 over the limit of 160 characters");
    page.click("#save");
    page.sees("#editor-state", "Draft, not saved yet");
    page.wait_for("document.activeElement.id", &json!("title"));

    page.press(&[key::BACKSPACE]);
    page.sees("#title-hint", "0 left");
    page.click("#save");
    page.lists(&[&longest]);
    assert_quiet(&page);
}

#[test]
fn a_note_without_a_title_is_called_untitled() {
    let server = Server::start();
    let page = browse(&server);
    page.click("#new-note");
    page.write("#body", "only text");
    page.click("#save");
    page.lists(&["Untitled"]);
    page.click(&row("Untitled"));
    page.sees("#body", "only text");
    assert_quiet(&page);
}

#[test]
fn a_long_list_is_read_page_by_page_and_filtered() {
    let server = Server::start();
    server.database.as_ref().unwrap().execute(
        "INSERT INTO notes (id, title, created_at)
         SELECT gen_random_uuid(), 'note ' || number, now() + number * interval '1 second'
         FROM generate_series(1, 120) AS number",
    );
    let page = browse(&server);
    let shown = "titles('#notes').length";
    page.wait_for(shown, &json!(50));
    page.sees("#count", "50+ notes");
    page.click("#load-more");
    page.wait_for(shown, &json!(100));
    page.click("#load-more");
    page.wait_for(shown, &json!(120));
    page.sees("#count", "120 notes");
    page.sees_no("#load-more");

    page.write("#filter", "note 99");
    page.lists(&["note 99"]);
    page.sees("#count", "1 of 120 notes");
    page.write("#filter", "9");
    page.sees("#list-empty", "No note shown here has these words.");
    assert_quiet(&page);
}
