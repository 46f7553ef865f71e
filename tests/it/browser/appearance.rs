//! How the page looks: on a desk and on a phone, by day and by night.

use std::path::Path;

use serde_json::json;

use super::{assert_quiet, browse, row, write_note};
use crate::support::browser::Browser;
use crate::support::server::Server;

#[test]
fn on_a_desk_list_and_note_stand_side_by_side() {
    let server = Server::start();
    fill(&server);
    let page = browse(&server);
    page.evaluate(&format!(
        "document.querySelector({}).click()",
        json!(row(OPEN))
    ));
    page.sees("#title", OPEN);
    page.sees("#editor-state", "Saved");
    page.evaluate("document.activeElement.blur()");
    let sides = page.evaluate("[side, pane].map((part) => part.getBoundingClientRect().toJSON())");
    assert!(
        sides[0]["right"].as_f64() <= sides[1]["left"].as_f64(),
        "{sides}"
    );
    assert_fits(&page);
    picture(&page, "screenshot");
    assert_quiet(&page);
}

#[test]
fn on_a_phone_one_thing_at_a_time_fills_the_screen() {
    let server = Server::start();
    let page = browse(&server);
    page.become_phone(375, 700);
    let unbroken = "Donaudampfschifffahrtsgesellschaft".repeat(4);
    write_on_phone(&page, &unbroken, &unbroken.repeat(5));
    write_on_phone(&page, "short", "");
    assert_fits(&page);

    page.click(&row("short"));
    page.sees("#title", "short");
    page.wait_for("document.querySelector('#side').inert", &json!(true));
    assert_fits(&page);
    page.write("#body", "x");
    page.sees("#editor-state", "Unsaved");
    assert_fits(&page);
    assert_not_cut(&page, "#editor-state");
    page.click("#discard");
    page.go_back();
    page.sees_no("#editor");
    page.lists(&["short", &unbroken]);
    page.click(&row(&unbroken));
    page.sees("#title", &unbroken);
    assert_fits(&page);

    // Nothing hides behind a hover.
    page.click("#close");
    page.wait_for(
        "[...document.querySelectorAll('.note-delete')].map((button) => getComputedStyle(button).opacity)",
        &json!(["1", "1"]),
    );
    assert_quiet(&page);
}

#[test]
fn the_smallest_phone_and_large_letters_scroll_only_down() {
    let server = Server::start();
    let page = browse(&server);
    page.become_phone(320, 568);
    write_on_phone(&page, "short", "");
    page.evaluate("document.documentElement.style.fontSize = '200%'");
    assert_fits(&page);
    page.click(&row("short"));
    page.write("#body", "and longer");
    page.sees("#discard", "Discard");
    assert_fits(&page);
}

#[test]
fn colours_follow_the_night_and_stay_readable() {
    let server = Server::start();
    let page = browse(&server);
    write_note(&page, "milk", "two litres");
    assert_readable_by_day_and_by_night(&page);
    assert_quiet(&page);
}

#[test]
fn a_phone_at_night_shows_the_list() {
    let server = Server::start();
    fill(&server);
    let page = browse(&server);
    page.become_phone(375, 700);
    page.prefer_dark();
    assert_fits(&page);
    assert_readable(&page);
    picture(&page, "screenshot-phone");
}

/// A new note with the finger; it is closed by itself once it is saved.
fn write_on_phone(page: &Browser, title: &str, body: &str) {
    page.click("#new-note");
    page.write("#title", title);
    page.write("#body", body);
    page.click("#save");
    page.sees_no("#editor");
}

/// Nothing is wider than the window.
#[track_caller]
fn assert_fits(page: &Browser) {
    let wider = page.evaluate(
        "[document.documentElement, ...document.querySelectorAll('body, .scroll, #editor, .bar')]
            .filter((element) => element.scrollWidth > element.clientWidth)
            .map((element) => `${element.tagName} ${element.id}: ${element.scrollWidth} in ${element.clientWidth}`)",
    );
    assert_eq!(wider, json!([]));
}

/// All of the words have room.
#[track_caller]
fn assert_not_cut(page: &Browser, css: &str) {
    let widths = page.evaluate(&format!(
        "(({{ scrollWidth, clientWidth }}) => [scrollWidth, clientWidth])(document.querySelector({}))",
        json!(css)
    ));
    assert_eq!(widths[0], widths[1], "{css} is cut");
}

/// The page is light, and dark for those who prefer it.
#[track_caller]
pub(super) fn assert_readable_by_day_and_by_night(page: &Browser) {
    let day = lightness(page);
    assert!(day > 0.5, "{day}");
    assert_readable(page);
    page.prefer_dark();
    let night = lightness(page);
    assert!(night < 0.05, "{night}");
    assert_readable(page);
}

/// Text has the contrast that WCAG 2.2, section 1.4.3, asks for.
#[track_caller]
fn assert_readable(page: &Browser) {
    let faint = page.evaluate(&format!(
        "(() => {{
            {CONTRAST}
            const hasText = (element) => element.matches('input, textarea')
                || [...element.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim());
            return [...document.querySelectorAll('body *')]
                .filter((element) => visible(element) && hasText(element) && !element.closest('.toast, noscript'))
                .filter((element) => contrast(element) < 4.5)
                .map((element) => `${{contrast(element)}}: ${{element.outerHTML}}`);
        }})()"
    ));
    assert_eq!(faint, json!([]));
}

/// How light the page's ground is: 0 black, 1 white.
#[track_caller]
fn lightness(page: &Browser) -> f64 {
    let lightness = page.evaluate(&format!(
        "(() => {{ {CONTRAST} return luminance(ground(document.body)); }})()"
    ));
    lightness.as_f64().unwrap()
}

/// Relative luminance and contrast as WCAG 2.2 defines them.
const CONTRAST: &str = "
    const pixel = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const rgba = (colour) => {
        pixel.clearRect(0, 0, 1, 1);
        pixel.fillStyle = colour;
        pixel.fillRect(0, 0, 1, 1);
        return pixel.getImageData(0, 0, 1, 1).data;
    };
    const ground = (element) => {
        const colour = rgba(getComputedStyle(element).backgroundColor);
        return colour[3] === 255 || !element.parentElement ? colour : ground(element.parentElement);
    };
    const luminance = (colour) => {
        const [red, green, blue] = [...colour].map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const contrast = (element) => {
        const [dark, light] = [luminance(rgba(getComputedStyle(element).color)), luminance(ground(element))]
            .sort((one, other) => one - other);
        return (light + 0.05) / (dark + 0.05);
    };
";

/// Keeps a picture of the page in the directory that `script/screenshot` names.
pub(super) fn picture(page: &Browser, name: &str) {
    if let Some(directory) = std::env::var_os("UNIBODY_SCREENSHOTS") {
        let path = Path::new(&directory).join(name).with_extension("png");
        std::fs::write(path, page.screenshot()).unwrap();
    }
}

/// Notes worth a picture.
fn fill(server: &Server) {
    let database = server.database.as_ref().unwrap();
    for (title, body, age) in NOTES {
        database.execute(&format!(
            "INSERT INTO notes (id, title, body, created_at, updated_at)
             VALUES (gen_random_uuid(), $note${title}$note$, $note${body}$note$,
                     now() - interval '{age}', now() - interval '{age}')"
        ));
    }
}

/// The note that is open in the picture.
const OPEN: &str = "Moving the shop to the new server";

/// Title, text and age.
const NOTES: &[(&str, &str, &str)] = &[
    (
        "Call Marta about the lease",
        "She is in from ten. Ask whether the cellar is included.",
        "4 minutes",
    ),
    (
        OPEN,
        "Saturday, 6:00. Orders are lowest then, and Inès can watch the till.\n\n\
         Before\n\
         – Lower the DNS time to live to 300 s on Friday\n\
         – Restore last night’s backup on the new machine and count the orders\n\
         – Tell the warehouse: no labels between 6:00 and 6:30\n\n\
         On the day\n\
         1. Read-only notice on the shop\n\
         2. Last dump, restore, compare\n\
         3. Switch the address, order a mug, refund it\n\n\
         If anything is off by 7:00 we switch back and try again next week.",
        "26 minutes",
    ),
    (
        "Sourdough, third try",
        "68 % water, 20 % starter. Eleven hours in the cellar, then straight into the pot.",
        "3 hours",
    ),
    (
        "Books Jonas mentioned",
        "The Periodic Table. A Pattern Language. Anything by Tove Jansson.",
        "9 hours",
    ),
    (
        "Bike: rear brake",
        "Rubs after rain. New pads are in the drawer with the lights.",
        "1 day",
    ),
    (
        "Questions for the architect",
        "Can the stairs turn? Where does the water go? Who talks to the neighbours?",
        "2 days",
    ),
    (
        "Thank Inès for the photographs",
        "By hand, not by mail. The blue paper.",
        "4 days",
    ),
    (
        "Garden in October",
        "Garlic along the wall, fleece over the fig, leave the seed heads for the birds.",
        "9 days",
    ),
];
