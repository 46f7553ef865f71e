//! The dashboard of the admin listener: is it fine, and how is it?

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::appearance::{assert_readable_by_day_and_by_night, picture};
use super::assert_quiet;
use crate::support::breakable::{Breakable, Target};
use crate::support::browser::{Browser, key};
use crate::support::raw::Raw;
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

/// The text of a headline, by the title of its plot.
fn headline(title: &str) -> String {
    format!("document.querySelector('[aria-label=\"{title}\"] .headline').textContent")
}

fn admin() -> Setup {
    Setup::new().admin().plain()
}

/// A browser with the dashboard open and its first figures told.
fn watch(server: &Server) -> Browser {
    let page = Browser::start();
    // The browser knows this name and no other.
    let port = server.admin.unwrap().port();
    page.open(&format!("http://localhost:{port}/"));
    page.sees("#link", "live");
    page
}

fn get(server: &Server, path: &str, count: usize) {
    let mut visitor = Raw::connect(server.http.unwrap());
    for _ in 0..count {
        visitor.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        visitor.answer();
    }
}

/// With an upstream at `/shop/`, one of whose two servers can be made to refuse.
fn with_a_shop(setup: Setup) -> (Server, Breakable) {
    let good = Upstream::saying("good");
    let other = Breakable::before(Target::Tcp(good.address.parse().unwrap()));
    let server = setup
        .config(&format!(
            "[[upstream]]\nname = \"shop\"\nservers = [\"{}\", \"{}\"]\n\
             eject_after = 1\neject_for = \"1h\"\nkeepalive = 0\n\
             [[route]]\npath = \"/shop/\"\nupstream = \"shop\"",
            good.address,
            other.address()
        ))
        .start();
    (server, other)
}

#[test]
fn a_proxy_alone_has_no_pool_to_plot() {
    let routes = "[[route]]\npath = \"/\"\nrespond = {}";
    let server = admin().embedded().config(routes).start();
    let page = watch(&server);
    page.sees("#verdict-line", "Everything is fine");
    let is_hidden =
        |title: &str| format!("document.querySelector('[aria-label=\"{title}\"]').hidden");
    page.wait_for(&is_hidden("Database pool"), &json!(true));
    assert_eq!(page.evaluate(&is_hidden("Memory")), json!(false));
    assert_quiet(&page);
}

#[test]
fn figures_move_when_requests_are_made() {
    let server = admin().start();
    let page = watch(&server);
    page.sees("#verdict-line", "Everything is fine");
    page.sees("#verdict-more", "No requests in the last minute.");
    page.sees("#routes", "No route was asked for in the last minute.");
    get(&server, "/healthz", 20);
    get(&server, "/nowhere", 1);
    page.wait_for(
        "/^[\\d.]+ requests a second in the last minute, none failed; half within .+, 99 % within .+\\.$/
            .test(text('#verdict-more'))",
        &json!(true),
    );
    page.wait_for(
        "[...document.querySelectorAll('#routes th .named')].some((cell) => cell.firstChild.data === '=/healthz')",
        &json!(true),
    );
    page.wait_for(&format!("{} !== '0'", headline("Requests")), &json!(true));
    page.wait_for("document.title", &json!("localhost"));
    assert_quiet(&page);
}

#[test]
fn an_upstream_that_goes_down_is_the_first_thing_one_reads() {
    let (server, other) = with_a_shop(admin());
    let page = watch(&server);
    get(&server, "/shop/", 4);
    page.wait_for(
        "[...document.querySelectorAll('#upstreams .state')].map((state) => state.textContent)",
        &json!(["up", "up"]),
    );
    other.refuse();
    get(&server, "/shop/", 4);
    page.sees("#verdict-line", "It serves, with 1 warning");
    page.sees(
        "#troubles .what",
        &format!(
            "Upstream shop: {} ejected, 1 of 2 servers left.",
            other.address()
        ),
    );
    let remedy = page.evaluate("text('#troubles .remedy')");
    assert!(remedy.as_str().unwrap().contains("own log"), "{remedy}");
    let states = page.evaluate(
        "[...document.querySelectorAll('#upstreams .state')].map((state) => state.textContent)",
    );
    assert_eq!(states, json!(["up", "ejected"]));
    page.wait_for(
        "document.title",
        &json!("● It serves, with 1 warning · localhost"),
    );
    assert_quiet(&page);
}

#[test]
fn a_page_says_since_when_it_hears_nothing_and_finds_back_by_itself() {
    let mut server = admin().own_ports().start();
    let page = watch(&server);
    get(&server, "/healthz", 9);
    page.wait_for(&format!("{} !== '0'", headline("Requests")), &json!(true));
    page.evaluate("window.hasNeverBeenReloaded = true");

    server.stop();
    page.wait_for(
        "/^Not connected since \\d\\d:\\d\\d:\\d\\d$/.test(text('#verdict-line'))",
        &json!(true),
    );
    page.wait_for(
        "/^not connected since \\d\\d:\\d\\d:\\d\\d$/.test(text('#link'))",
        &json!(true),
    );
    // What was heard stays, and is told for what it is.
    let more = page.evaluate("text('#verdict-more')");
    assert!(more.as_str().unwrap().contains("from before"), "{more}");
    page.wait_for("document.body.classList.contains('is-stale')", &json!(true));

    let _server = server.restart();
    page.sees("#link", "live");
    page.sees("#verdict-line", "Everything is fine");
    page.wait_for(
        "document.body.classList.contains('is-stale')",
        &json!(false),
    );
    assert_eq!(page.evaluate("window.hasNeverBeenReloaded"), json!(true));
    // The browser notes each attempt, and nothing else is wrong.
    for line in page.console() {
        assert!(line.contains("net::ERR_"), "{line}");
    }
}

#[test]
fn a_database_that_is_away_is_said_with_what_goes_on() {
    let server = admin().start();
    let database = server.database.as_ref().unwrap();
    let page = watch(&server);
    page.sees("#verdict-line", "Everything is fine");
    database.go_away();
    page.sees("#verdict-line", "1 problem");
    page.wait_for(
        "text('#troubles .what').startsWith('The app has no database: ')",
        &json!(true),
    );
    database.come_back();
    page.sees("#verdict-line", "Everything is fine");
    assert_quiet(&page);
}

#[test]
fn on_a_phone_nothing_is_wider_than_the_screen_by_day_and_by_night() {
    let (server, other) = with_a_shop(admin());
    other.refuse();
    get(&server, "/shop/", 4);
    let page = watch(&server);
    page.sees("#verdict-line", "It serves, with 1 warning");
    for width in [375, 320] {
        page.become_phone(width, 700);
        let wider = page.evaluate(
            "[document.documentElement.scrollWidth, innerWidth,
              ...document.querySelectorAll('.plot svg')].map((part) => part.clientWidth ?? part)
                .filter((width) => width > innerWidth)",
        );
        assert_eq!(wider, json!([]), "{width}");
    }
    assert_readable_by_day_and_by_night(&page);
    assert_quiet(&page);
}

#[test]
fn plots_are_read_by_keys_and_as_tables() {
    let server = admin().start();
    let page = watch(&server);
    get(&server, "/healthz", 9);
    page.wait_for(&format!("{} !== '0'", headline("Requests")), &json!(true));
    let reach = "[aria-label=\"Requests\"] [role=slider]";
    let name = page.accessible_name(reach);
    assert_eq!(name, "Requests, through the last ten minutes");
    let told = format!("document.querySelector('{reach}').ariaValueText");
    page.wait_for(&format!("{told}.startsWith('Now: 2xx ')"), &json!(true));

    page.evaluate(&format!("document.querySelector('{reach}').focus()"));
    page.press(&[key::LEFT]);
    page.wait_for(
        &format!("/^\\d\\d:\\d\\d:\\d\\d: /.test({told})"),
        &json!(true),
    );
    // All plots look at the same moment.
    page.wait_for(
        "document.querySelectorAll('.plot.is-past').length",
        &json!(6),
    );
    page.press(&[key::ESCAPE]);
    page.wait_for(
        "document.querySelectorAll('.plot.is-past').length",
        &json!(0),
    );

    page.click("[aria-label=\"Requests\"] summary");
    page.wait_for(
        "[...document.querySelectorAll('[aria-label=\"Requests\"] th[scope=col]')].map((head) => head.textContent)",
        &json!(["Minute", "2xx", "3xx", "4xx", "5xx", "no route"]),
    );
    let rows =
        page.evaluate("document.querySelectorAll('[aria-label=\"Requests\"] tbody tr').length");
    assert_eq!(rows, json!(10));
    let controls = page.evaluate(
        "[...document.querySelectorAll('[tabindex], summary')].filter((control) => control.tabIndex < 0).length",
    );
    assert_eq!(controls, json!(0), "Tab leads everywhere");
    assert_quiet(&page);
}

/// Ten minutes of traffic, then a picture.
#[test]
#[ignore = "takes ten minutes: script/screenshot runs it"]
fn the_picture() {
    let setup = Setup::new().admin().config(
        "[tls]\nredirect = false\n[[route]]\npath = \"/\"\nfiles = \"public\"\n\
         [[route]]\npath = \"/api/\"\napp = true",
    );
    let (server, other) = with_a_shop(setup);
    let stop = Arc::new(AtomicBool::new(false));
    let visitors: Vec<_> = [
        ("/", 23),
        ("/api/notes", 61),
        ("/shop/", 37),
        ("/gone", 900),
    ]
    .into_iter()
    .map(|(path, pause)| {
        let (stop, address) = (stop.clone(), server.http.unwrap());
        std::thread::spawn(move || {
            let mut visitor = Raw::connect(address);
            let begin = Instant::now();
            while !stop.load(Ordering::Relaxed) {
                visitor.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
                visitor.answer();
                // More and fewer, as days have it.
                let wave = (begin.elapsed().as_secs_f64() / 70.0)
                    .sin()
                    .mul_add(0.5, 1.0);
                std::thread::sleep(Duration::from_millis(pause).mul_f64(wave));
            }
        })
    })
    .collect();
    std::thread::sleep(Duration::from_secs(550));
    other.refuse();
    std::thread::sleep(Duration::from_secs(55));
    let page = watch(&server);
    page.resize(1280, 1260);
    page.sees("#verdict-line", "It serves, with 1 warning");
    picture(&page, "dashboard");
    stop.store(true, Ordering::Relaxed);
    for visitor in visitors {
        visitor.join().unwrap();
    }
}
