//! Files that are whole, cut off, changed, encrypted, and something else.

use std::path::{Path, PathBuf};

use age::secrecy::SecretString;
use age::x25519;
use tempfile::TempDir;
use time::OffsetDateTime;

use super::*;
use crate::backup::keys::Lock;
use crate::backup::manifest::Table;

/// As long as several of age's chunks.
fn contents() -> Vec<u8> {
    let mut contents = b"PGDMP".to_vec();
    contents.extend((0..300_000_u32).flat_map(u32::to_le_bytes));
    contents
}

fn empty_manifest() -> Manifest {
    Manifest {
        taken: OffsetDateTime::UNIX_EPOCH,
        unibody: "0".to_owned(),
        postgres: 15,
        schema_version: 1,
        tables: vec![Table {
            schema: "public".to_owned(),
            name: "notes".to_owned(),
            rows: 3,
            checksum: "-7".to_owned(),
        }],
        archive_bytes: 0,
        archive_sha256: String::new(),
    }
}

/// A backup in a directory of its own, and the key that its verification uses.
fn written(lock: &Lock) -> (TempDir, PathBuf, Key) {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a.dump");
    let (sealer, key) = lock.make().unwrap();
    let mut writer = Writer::new(File::create(&path).unwrap(), sealer).unwrap();
    writer.write_all(&contents()).unwrap();
    writer.finish(empty_manifest()).unwrap();
    (root, path, key)
}

fn read(path: &Path, key: &Key) -> anyhow::Result<(Option<Manifest>, Vec<u8>)> {
    let mut archive = Archive::open(File::open(path)?, key)?;
    archive.check()?;
    let mut all = Vec::new();
    archive.copy_to(&mut all)?;
    Ok((archive.manifest, all))
}

fn passphrase(text: &str) -> SecretString {
    SecretString::from(text.to_owned())
}

#[test]
fn what_was_written_is_read_again() {
    let owner = x25519::Identity::generate();
    let by_owner = Lock::Recipients(vec![owner.to_public()]);
    let by_word = Lock::Passphrase(passphrase("correct horse"));
    let table = [
        (Lock::Open, Key::None, Protection::None),
        (
            by_owner,
            Key::Identities(vec![x25519::Identity::generate(), owner]),
            Protection::Identity,
        ),
        (
            by_word,
            Key::Passphrase(passphrase("correct horse")),
            Protection::Passphrase,
        ),
    ];
    for (lock, theirs, expected) in table {
        let (_root, path, ours) = written(&lock);
        assert_eq!(protection_of(&path).unwrap(), expected);
        for key in [&ours, &theirs] {
            let (manifest, all) = read(&path, key).unwrap();
            let manifest = manifest.unwrap();
            assert_eq!(manifest.archive_bytes, all.len() as u64, "{expected:?}");
            assert_eq!(manifest.tables, empty_manifest().tables);
            assert!(all == contents(), "{expected:?}");
        }
        let clear = std::fs::read(&path).unwrap().starts_with(b"PGDMP");
        assert_eq!(clear, !lock.is_closed());
    }
}

#[test]
fn the_wrong_key_opens_nothing() {
    let owner = x25519::Identity::generate();
    let (_root, path, _) = written(&Lock::Recipients(vec![owner.to_public()]));
    let (_other, by_word, _) = written(&Lock::Passphrase(passphrase("right")));
    let table = [
        (&path, Key::None, "--identity"),
        (
            &path,
            Key::Identities(vec![x25519::Identity::generate()]),
            "another key",
        ),
        (&path, Key::Passphrase(passphrase("x")), "another key"),
        (
            &by_word,
            Key::Passphrase(passphrase("wrong")),
            "passphrase is wrong",
        ),
        (&by_word, Key::None, "--passphrase-file"),
    ];
    for (path, key, expected) in table {
        let message = format!("{:#}", read(path, &key).unwrap_err());
        assert!(message.contains(expected), "{expected}: {message}");
    }
}

#[test]
fn a_file_that_was_cut_off_or_changed_is_refused() {
    let owner = x25519::Identity::generate();
    for lock in [Lock::Open, Lock::Recipients(vec![owner.to_public()])] {
        let (_root, path, key) = written(&lock);
        let whole = std::fs::read(&path).unwrap();
        let length = whole.len();
        let mut cuts = vec![length - 1, length - 10, length / 2, 30];
        if lock.is_closed() {
            // At the end of a chunk, where what is left decrypts.
            cuts.push(length - (length % (64 * 1024 + 16)));
        }
        for cut in cuts {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let refused = match read(&path, &key) {
                // Without a manifest it is pg_restore that must read it through.
                Ok((manifest, _)) => manifest.is_none() && !lock.is_closed(),
                Err(_) => true,
            };
            assert!(refused, "cut to {cut} of {length}");
        }
        for at in [200, length / 2, length - 100, length - 20] {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            assert!(read(&path, &key).is_err(), "changed at {at} of {length}");
        }
    }
}

#[test]
fn what_is_no_backup_is_called_what_it_is() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("a");
    let table: [(&[u8], &str); 4] = [
        (b"", "empty"),
        (b"-- PostgreSQL database dump", "psql"),
        (b"-----BEGIN AGE ENCRYPTED FILE-----\n", "armored"),
        (b"age-encryption.org/v1\n-> X", "encryption is damaged"),
    ];
    for (contents, expected) in table {
        std::fs::write(&path, contents).unwrap();
        let message = format!("{:#}", protection_of(&path).unwrap_err());
        assert!(message.contains(expected), "{expected}: {message}");
    }
    // pg_dump's own have no manifest.
    std::fs::write(&path, b"PGDMP and so on").unwrap();
    let (manifest, all) = read(&path, &Key::None).unwrap();
    assert_eq!((manifest, all.as_slice()), (None, &b"PGDMP and so on"[..]));
}
