//! What `tls.mode` asks for is there after the start.

use std::fs;
use std::path::Path;

use super::*;
use crate::certificates::testing::{leaf, tls, write_pair};

fn load(tls: &Tls) -> anyhow::Result<Certificates> {
    Certificates::load_parts(tls, &[HostPattern::Exact("notes.test".into())])
}

#[test]
fn a_self_signed_certificate_is_there_after_the_first_start_and_the_same_after_the_second() {
    let root = tempfile::tempdir().unwrap();
    let tls = tls(TlsMode::SelfSigned, root.path());
    let first = load(&tls).unwrap().summary();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].names, ["localhost", "notes.test"]);
    assert_eq!(first[0].source.to_string(), "self-signed");
    assert_eq!(load(&tls).unwrap().summary(), first);
}

#[test]
fn off_gets_nothing_and_touches_nothing() {
    let root = tempfile::tempdir().unwrap();
    let certs = root.path().join("certs");
    let certificates = load(&tls(TlsMode::Off, &certs)).unwrap();
    assert!(certificates.summary().is_empty());
    assert!(certificates.resolver().lookup(None).is_none());
    assert!(!certs.exists());
}

#[test]
fn files_are_served_by_name_and_never_touched() {
    let root = tempfile::tempdir().unwrap();
    let one = write_pair(root.path(), "one", &leaf(&["one.test"]));
    let two = write_pair(root.path(), "two", &leaf(&["two.test", "*.two.test"]));
    let certs = root.path().join("certs");
    let mode = TlsMode::Files(vec![one.clone(), two.clone()]);
    let certificates = load(&tls(mode, &certs)).unwrap();
    let summary = certificates.summary();
    assert_eq!(summary[1].names, ["*.two.test", "two.test"]);
    assert_eq!(summary[1].issuer, "Test authority");
    assert_eq!(summary[1].source, Source::File(two.cert));
    assert!(certificates.resolver().lookup(Some("x.two.test")).is_some());
    assert!(certificates.resolver().lookup(Some("three.test")).is_none());
    assert!(!certs.exists(), "only our own certificates need a place");
}

#[test]
fn every_pair_that_cannot_be_served_is_reported_at_once() {
    let root = tempfile::tempdir().unwrap();
    let good = write_pair(root.path(), "good", &leaf(&["good.test"]));
    let empty = write_pair(root.path(), "empty", &leaf(&["empty.test"]));
    fs::write(&empty.cert, "").unwrap();
    let missing = write_pair(root.path(), "missing", &leaf(&["missing.test"]));
    fs::remove_file(&missing.key).unwrap();
    let mode = TlsMode::Files(vec![good, empty, missing]);
    let error = load(&tls(mode, Path::new("unused")))
        .unwrap_err()
        .to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 2, "{error}");
    assert!(lines[0].contains("empty.crt: is empty"), "{error}");
    assert!(lines[1].contains("missing.key: cannot be read"), "{error}");
}
