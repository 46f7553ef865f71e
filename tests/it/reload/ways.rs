//! The ways in which a reload is asked for beside the command.

use nix::sys::signal::Signal;

use super::{says, site};

#[test]
fn sighup_reloads_and_the_log_tells() {
    let mut server = site("", &says("/", "old"));
    server.rewrite("\"old\"", "\"new\"");
    server.signal(Signal::SIGHUP);
    let line = server.line_with("the configuration was reloaded");
    assert!(line.contains("route /: respond.body"), "{line}");
    assert_eq!(server.get("/").text(), "new");
    assert_eq!(server.status()["configuration"]["reloads"], 1);
}

#[test]
fn a_file_that_is_watched_is_in_force_when_it_is_saved() {
    let mut server = site("watch_config = true", &says("/", "one"));
    server.rewrite("\"one\"", "\"two\"");
    server.wait_for_line("the configuration was reloaded");
    assert_eq!(server.get("/").text(), "two");

    let text = std::fs::read_to_string(server.path("config.toml")).unwrap();
    std::fs::write(
        server.path("config.toml"),
        text.replace("\"two\"", "\"three\""),
    )
    .unwrap();
    server.wait_for_line("the configuration was reloaded");
    assert_eq!(server.get("/").text(), "three");

    // A mistake changes nothing, and its end is noticed as well.
    server.rewrite("hosts = ", "hots = 1\nhosts = ");
    server.wait_for_line("the configuration was not reloaded");
    assert_eq!(server.get("/").text(), "three");
    server.rewrite("hots = 1\n", "");
    server.wait_for_line("the configuration was reloaded");

    // It may be switched off, and on, by itself.
    server.rewrite("watch_config = true", "watch_config = false");
    server.wait_for_line("the configuration was reloaded");
    server.rewrite("\"three\"", "\"four\"");
    server.rewrite("watch_config = false", "watch_config = true");
    server.reload();
    assert_eq!(server.get("/").text(), "four");
    server.wait_for_line("the configuration was reloaded");
    server.rewrite("\"four\"", "\"five\"");
    server.wait_for_line("the configuration was reloaded");
    assert_eq!(server.get("/").text(), "five");
}
