//! What is kept in files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::files::{PROBE, escaped, place_of};
use super::*;
use crate::certificates::testing::leaf;

const DIRECTORY: &str = "https://ca.test:14000/dir";

fn files(root: &Path) -> Files {
    Files::new(root, DIRECTORY, Some("a@b.test"))
}

#[test]
fn directories_never_share_a_place() {
    let table = [
        (
            "https://acme-v02.api.letsencrypt.org/directory",
            "acme-v02.api.letsencrypt.org_directory",
        ),
        (
            "https://acme-staging-v02.api.letsencrypt.org/directory",
            "acme-staging-v02.api.letsencrypt.org_directory",
        ),
        ("https://ca.test:14000/dir", "ca.test%3A14000_dir"),
        ("https://ca.test/a/b", "ca.test_a_b"),
        ("https://ca.test/a_b", "ca.test_a%5Fb"),
        ("https://ca.test/a?b", "ca.test_a%3Fb"),
    ];
    for (directory, place) in table {
        assert_eq!(place_of(directory), place);
    }
}

#[test]
fn no_name_leaves_its_directory() {
    for name in [
        "..",
        ".",
        "a/b",
        "2001:db8::1",
        "../../etc/passwd",
        ".hidden",
    ] {
        let escaped = escaped(name);
        assert!(
            !escaped.contains('/') && !escaped.starts_with('.'),
            "{escaped}"
        );
    }
}

#[tokio::test]
async fn everything_written_is_private_and_reads_the_same() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    let leaf = leaf(&["a.test"]);
    files.save_account(Some("{}")).await.unwrap();
    files.save_ledger("a.test", &Ledger::new()).await.unwrap();
    let order = RunningOrder {
        url: "https://ca.test/order/1".into(),
        key: leaf.key.clone(),
    };
    files.save_order("a.test", Some(&order)).await.unwrap();
    let pair = files
        .save_certificate("a.test", &leaf.chain, &leaf.key)
        .await
        .unwrap();
    drop(files.try_lock("a.test").await.unwrap().unwrap());

    assert_eq!(files.account().await.unwrap().as_deref(), Some("{}"));
    assert_eq!(files.ledger("a.test").await.unwrap(), Ledger::new());
    assert_eq!(files.order("a.test").await.unwrap(), Some(order));
    let found = files.certificate("a.test").await.unwrap().unwrap();
    assert_eq!(found.facts(), pair.facts());

    let mut folders = vec![root.path().join(PLACE)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
            let mode = metadata.permissions().mode() & 0o777;
            assert_eq!(mode, expected, "{:?}", entry.path());
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }

    files.save_account(None).await.unwrap();
    files.save_order("a.test", None).await.unwrap();
    assert_eq!(files.account().await.unwrap(), None);
    assert_eq!(files.order("a.test").await.unwrap(), None);
}

#[tokio::test]
async fn a_damaged_certificate_gives_way_to_the_one_before() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    let mut serials = Vec::new();
    for _ in 0..2 {
        let leaf = leaf(&["a.test"]);
        let pair = files.save("a.test", &leaf.chain, &leaf.key).unwrap();
        serials.push(pair.facts().serial.clone());
    }
    let path = files.directory("a.test").join("pair.pem");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    let found = files.load("a.test").unwrap().unwrap();
    assert_eq!(found.facts().serial, serials[0]);
}

#[tokio::test]
async fn a_damaged_ledger_is_kept_for_people_and_begun_anew() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    files.save_ledger("a.test", &Ledger::new()).await.unwrap();
    let path = files.directory("a.test").join(LEDGER);
    fs::write(&path, "{\"version\":").unwrap();
    assert_eq!(files.ledger("a.test").await.unwrap(), Ledger::new());
    let aside = fs::read_dir(files.directory("a.test"))
        .unwrap()
        .any(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .contains(".damaged-")
        });
    assert!(aside && !path.exists());
}

#[tokio::test]
async fn one_holds_the_lock_at_a_time() {
    let root = tempfile::tempdir().unwrap();
    let (one, two) = (files(root.path()), files(root.path()));
    let held = one.try_lock("a.test").await.unwrap();
    assert!(held.is_some());
    assert!(two.try_lock("a.test").await.unwrap().is_none());
    assert!(
        two.try_lock("b.test").await.unwrap().is_some(),
        "another name"
    );
    drop(held);
    assert!(two.try_lock("a.test").await.unwrap().is_some());
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_found_out_before_ordering() {
    let root = tempfile::tempdir().unwrap();
    let files = files(root.path());
    files.probe("a.test").await.unwrap();
    assert!(!files.directory("a.test").join(PROBE).exists());
    fs::remove_dir_all(root.path().join(PLACE)).unwrap();
    fs::write(root.path().join(PLACE), "in the way").unwrap();
    let error = files.probe("a.test").await.unwrap_err().to_string();
    assert!(error.contains("a file stands where"), "{error}");
    assert!(files.load("a.test").is_err());
}
