//! New processes that don't become ready: the old one goes on and says why.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{
    assert_refused, link_program, setup, upgrade, upgrade_and_watch, wait_for_end, write_program,
};
use crate::support::raw::Raw;
use crate::support::server::{PATIENCE, PROGRAM, Server};

/// What fails, how it is brought about, and what the command says of it.
type Case<'a> = (&'a str, &'a dyn Fn(), &'a [&'a str]);

#[test]
fn whatever_fails_is_told_and_costs_nothing() {
    let mut server = setup("", "").start();
    let pid = server.pid();
    let config = server.path("config.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let write = |text: &str| std::fs::write(&config, text).unwrap();
    let program = |script: &str| write_program(server.directory.path(), script);
    let restore = || {
        write(&good);
        link_program(
            server.directory.path(),
            Path::new(env!("CARGO_BIN_EXE_unibody")),
        );
    };

    let cases: [Case<'_>; 6] = [
        (
            "an address that somebody else has",
            &|| write(&good.replace("http = [", &format!("http = [\"{taken}\", "))),
            &["is in use", "server.http"],
        ),
        (
            "a database that isn't there",
            &|| {
                write(&format!(
                    "{good}\n[database]\nwait = \"1ms\"\nurl = \"postgres://nobody@127.0.0.1:1/none\"\n"
                ));
                // DATABASE_URL wins over the file, so it is the program that forgets it.
                program(&format!(
                    "#!/bin/sh\nunset DATABASE_URL\nexec {} \"$@\"\n",
                    env!("CARGO_BIN_EXE_unibody")
                ));
            },
            &["database is unavailable"],
        ),
        (
            "another program",
            &|| program("#!/bin/sh\nexit 3\n"),
            &["exit status: 3", "is it unibody?"],
        ),
        (
            "no program",
            &|| program("\u{7f}ELF, almost"),
            &["can't be started"],
        ),
        (
            "a program that hangs",
            &|| program("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 1; done\n"),
            &["not ready after 2s"],
        ),
        (
            "nothing at all",
            &|| std::fs::remove_file(server.path(PROGRAM)).unwrap(),
            &["can't be started"],
        ),
    ];
    let mut kept = Raw::connect(server.http.unwrap());
    for (what, prepare, reasons) in cases {
        prepare();
        // The hanging one has 2 seconds, the others end by themselves.
        let asked = server.ask(&["upgrade", "--timeout", "2s"]);
        eprintln!("{what}: {}", String::from_utf8_lossy(&asked.stderr));
        assert_refused(&asked, pid, reasons);
        kept.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = kept.answer();
        assert_eq!(answer.status, 200, "{what}");
        assert_ne!(answer.header("connection"), Some("close"), "{what}");
        // Whatever it was, it is gone.
        for other in running(&server.path(PROGRAM)).filter(|other| *other != pid) {
            wait_for_end(other);
        }
        restore();
    }
    // And then it goes well.
    upgrade(&mut server);
    assert_eq!(get(&server, "/api/notes"), 200);
}

#[test]
fn every_mistake_in_the_configuration_is_told() {
    let mut server = setup("", "").start();
    let pid = server.pid();
    let config = server.path("config.toml");
    let good = std::fs::read_to_string(&config).unwrap();
    let bad = good.replace("[tls]", "[tsl]").replace("hosts =", "hots =");
    std::fs::write(&config, bad).unwrap();
    // The new process reads the file, and tells the old one; that tells the command, or after a signal the log.
    let asked = server.ask(&["upgrade"]);
    let complaint = String::from_utf8_lossy(&asked.stderr);
    assert_eq!(asked.status.code(), Some(1), "{complaint}");
    server.wait_for_line("not handed over, this process goes on");
    server.signal(Signal::SIGQUIT);
    let line = server.wait_for_line("not handed over, this process goes on");
    assert!(line.contains("config.toml:"), "{line}");
    for mistake in ["hots", "tsl"] {
        assert!(complaint.contains(mistake), "{complaint}");
        server.line_with(&format!("{mistake}: unknown key"));
    }
    assert_eq!(server.pid(), pid);
    assert_eq!(get(&server, "/api/notes"), 200);
}

#[test]
fn a_new_process_that_is_killed_before_it_is_ready_costs_nothing() {
    let server = setup("", "").start();
    let pid = server.pid();
    let told = server.path("child");
    write_program(
        server.directory.path(),
        &format!(
            "#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 60\n",
            told.display()
        ),
    );
    let mut command = server.command(&["upgrade"]);
    command.env("ADMIN", server.admin.unwrap().to_string());
    let asking = command.spawn().unwrap();
    let child = loop {
        if let Ok(child) = std::fs::read_to_string(&told) {
            break Pid::from_raw(child.trim().parse().unwrap());
        }
        std::thread::yield_now();
    };
    kill(child, Signal::SIGKILL).unwrap();
    assert_refused(&asking.wait_with_output().unwrap(), pid, &["signal: 9"]);
    assert_eq!(get(&server, "/api/notes"), 200);
}

#[test]
fn a_new_process_that_crashes_while_it_is_watched_leaves_the_old_one_in_charge() {
    let mut server = setup("", "").embedded().start();
    let pid = server.pid();
    let mut kept = Raw::connect(server.http.unwrap());
    for _ in 0..2 {
        let (asking, new) = upgrade_and_watch(&mut server, "5m");
        kept.send("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(kept.answer().header("connection"), Some("keep-alive"));
        kill(new, Signal::SIGKILL).unwrap();
        let asked = asking.wait_with_output().unwrap();
        assert_refused(&asked, pid, &["signal: 9", "after it had begun to serve"]);
        for _ in 0..20 {
            assert_eq!(get(&server, "/api/notes"), 200);
        }
    }
    // It can still be found, has its database, and hands over to a better one.
    let place = server.path("data/upgrade.sock");
    std::os::unix::net::UnixStream::connect(place).unwrap();
    upgrade(&mut server);
    wait_for_end(pid);
    assert_eq!(get(&server, "/api/notes"), 200);
}

#[test]
fn a_stop_of_either_process_while_both_serve() {
    let mut server = setup("", "").start();
    let pid = server.pid();
    let (asking, new) = upgrade_and_watch(&mut server, "5m");
    kill(new, Signal::SIGTERM).unwrap();
    let asked = asking.wait_with_output().unwrap();
    assert_refused(&asked, pid, &["it was asked to stop"]);
    assert_eq!(get(&server, "/api/notes"), 200);
    wait_for_end(new);

    let (mut asking, new) = upgrade_and_watch(&mut server, "5m");
    server.signal(Signal::SIGTERM);
    assert!(server.ends_within(PATIENCE).unwrap().success());
    wait_for_end(new);
    asking.wait().unwrap();
}

#[test]
fn a_stop_ends_an_upgrade_that_is_under_way_and_both_processes() {
    let mut server = setup("", "").start();
    let told = server.path("child");
    write_program(
        server.directory.path(),
        &format!(
            "#!/bin/sh\necho $$ > {0}.new && mv {0}.new {0}\nexec sleep 60\n",
            told.display()
        ),
    );
    server.signal(Signal::SIGQUIT);
    let child = loop {
        if let Ok(child) = std::fs::read_to_string(&told) {
            break Pid::from_raw(child.trim().parse().unwrap());
        }
        std::thread::yield_now();
    };
    server.signal(Signal::SIGTERM);
    let status = server.ends_within(PATIENCE).unwrap();
    assert_eq!((status.code(), status.signal()), (Some(0), None));
    wait_for_end(child);
}

/// Processes whose command line names `program`.
fn running(program: &Path) -> impl Iterator<Item = Pid> {
    let program = program.display().to_string();
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.filter_map(move |process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let words = std::fs::read(process.path().join("cmdline")).ok()?;
        let is_it = String::from_utf8_lossy(&words).contains(&program);
        is_it.then(|| Pid::from_raw(pid))
    })
}

fn get(server: &Server, path: &str) -> u16 {
    let mut client = Raw::connect(server.http.unwrap());
    client
        .send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        ))
        .last_answer()
        .status
}
