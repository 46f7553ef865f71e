//! `unibody doctor`: what it finds on a machine in order, and on machines with one thing wrong.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use rcgen::{CertificateParams, KeyPair};
use serde_json::json;
use tempfile::TempDir;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::support::command::free_port;
use super::support::database::{TestDatabase, make_traversable};
use super::support::pebble::Pebble;
use super::support::server::Setup;

/// What the doctor said.
struct Report {
    status: i32,
    said: String,
}

/// A directory to be examined.
struct Patient {
    directory: TempDir,
    database: Option<String>,
}

impl Patient {
    /// With `config.toml` and no `DATABASE_URL`.
    fn new(config: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_traversable(directory.path());
        fs::create_dir(directory.path().join("public")).unwrap();
        fs::write(directory.path().join("config.toml"), config).unwrap();
        Self {
            directory,
            database: None,
        }
    }

    fn database(mut self, url: &str) -> Self {
        self.database = Some(url.to_owned());
        self
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.directory.path().join(name), text).unwrap();
        self
    }

    fn report(&self) -> Report {
        examine(self.directory.path(), self.database.as_deref(), &[])
    }

    fn json(&self) -> (i32, serde_json::Value) {
        let report = examine(self.directory.path(), self.database.as_deref(), &["--json"]);
        (report.status, serde_json::from_str(&report.said).unwrap())
    }
}

impl Report {
    /// The lines that begin with `word`.
    fn lines(&self, word: &str) -> Vec<&str> {
        self.said
            .lines()
            .filter(|line| line.starts_with(word))
            .collect()
    }

    /// One line says so, and has a remedy.
    #[track_caller]
    fn fails(&self, what: &str, remedy: &str) {
        assert_eq!(self.status, 1, "{}", self.said);
        let found = self.lines("FAIL  ").into_iter().any(|line| {
            let (finding, advice) = line.split_once("  — ").unwrap_or((line, ""));
            finding.contains(what) && advice.contains(remedy)
        });
        assert!(found, "no FAIL of {what} with {remedy} in:\n{}", self.said);
    }
}

fn examine(directory: &Path, database: Option<&str>, arguments: &[&str]) -> Report {
    let mut command = Command::new(env!("CARGO_BIN_EXE_unibody"));
    command
        .arg("doctor")
        .args(arguments)
        .current_dir(directory)
        .env_remove("DATABASE_URL");
    if let Some(url) = database {
        command.env("DATABASE_URL", url);
    }
    let output = command.output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors, "", "everything is said in the report");
    Report {
        status: output.status.code().unwrap(),
        said: String::from_utf8(output.stdout).unwrap(),
    }
}

fn server(more: &str) -> String {
    format!("[server]\nhttp = [\"127.0.0.1:0\"]\nhttps = [\"127.0.0.1:0\"]\n{more}\n")
}

#[test]
fn a_machine_in_order_has_no_failures() {
    let database = TestDatabase::new();
    let patient = Patient::new(&server("")).database(&database.url);
    let report = patient.report();
    assert_eq!(report.status, 0, "{}", report.said);
    assert_eq!(report.lines("FAIL"), [""; 0], "{}", report.said);
    for text in [
        "ok    server.http: 127.0.0.1:0 is free",
        "ok    server.https: 127.0.0.1:0 is free",
        "ok    dns: localhost leads here",
        "and the schema is current",
        "tls.certs_dir = ",
        "open files: ",
        " 0 failures",
    ] {
        assert!(report.said.contains(text), "{text} in:\n{}", report.said);
    }
    assert!(!report.said.contains("certificate authority"), "no CA here");
    assert!(!report.said.contains('\x1b'), "no colour in a pipe");
    let kept = patient.directory.path().join("certs");
    assert!(!kept.exists(), "looking changes nothing");
}

#[test]
fn programs_get_json() {
    let database = TestDatabase::new();
    let patient = Patient::new(&server("")).database(&database.url);
    let (status, json) = patient.json();
    assert_eq!((status, &json["ok"]), (0, &true.into()), "{json}");

    let patient = Patient::new(&(server("") + "[tls]\ncerts_dir = \"kept/certs\"\n"))
        .file("kept", "")
        .database(&database.url);
    let (status, json) = patient.json();
    assert_eq!((status, &json["ok"]), (1, &false.into()), "{json}");
    let findings = json["findings"].as_array().unwrap();
    let fail = findings.iter().find(|found| found["grade"] == "fail");
    let remedy = fail.unwrap()["remedy"].as_str().unwrap();
    assert!(remedy.contains("move it away"), "{json}");
}

#[test]
fn a_running_server_is_recognized() {
    // An address for this test alone, so that no other test takes its ports.
    let free = || {
        let listener = TcpListener::bind("127.77.0.1:0").unwrap();
        listener.local_addr().unwrap()
    };
    let config = format!(
        "[server]\nhttp = [\"{}\"]\nhttps = [\"{}\"]",
        free(),
        free()
    );
    let server = Setup::new().config(&config).start();
    let url = server
        .database
        .as_ref()
        .map(|database| database.url.as_str());
    let report = examine(server.directory.path(), url, &[]);
    assert_eq!(report.status, 0, "{}", report.said);
    let answers = report.said.matches("the server answers at 127.77.0.1:");
    assert_eq!(answers.count(), 2, "{}", report.said);
}

#[test]
fn a_port_that_another_unibody_holds_fails() {
    let other = Setup::new().admin().start();
    let (taken, theirs) = (other.http.unwrap(), other.admin.unwrap());
    let database = TestDatabase::new();
    let nobody = free_port();
    for (admin, expected) in [(format!("127.0.0.1:{nobody}"), 1), (theirs.to_string(), 0)] {
        let config = format!(
            "[server]\nadmin = \"{admin}\"\nhttp = [\"{taken}\"]\nhttps = [\"127.0.0.1:0\"]\n"
        );
        let report = Patient::new(&config).database(&database.url).report();
        assert_eq!(report.lines("FAIL").len(), expected, "{}", report.said);
        let answers = format!("the server answers at {taken}");
        assert_eq!(
            report.said.contains(&answers),
            expected == 0,
            "{}",
            report.said
        );
    }
}

#[test]
fn a_port_that_another_program_holds_fails() {
    let foreign = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = foreign.local_addr().unwrap();
    let database = TestDatabase::new();
    let config = format!("[server]\nhttp = [\"{taken}\"]\nhttps = [\"127.0.0.1:0\"]\n");
    let report = Patient::new(&config).database(&database.url).report();
    report.fails("is in use", "stop the program that holds it");
    report.fails(&taken.to_string(), "server.http");
    assert_eq!(report.lines("FAIL").len(), 1, "{}", report.said);
}

#[test]
fn a_ca_that_cannot_be_reached_and_names_that_lead_nowhere_fail() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let database = TestDatabase::new();
    let config = server("hosts = [\"notes.invalid\"]")
        + &format!(
            "[tls]\nmode = \"acme\"\ncerts_dir = \"kept/certs\"\n[acme]\ndirectory = \"https://{address}/dir\"\n"
        );
    let report = Patient::new(&config)
        .file("kept", "in the way")
        .database(&database.url)
        .report();
    report.fails("certificate authority: ", "acme.directory");
    report.fails("dns: notes.invalid leads nowhere", "A or AAAA record");
    report.fails("kept is not a directory", "move it away");
    assert_eq!(report.lines("FAIL").len(), 3, "{}", report.said);
    assert!(report.said.contains("ok    orders: 4 of 4 left"));
    let summary = report.said.lines().last().unwrap();
    assert!(summary.ends_with(" 3 failures"), "{summary}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_ca_offers_is_told() {
    let ca = Pebble::setup().start().await;
    let mut server = ca.server(&["doctor.test"], &["http-01"]).start();
    server.line_with("got a certificate");
    let url = server
        .database
        .as_ref()
        .map(|database| database.url.as_str());
    let report = examine(server.directory.path(), url, &[]);
    for text in [
        " answers, and offers ",
        "ok    clock: agrees with ",
        "3 of 4 left for doctor.test",
        "warn  ports: the CA connects to port 80 or 443",
    ] {
        assert!(report.said.contains(text), "{text} in:\n{}", report.said);
    }
}

#[test]
fn what_several_instances_have_ordered_is_read_where_they_share_it() {
    let database = TestDatabase::new();
    let directory = "https://127.0.0.1:1/dir";
    let attempt = json!({
        "at": OffsetDateTime::now_utc().format(&Rfc3339).unwrap(),
        "outcome": "issued", "serial": "01", "counts": true,
    });
    let ledger = json!({
        "version": 1, "attempts": [attempt, attempt, attempt], "failures": 0,
        "next_attempt": null, "last_error": null, "suggestion": null, "proven_by": null,
    });
    database.execute(&format!(
        "INSERT INTO acme_ledgers VALUES ('{directory}', 'localhost', '{ledger}')"
    ));
    let config = server("")
        + &format!(
            "[tls]\nmode = \"acme\"\n[acme]\ndirectory = \"{directory}\"\nstorage = \"database\"\n"
        );
    let report = Patient::new(&config).database(&database.url).report();
    let left = "ok    orders: 1 of 4 left for localhost";
    assert!(report.said.contains(left), "{}", report.said);
    // Elsewhere each has its own, and this one has none.
    let config = config.replace("\"database\"", "\"files\"");
    let report = Patient::new(&config).database(&database.url).report();
    let left = "ok    orders: 4 of 4 left for localhost";
    assert!(report.said.contains(left), "{}", report.said);
}

#[test]
fn own_certificates_that_are_no_pair_fail_and_good_ones_have_days_left() {
    let issue = || {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = time::OffsetDateTime::now_utc() + time::Duration::days(30);
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let ((cert, key), (_, foreign)) = (issue(), issue());
    let config = server("")
        + "[tls]\nmode = \"files\"\n\
           [[tls.files]]\ncert = \"good.pem\"\nkey = \"good.key\"\n\
           [[tls.files]]\ncert = \"good.pem\"\nkey = \"foreign.key\"\n";
    // With the embedded database, which nobody runs here.
    let report = Patient::new(&config)
        .file("good.pem", &cert)
        .file("good.key", &key)
        .file("foreign.key", &foreign)
        .report();
    report.fails(
        "the private key does not belong to the certificate",
        "install the two files that were issued together",
    );
    assert_eq!(report.lines("FAIL").len(), 1, "{}", report.said);
    for text in [
        "good.pem has 29 days left",
        "PostgreSQL's programs are here",
    ] {
        assert!(report.said.contains(text), "{text} in:\n{}", report.said);
    }
    assert!(!report.said.contains("certs_dir"), "nothing is kept there");
}

#[test]
fn a_database_that_is_away_or_lets_us_make_nothing_fails() {
    let off = "[server]\nhttp = [\"127.0.0.1:0\"]\n[tls]\nmode = \"off\"\n\
               [database]\nacquire_timeout = \"2s\"\n";
    let nobody = Patient::new(off).database("postgres://notes:secret@127.0.0.1:1/notes");
    let report = nobody.report();
    report.fails("database: ", "database.url");
    assert!(!report.said.contains("secret"), "{}", report.said);

    let database = TestDatabase::empty();
    let role = database.url.rsplit('/').next().unwrap().to_owned() + "_guest";
    database.execute(&format!("CREATE ROLE {role} LOGIN PASSWORD 'guest'"));
    let mut url = url::Url::parse(&database.url).unwrap();
    url.set_username(&role).unwrap();
    url.set_password(Some("guest")).unwrap();
    let report = Patient::new(off).database(url.as_str()).report();
    report.fails("our role may not make tables", "GRANT CREATE ON SCHEMA");
}

#[test]
fn a_server_of_an_upstream_whose_name_leads_nowhere_fails() {
    let database = TestDatabase::new();
    let upstream = "[[upstream]]\nname = \"shop\"\nservers = [\"nowhere.invalid:80\", \"localhost:1\", \"127.0.0.1:1\"]\n";
    let report = Patient::new(&server(upstream))
        .database(&database.url)
        .report();
    report.fails(
        "upstream shop: nowhere.invalid leads nowhere",
        "correct the name",
    );
    let found = report
        .said
        .contains("ok    upstream shop: localhost leads to");
    assert!(found, "{}", report.said);
    assert_eq!(report.lines("FAIL").len(), 1, "{}", report.said);
}
