//! Backups that only their owners can read.

use age::secrecy::ExposeSecret as _;
use age::x25519::Identity;

use super::{Site, contents, insert_notes};
use crate::support::database::TestDatabase;

#[test]
fn each_owner_can_restore_and_nobody_else() {
    let site = Site::new();
    insert_notes(&site.database);
    let owners = [Identity::generate(), Identity::generate()];
    let keys: Vec<_> = owners
        .iter()
        .map(|one| one.to_public().to_string())
        .collect();
    site.unibody(&[
        "backup",
        "--age-recipient",
        &keys[0],
        "--age-recipient",
        &keys[1],
        "notes.dump.age",
    ])
    .assert_status(0)
    .assert_last_line(&["restored for a look"]);
    let file = std::fs::read(site.path("notes.dump.age")).unwrap();
    assert!(file.starts_with(b"age-encryption.org/v1"));
    assert!(!file.windows(5).any(|part| part == b"PGDMP"));

    let write = |name: &str, key: &Identity| {
        let text = format!("# made for a test\n{}\n", key.to_string().expose_secret());
        std::fs::write(site.path(name), text).unwrap();
    };
    write("owner.txt", &owners[1]);
    write("stranger.txt", &Identity::generate());
    let empty = TestDatabase::empty();
    let restore = |options: &[&str]| {
        let arguments = [&["restore"], options, &["notes.dump.age"]].concat();
        site.unibody_on(&empty, &arguments)
    };
    restore(&[])
        .assert_status(1)
        .assert_last_line(&["--identity"]);
    restore(&["--identity", "stranger.txt"])
        .assert_status(1)
        .assert_last_line(&["another key"]);
    restore(&["--identity", "owner.txt"]).assert_status(0);
    assert_eq!(contents(&empty), contents(&site.database));
}

#[test]
fn a_passphrase_opens_what_it_closed() {
    let site = Site::new();
    insert_notes(&site.database);
    std::fs::write(site.path("word.txt"), "correct horse\n").unwrap();
    std::fs::write(site.path("wrong.txt"), "incorrect horse\n").unwrap();
    site.unibody(&["backup", "--passphrase-file", "word.txt", "notes.age"])
        .assert_status(0);
    let rehearse =
        |file: &str| site.unibody(&["backup", "rehearse", "--passphrase-file", file, "notes.age"]);
    rehearse("wrong.txt")
        .assert_status(1)
        .assert_last_line(&["passphrase is wrong"]);
    rehearse("word.txt").assert_status(0);
    let unasked = site
        .unibody(&["backup", "rehearse", "notes.age"])
        .assert_status(1);
    unasked.assert_last_line(&["--passphrase-file"]);
}
