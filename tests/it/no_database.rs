//! Who only proxies needs no PostgreSQL: none is started, asked or missed.

use std::path::Path;

use serde_json::Value;

use crate::support::command::{Ran, unibody};
use crate::support::database::TestDatabase;
use crate::support::http;
use crate::support::raw::{Raw, RawAnswer};
use crate::support::server::{Server, Setup};
use crate::support::upstream::Upstream;

/// PostgreSQL's programs are looked for here, and nowhere else.
const NO_PROGRAMS: &str = "[database]\nbin_dir = \"empty\"\n";
const PROXY: &str = "[[route]]\npath = \"/\"\nupstream = \"backend\"\n";
const APP: &str = "[[route]]\npath = \"/api/\"\napp = true\n";
const NOWHERE: &str = "[[upstream]]\nname = \"backend\"\nservers = [\"127.0.0.1:1\"]\n";

fn proxy(upstream: &Upstream) -> Setup {
    let config = format!("{NO_PROGRAMS}{}{PROXY}", upstream.table(""));
    // This is without a URL; the cluster would be made in `data`.
    let setup = Setup::new().embedded().admin().plain().config(&config);
    std::fs::create_dir(setup.directory().join("empty")).unwrap();
    setup.environment("PATH", "")
}

/// A directory with `config.toml` alone, and one for programs without any.
fn with_config(config: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("empty")).unwrap();
    let server =
        "[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\nadmin = \"127.0.0.1:0\"\n";
    let config = format!("{server}{NO_PROGRAMS}{NOWHERE}{config}");
    std::fs::write(directory.path().join("config.toml"), config).unwrap();
    directory
}

fn get(server: &Server, path: &str) -> RawAnswer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    Raw::connect(server.http.unwrap()).send(request).answer()
}

fn said(server: &Server, arguments: &[&str]) -> String {
    let output = server.ask(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_proxy_serves_and_is_ready_and_fine() {
    let upstream = Upstream::saying("hello");
    let mut server = proxy(&upstream).start();
    assert_eq!(get(&server, "/").text(), "hello");
    for path in ["/healthz", "/readyz"] {
        let answer = get(&server, path);
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.text(), "{\"ok\":true}", "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    server.keep_ports();
    said(&server, &["healthcheck", "--ready"]);

    let status: Value = serde_json::from_str(&said(&server, &["status", "--json"])).unwrap();
    assert_eq!(status["troubles"], serde_json::json!([]));
    assert_eq!(status["database"], Value::Null);
    let status = said(&server, &["status"]);
    let line = "database  none: no route leads to the app\n";
    assert!(status.contains(line), "{status}");

    let metrics = http::client().get(server.admin_url("/metrics")).send();
    let metrics = metrics.await.unwrap().text().await.unwrap();
    assert!(metrics.contains("unibody_requests_total"), "{metrics}");
    assert!(!metrics.contains("unibody_database_"), "{metrics}");

    server.line_with("no database is opened");
    assert!(server.stop().success());
    let log = server.log();
    let of_database = |line: &&str| line.contains("database") || line.contains("postgres");
    assert_eq!(log.lines().filter(of_database).count(), 1, "{log}");
    let made = names(&server.path("data"));
    let of_postgres = |name: &String| name.starts_with("postgres");
    assert!(!made.iter().any(of_postgres), "{made:?}");
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let name = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().file_name();
    entries
        .map(|entry| name(entry).into_string().unwrap())
        .collect()
}

#[test]
fn check_and_doctor_miss_postgresql_only_for_a_route_to_the_app() {
    for (routes, missing) in [(PROXY.to_owned(), false), (format!("{PROXY}{APP}"), true)] {
        let directory = with_config(&routes);
        let check = unibody(directory.path(), &["check"], &[]);
        assert_eq!(check.status, i32::from(missing), "{check:#?}");
        let online = unibody(directory.path(), &["check", "--online"], &[]);
        assert_eq!(online.status, i32::from(missing), "{online:#?}");
        let doctor = unibody(directory.path(), &["doctor"], &[]);
        assert_eq!(doctor.status, i32::from(missing), "{doctor:#?}");
        let line = "ok    database: none is needed, for no route leads to the app\n";
        assert_eq!(doctor.stdout.contains(line), !missing, "{doctor:#?}");
    }
}

#[test]
fn commands_for_the_database_say_that_there_is_none() {
    let directory = with_config(PROXY);
    let path = directory.path();
    std::fs::write(path.join("kept.dump"), "").unwrap();
    let before = names(path);
    let commands: [&[&str]; 7] = [
        &["migrate"],
        &["migrate", "--status"],
        &["seed"],
        &["backup", "new.dump"],
        &["backup"],
        &["backup", "rehearse", "kept.dump"],
        &["restore", "kept.dump"],
    ];
    let words = ["no route leads to the app", "app = true", "DATABASE_URL"];
    for command in commands {
        let ran: Ran = unibody(path, command, &[]);
        ran.assert_status(1).assert_error(&words);
    }
    assert_eq!(names(path), before, "nothing was made");

    // Whoever names one has one.
    let database = TestDatabase::new();
    let url = [("DATABASE_URL", database.url.as_str())];
    let ran = unibody(path, &["seed", "--count", "3"], &url).assert_status(0);
    assert_eq!(ran.stdout, "3 notes inserted\n");
}
