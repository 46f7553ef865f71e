//! `unibody check`: where a CA is named, and where a directory is missing that nobody named.

use std::fs;

use tempfile::TempDir;

use crate::support::command::unibody;
use crate::support::database::TestDatabase;
use crate::support::pebble::Pebble;

fn with_config(toml: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("public/static")).unwrap();
    fs::write(directory.path().join("config.toml"), toml).unwrap();
    directory
}

#[test]
fn it_says_which_files_of_the_notes_app_will_not_be_served() {
    let database = TestDatabase::new();
    let url = [("DATABASE_URL", database.url.as_str())];
    let directory = tempfile::tempdir().unwrap();
    let missing = |name: &str| format!("there is no {}", directory.path().join(name).display());
    let said = unibody(directory.path(), &["check"], &url).assert_status(0);
    for name in ["public", "public/static"] {
        let line = format!("{}\n", missing(name));
        assert!(said.stderr.contains(&line), "{said:#?}");
    }
    fs::create_dir_all(directory.path().join("public/static")).unwrap();
    let said = unibody(directory.path(), &["check"], &url).assert_status(0);
    assert_eq!(said.stderr, "");
}

#[test]
fn it_says_which_upstreams_lead_back_here() {
    let directory = with_config(
        "[server]\nhttp = [\":8080\"]\nhttps = []\n[tls]\nmode = \"off\"\n\
         [[upstream]]\nname = \"app\"\nservers = [\"127.0.0.1:3000\", \"localhost:8080\"]\n\
         [[route]]\npath = \"/\"\nupstream = \"app\"\n",
    );
    let said = unibody(directory.path(), &["check"], &[]).assert_status(0);
    assert_eq!(
        said.stderr,
        "unibody: upstream app: http://localhost:8080 is where this server listens itself, so its requests come back to it\n"
    );
}

#[test]
fn a_ca_file_that_holds_no_certificates_is_wrong() {
    let database = TestDatabase::new();
    let url = [("DATABASE_URL", database.url.as_str())];
    let directory = with_config(
        "[server]\nhosts = [\"a.test\"]\n[tls]\nmode = \"acme\"\n\
         [acme]\ndirectory = \"https://ca.test/dir\"\nca_file = \"root.pem\"\n",
    );
    let root = directory.path().join("root.pem");
    for (text, what) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nMIIB", "cannot be read"),
        (
            "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n",
            "something that is no certificate",
        ),
    ] {
        fs::write(&root, text).unwrap();
        unibody(directory.path(), &["check"], &url)
            .assert_status(1)
            .assert_error(&["acme.ca_file", "root.pem", what, "root certificate"]);
    }
    fs::remove_file(&root).unwrap();
    unibody(directory.path(), &["check"], &url)
        .assert_status(78)
        .assert_error(&["ca_file", "cannot open"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn online_the_ca_is_asked_for_what_the_configuration_wants_of_it() {
    let ca = Pebble::setup().start().await;
    let database = TestDatabase::new();
    let config = |url: &str, more: &str| {
        with_config(&format!(
            "[server]\nhosts = [\"a.test\"]\n[tls]\nmode = \"acme\"\n\
             [acme]\ndirectory = \"{url}\"\nca_file = \"{}\"\n{more}",
            ca.root().display()
        ))
    };
    let url = [("DATABASE_URL", database.url.as_str())];
    let check = |directory: &TempDir| unibody(directory.path(), &["check", "--online"], &url);
    let good = config(&ca.proxy.directory(), "");
    let said = check(&good).assert_status(0);
    assert_eq!(said.stdout, "everything is in order\n");
    let picky = config(&ca.proxy.directory(), "profile = \"no-such\"\n");
    check(&picky)
        .assert_status(1)
        .assert_error(&["no profile \"no-such\"", "acme.profile"]);

    // Both are told of, not only the first.
    ca.proxy.refuse("/", 503, None, usize::MAX);
    let nobody = [("DATABASE_URL", "postgres://notes@127.0.0.1:1/notes")];
    let said = unibody(good.path(), &["check", "--online"], &nobody).assert_status(1);
    let lines: Vec<_> = said.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "{}", said.stderr);
    assert!(lines[0].contains("DATABASE_URL") && lines[1].contains("has trouble of its own"));
}
