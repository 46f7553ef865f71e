//! The pages in a real browser, with a database of its own for each test: the notes over HTTPS, and the
//! admin listener's [`dashboard`].

mod appearance;
mod dashboard;
mod keyboard;
mod outage;
mod safety;
mod websocket;
mod writing;

use crate::support::browser::Browser;
use crate::support::server::Server;

/// A browser with the notes page open and its list read.
fn browse(server: &Server) -> Browser {
    let page = Browser::start();
    page.open(&server.url("/"));
    page.wait_for("document.querySelector('#notes').ariaBusy", &"false".into());
    page
}

/// Writes a note as a person with a mouse does.
fn write_note(page: &Browser, title: &str, body: &str) {
    page.click("#new-note");
    page.write("#title", title);
    page.write("#body", body);
    page.click("#save");
    page.sees("#editor-state", "Saved");
}

/// The button that opens the note.
fn row(title: &str) -> String {
    format!("[aria-label='Edit {title}']")
}

/// Whatever the page did so far, the browser found nothing to complain about.
#[track_caller]
fn assert_quiet(page: &Browser) {
    assert_eq!(page.console(), [""; 0]);
}
