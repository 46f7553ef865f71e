//! What the commands say and how they end.

use std::net::TcpListener;
use std::path::Path;

use tempfile::TempDir;

use crate::support::api::Api;
use crate::support::breakable::Break;
use crate::support::command::{free_port, run, unibody};
use crate::support::database::TestDatabase;
use crate::support::server::{Server, Setup};

#[test]
fn help_shows_examples_of_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let help = unibody(directory.path(), &["--help"], &[]).assert_status(0);
    let list = help.stdout.split("Commands:\n").nth(1).unwrap();
    let commands: Vec<_> = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    for expected in ["serve", "check", "config", "migrate", "seed", "healthcheck"] {
        assert!(commands.contains(&expected), "{expected}: {commands:?}");
    }
    assert!(help.stdout.contains("Examples:"), "{help:#?}");
    for command in commands {
        let help = unibody(directory.path(), &[command, "--help"], &[]).assert_status(0);
        assert!(help.stdout.contains("Example"), "{command}: {help:#?}");
        assert!(
            help.stdout.contains(&format!("  unibody {command}"))
                || help.stdout.contains(&format!(" {command}\n")),
            "{command}: {help:#?}"
        );
    }
}

#[test]
fn the_version_is_the_one_that_was_built() {
    let directory = tempfile::tempdir().unwrap();
    let version = unibody(directory.path(), &["--version"], &[]).assert_status(0);
    assert_eq!(
        version.stdout,
        concat!("unibody ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn wrong_usage_is_status_2() {
    let directory = tempfile::tempdir().unwrap();
    for arguments in [
        &["--colour"][..],
        &["sevre"],
        &["seed", "--count", "many"],
        &["seed", "--count", "-1"],
        &["migrate", "up"],
        &["--config"],
    ] {
        let ran = unibody(directory.path(), arguments, &[]).assert_status(2);
        assert!(ran.stderr.contains("error:"), "{ran:#?}");
        assert!(ran.stdout.is_empty(), "{ran:#?}");
    }
}

#[test]
fn every_command_reports_all_mistakes_of_the_configuration_with_their_lines() {
    let directory = with_config(
        r#"[server]
htpp = ["[::]:80"]
max_body = "20MB?"

[tls]
mode = "sometimes"

[[route]]
path = "/"
files = "nowhere"
"#,
    );
    for command in ["serve", "check", "config", "migrate", "seed", "healthcheck"] {
        let ran = unibody(directory.path(), &[command], &[]).assert_status(78);
        let lines: Vec<_> = ran.stderr.lines().collect();
        let expected = [
            ("config.toml:2: ", "did you mean http?"),
            ("config.toml:3: ", "max_body"),
            ("config.toml:6: ", "tls.mode"),
            ("config.toml:10: ", "route.files"),
        ];
        assert_eq!(lines.len(), expected.len(), "{command}: {ran:#?}");
        for (line, (place, hint)) in lines.iter().zip(expected) {
            assert!(line.starts_with(place), "{command}: {line}");
            assert!(line.contains(hint), "{command}: {line}");
        }
    }
    let missing = unibody(directory.path(), &["--config", "other.toml", "check"], &[]);
    missing
        .assert_status(78)
        .assert_error(&["other.toml", "no such file"]);
}

#[test]
fn check_finds_what_the_configuration_names_and_is_not_there() {
    let database = TestDatabase::new();
    let url = [("DATABASE_URL", database.url.as_str())];
    let empty = tempfile::tempdir().unwrap();
    let files = |site: &TempDir| std::fs::create_dir_all(site.path().join("public/static"));
    files(&empty).unwrap();
    let checked = unibody(empty.path(), &["check", "--online"], &url).assert_status(0);
    assert_eq!(checked.stdout, "everything is in order\n");

    let broken = with_config(
        "[tls]\nmode = \"files\"\n[[tls.files]]\nhosts = [\"localhost\"]\ncert = \"c.pem\"\nkey = \"k.pem\"\n",
    );
    files(&broken).unwrap();
    for name in ["c.pem", "k.pem"] {
        std::fs::write(broken.path().join(name), "no PEM").unwrap();
    }
    unibody(broken.path(), &["check"], &url)
        .assert_status(1)
        .assert_error(&["c.pem"]);

    let nobody = format!("postgres://notes:s3cret@127.0.0.1:{}/notes", free_port());
    let url = [("DATABASE_URL", nobody.as_str())];
    unibody(empty.path(), &["check"], &url).assert_status(0);
    unibody(empty.path(), &["check", "--online"], &url)
        .assert_status(1)
        .assert_error(&["DATABASE_URL", "refused"]);
}

#[test]
fn migrate_applies_what_status_lists() {
    let database = TestDatabase::empty();
    let directory = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        unibody(
            directory.path(),
            arguments,
            &[("DATABASE_URL", &database.url)],
        )
        .assert_status(0)
    };
    assert!(
        run(&["migrate", "--status"])
            .stdout
            .contains("V1 notes: pending")
    );
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'";
    assert_eq!(database.count(tables), 0, "--status changes nothing");

    let applied = run(&["migrate"]);
    assert!(
        applied.stdout.contains("applied V1__notes\n"),
        "{applied:#?}"
    );
    assert!(
        run(&["migrate", "--status"])
            .stdout
            .contains("V1 notes: applied on 2")
    );
    let again = run(&["migrate"]);
    assert!(!again.stdout.contains("applied V"), "{again:#?}");
    assert!(
        again.stdout.starts_with("the schema is at version "),
        "{again:#?}"
    );
}

#[test]
fn seed_inserts_as_many_notes_as_asked_for() {
    let database = TestDatabase::empty();
    let directory = tempfile::tempdir().unwrap();
    let url = [("DATABASE_URL", database.url.as_str())];
    for (arguments, inserted, total) in [
        (&["seed", "--count", "25"][..], 25, 25),
        (&["seed"], 10, 35),
        (&["seed", "--count", "0"], 0, 35),
    ] {
        let ran = unibody(directory.path(), arguments, &url).assert_status(0);
        assert_eq!(ran.stdout, format!("{inserted} notes inserted\n"));
        assert!(ran.stderr.is_empty(), "no bar where there is no terminal");
        assert_eq!(database.count("SELECT count(*) FROM notes"), total);
    }
}

#[tokio::test]
async fn seed_shares_the_embedded_database_of_a_running_server_or_starts_it() {
    let mut server = Setup::new().embedded().start();
    seed_three(&server);
    assert_eq!(Api::http2(&server).titles().await.len(), 3);
    assert!(server.stop().success());

    seed_three(&server);
    assert!(
        !server.path("data/postgres/postmaster.pid").exists(),
        "stopped again"
    );
    let server = server.restart();
    assert_eq!(Api::http2(&server).titles().await.len(), 6);
}

fn seed_three(server: &Server) {
    let ran = run(server.command(&["seed", "--count", "3"])).assert_status(0);
    assert!(ran.stdout.ends_with("3 notes inserted\n"), "{ran:#?}");
}

#[tokio::test]
async fn healthcheck_tells_how_the_server_is() {
    for (tls, hosts) in [
        ("", "\"localhost\""),
        ("", "\"notes.example.com\", \"*.example.org\""),
        ("", "\"*.example.org\""),
        ("", ""),
        ("[tls]\nmode = \"off\"", "\"notes.example.com\""),
    ] {
        let (http, https) = (free_port(), free_port());
        let https = match tls {
            "" => format!("https = [\"127.0.0.1:{https}\"]\n"),
            _ => String::new(),
        };
        let database = TestDatabase::new();
        let (proxy, url) = database.behind_a_proxy();
        let mut server = Setup::new()
            .config(&format!(
                "[server]\nhttp = [\"127.0.0.1:{http}\"]\n{https}hosts = [{hosts}]\n{tls}"
            ))
            .database(&url)
            .start();
        let ask = |arguments: &[&str]| run(server.command(arguments));
        assert_eq!(ask(&["healthcheck"]).assert_status(0).stdout, "ok\n");
        ask(&["healthcheck", "--ready"]).assert_status(0);

        proxy.refuse();
        proxy.end(Break::Cut);
        ask(&["healthcheck"]).assert_status(0);
        ask(&["healthcheck", "--ready"])
            .assert_status(1)
            .assert_error(&["/readyz answered 503"]);

        server.stop();
        run(server.command(&["healthcheck"]))
            .assert_status(1)
            .assert_error(&["cannot connect to 127.0.0.1", "is the server running?"]);
    }
}

#[test]
fn a_port_in_use_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = with_config(&format!(
        "[server]\nadmin = \"\"\nhttp = [\"{address}\"]\nhttps = [\"127.0.0.1:0\"]\n"
    ));
    unibody(directory.path(), &["serve"], &[])
        .assert_status(1)
        .assert_error(&[
            &format!("cannot listen on {address}"),
            "is in use",
            "server.http",
        ]);
    assert!(
        !directory.path().join("data").exists(),
        "told before anything is started"
    );
}

#[test]
fn without_postgresql_programs_the_error_says_what_to_install() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    write_config(
        directory.path(),
        "[database]\nbin_dir = \"empty\"\n[server]\nadmin = \"\"\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n",
    );
    for command in ["check", "serve", "migrate", "seed"] {
        let ran = unibody(
            directory.path(),
            &[command],
            &[("PATH", empty.to_str().unwrap())],
        )
        .assert_status(1);
        let error = ran.stderr.lines().last().unwrap_or_default();
        for part in ["database.bin_dir", "postgresql", "DATABASE_URL"] {
            assert!(error.contains(part), "{command}: {part}: {ran:#?}");
        }
    }
}

fn with_config(toml: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    write_config(directory.path(), toml);
    directory
}

fn write_config(directory: &Path, toml: &str) {
    std::fs::write(directory.join("config.toml"), toml).unwrap();
}
