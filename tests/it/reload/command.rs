//! What `unibody reload` says, and that a configuration that can't be had changes nothing.

use std::net::TcpListener;

use super::{says, site, words};
use crate::support::command::free_port;

#[test]
fn what_changes_is_told_and_what_waits_is_named() {
    let server = site("workers = 2", &says("/", "old"));
    server.rewrite("\"old\"", "\"new\"");
    server.rewrite("workers = 2", "workers = 3\nmax_body = \"1MiB\"");
    server.rewrite("wait = \"1ms\"", "wait = \"2ms\"\npool_size = 3");
    assert_eq!(
        server.reload(),
        "changed  route /: respond.body\n\
         changed  server.max_body\n\
         restart  database.pool_size\n\
         restart  database.wait\n\
         restart  server.workers\n"
    );
    assert_eq!(server.get("/").text(), "new");
    // It is still not in force, and said again.
    let waiting = "restart  database.pool_size\nrestart  database.wait\nrestart  server.workers\n";
    assert_eq!(server.reload(), waiting);
    let status = words(&server.ask(&["status"]));
    let line = "restart   needed for database.pool_size, database.wait, server.workers\n";
    assert!(status.contains(line), "{status}");
    server.rewrite("workers = 3", "workers = 2");
    server.rewrite("wait = \"2ms\"\npool_size = 3", "wait = \"1ms\"");
    let nothing = "reloaded; nothing is otherwise in the configuration\n";
    assert_eq!(server.reload(), nothing);
}

#[test]
fn every_mistake_is_told_as_check_tells_it() {
    let mut server = site("", &says("/", "old"));
    server.rewrite("\"old\"", "\"new\"");
    server.rewrite("hosts =", "max_body = \"much\"\nhots = 1\nhosts =");
    let check = server.ask(&["check"]);
    let reload = server.ask(&["reload"]);
    assert_eq!(check.status.code(), Some(78));
    assert_eq!(words(&reload), words(&check));
    assert!(
        words(&reload).contains("server.max_body"),
        "{}",
        words(&reload)
    );
    assert_eq!(server.get("/").text(), "old");
    server.wait_for_line("the configuration was not reloaded");

    // The server judges by itself, and notes how it went.
    server.signal(nix::sys::signal::Signal::SIGHUP);
    server.wait_for_line("the configuration was not reloaded");
    let log = server.log();
    for line in String::from_utf8(check.stderr).unwrap().lines() {
        assert!(log.contains(line), "{line} is not in\n{log}");
    }
    assert_eq!(server.get("/").text(), "old");
    server.rewrite("max_body = \"much\"\nhots = 1\n", "");
    let history = &server.status()["configuration"];
    assert_eq!(history["failed"], 2, "by the command and by the signal");
    let error = history["last_error"].as_str().unwrap();
    assert!(error.contains("server.hots"), "{error}");
    assert_eq!(server.reload(), "changed  route /: respond.body\n");
    let history = &server.status()["configuration"];
    assert_eq!(
        (&history["reloads"], &history["last_error"]),
        (&1.into(), &().into())
    );
}

#[test]
fn what_cant_be_had_changes_nothing() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let server = site("", &says("/", "old"));
    std::fs::write(server.path("no.pem"), "nothing").unwrap();
    let good = std::fs::read_to_string(server.path("config.toml")).unwrap();
    let http = "http = [\"127.0.0.1:0\"";
    let table = [
        (http, format!("{http}, \"{taken}\""), "is in use", "a port in use"),
        (
            "redirect = false",
            "redirect = false\nmode = \"files\"\n[[tls.files]]\ncert = \"no.pem\"\nkey = \"no.pem\"".to_owned(),
            "no.pem",
            "no certificate",
        ),
    ];
    for (from, to, expected, why) in table {
        server.rewrite("\"old\"", "\"new\"");
        server.rewrite(from, &to);
        let output = server.ask(&["reload"]);
        assert!(!output.status.success(), "{why}");
        assert!(
            words(&output).contains(expected),
            "{why}: {}",
            words(&output)
        );
        assert_eq!(server.get("/").text(), "old", "{why}");
        let listeners = &server.status()["listeners"];
        assert_eq!(listeners["http"].as_array().unwrap().len(), 1, "{why}");
        assert_eq!(
            server.status()["certificates"][0]["source"],
            "self-signed",
            "{why}"
        );
        std::fs::write(server.path("config.toml"), &good).unwrap();
    }
}

#[test]
fn nobody_to_reload_is_a_failure() {
    let mut server = site("", &says("/", "old"));
    server.stop();
    let output = server.ask(&["reload"]);
    assert_eq!(output.status.code(), Some(1), "{}", words(&output));
    assert!(
        words(&output).contains("is the server running"),
        "{}",
        words(&output)
    );
}

#[test]
fn a_server_that_is_asked_at_another_address_hears_signals_all_the_same() {
    let mut server = site("", &says("/", "old"));
    let elsewhere = format!("127.0.0.1:{}", free_port());
    for (command, instead) in [
        ("reload", "kill -HUP PID"),
        ("upgrade", "kill -QUIT PID"),
        ("status", "at the old address"),
    ] {
        let asked = server.command(&[command]).env("ADMIN", &elsewhere).output();
        let said = words(&asked.unwrap());
        let why = "If server.admin was changed since it started";
        assert!(said.contains(why), "{command}: {said}");
        assert!(said.contains(instead), "{command}: {said}");
    }
    server.rewrite("${ADMIN:-127.0.0.1:0}", "");
    for (command, instead) in [("reload", "kill -HUP PID"), ("upgrade", "kill -QUIT PID")] {
        let said = words(&server.ask(&[command]));
        assert!(said.contains("switched off"), "{command}: {said}");
        assert!(said.contains(instead), "{command}: {said}");
    }
    server.signal(nix::sys::signal::Signal::SIGHUP);
    let line = server.wait_for_line("wait for a restart");
    assert!(line.contains("server.admin"), "{line}");
}

#[test]
fn a_broken_file_takes_no_command_away_that_asks_the_server() {
    let server = site("", &says("/", "old"));
    for (key, address) in [("http", server.http), ("https", server.https)] {
        let to = format!("{key} = [\"{}\"]", address.unwrap());
        server.rewrite(&format!("{key} = [\"127.0.0.1:0\"]"), &to);
    }
    let good = std::fs::read_to_string(server.path("config.toml")).unwrap();
    for (broken, why) in [
        ("max_body = \"much\"\nhosts =", "a wrong value"),
        ("data_dir = \"${NOBODY_SET_THIS}\"\nhosts =", "a variable"),
        ("max_body = [\nhosts =", "no TOML"),
    ] {
        let text = good.replacen("hosts =", broken, 1);
        std::fs::write(server.path("config.toml"), text).unwrap();
        assert_eq!(server.ask(&["check"]).status.code(), Some(78), "{why}");
        for command in [
            &["status"][..],
            &["status", "--json"],
            &["log-level"],
            &["purge", "--all"],
            &["certs", "list"],
        ] {
            let output = server.ask(command);
            assert!(output.status.success(), "{why}: {}", words(&output));
        }
        let upgraded = server.ask(&["upgrade"]);
        assert_eq!(upgraded.status.code(), Some(1), "{why}");
        assert!(words(&upgraded).contains("goes on"), "{}", words(&upgraded));
        let reloaded = server.ask(&["reload"]);
        assert_eq!(reloaded.status.code(), Some(78), "{why}");
        let mistake = words(&reloaded);
        assert!(mistake.contains("config.toml:"), "{why}: {mistake}");
    }
    let text = good + "\n[[route]]\npath = \"/\"\nfiles = \"nowhere";
    std::fs::write(server.path("config.toml"), text).unwrap();
    let healthy = server.ask(&["healthcheck"]);
    assert!(healthy.status.success(), "{}", words(&healthy));
}
