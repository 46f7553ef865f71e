//! `tls.mode = "files"`: the user's own certificates.
//!
//! A pair is read whole, checked as a pair, and served only if it is one. What a client would
//! complain about but can still be served (expired, a name not covered) is a warning.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use anyhow::anyhow;
use time::OffsetDateTime;

use super::pair::{Pair, PairError};
use crate::config::{HostPattern, TlsFiles};

/// Chains with many names stay far below; a key in an endless file would be a mistake.
const MAX_FILE: u64 = 1024 * 1024;

/// The bytes of a pair's two files at one moment. Comparing them is how a change is noticed:
/// times and inodes miss a file that is copied with its times, and lie within one clock tick.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// A pair to serve, and under which names.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The pair itself.
    pub pair: Pair,
    /// The names configured, else those of the certificate.
    pub hosts: Vec<HostPattern>,
    /// What clients will complain about, one line each.
    pub warnings: Vec<String>,
}

/// Reads both files.
///
/// # Errors
/// One line that names the file, why it cannot be read, and the remedy.
pub fn read(files: &TlsFiles) -> Result<Contents, String> {
    Ok(Contents {
        cert: read_file(&files.cert)?,
        key: read_file(&files.key)?,
    })
}

/// Makes a pair of what [`read`] found.
///
/// # Errors
/// One line that names the file at fault, what is wrong with it, and the remedy.
pub fn parse(files: &TlsFiles, contents: &Contents, now: OffsetDateTime) -> anyhow::Result<Loaded> {
    let pair = Pair::parse(&contents.cert, &contents.key).map_err(|error| {
        let (cert, key) = (files.cert.display(), files.key.display());
        match error {
            PairError::Chain(_) | PairError::Certificate { .. } => anyhow!("{cert}: {error}"),
            PairError::Key(_) | PairError::UnusableKey => anyhow!("{key}: {error}"),
            PairError::Mismatch | PairError::LeafNotFirst { .. } => {
                anyhow!("{cert} and {key}: {error}")
            }
        }
    })?;
    let hosts = if files.hosts.is_empty() {
        pair.facts().hosts()
    } else {
        files.hosts.clone()
    };
    let warnings = warnings(&pair, &hosts, now)
        .into_iter()
        .map(|warning| format!("{}: {warning}", files.cert.display()))
        .collect();
    Ok(Loaded {
        pair,
        hosts,
        warnings,
    })
}

fn read_file(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |error: &io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "check the path in [[tls.files]]".to_owned(),
            io::ErrorKind::PermissionDenied => format!(
                "let the user that runs unibody (uid {}) read it",
                nix::unistd::geteuid()
            ),
            _ => "it must be a readable PEM file".to_owned(),
        };
        format!("{}: cannot be read ({error}); {remedy}", path.display())
    };
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE + 1).read_to_end(&mut bytes))
        .map_err(|error| failed(&error))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(format!(
            "{}: is larger than 1 MiB, which no certificate or key is; check the path in [[tls.files]]",
            path.display()
        ));
    }
    Ok(bytes)
}

fn warnings(pair: &Pair, hosts: &[HostPattern], now: OffsetDateTime) -> Vec<String> {
    let facts = pair.facts();
    let mut warnings = Vec::new();
    if now > facts.not_after {
        warnings.push(format!(
            "expired on {}; clients will refuse it until it is renewed",
            facts.not_after.date()
        ));
    }
    if now < facts.not_before {
        warnings.push(format!(
            "is valid only from {}; clients will refuse it until then (is this machine's clock right?)",
            facts.not_before
        ));
    }
    if facts.names.is_empty() {
        warnings.push(
            "names no host (subjectAltName), and browsers read no other name; have it issued again with its names"
                .to_owned(),
        );
    } else {
        let uncovered = hosts.iter().filter(|host| !facts.covers(host));
        warnings.extend(uncovered.map(|host| {
            format!(
                "is not valid for {}; clients that ask for that name will refuse it",
                text(host)
            )
        }));
    }
    if !facts.chain_in_order {
        warnings.push(
            "the chain is out of order (each certificate must be followed by the one that issued it); \
             some clients will refuse it"
                .to_owned(),
        );
    }
    warnings
}

/// A pattern as the configuration writes it.
pub(super) fn text(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Wildcard(suffix) => format!("*.{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use time::Duration;

    use super::*;
    use crate::certificates::testing::{Authority, leaf};

    fn files_in(directory: &Path, cert: &[u8], key: &[u8]) -> TlsFiles {
        let files = TlsFiles {
            hosts: Vec::new(),
            cert: directory.join("fullchain.pem"),
            key: directory.join("privkey.pem"),
        };
        fs::write(&files.cert, cert).unwrap();
        fs::write(&files.key, key).unwrap();
        files
    }

    fn load(files: &TlsFiles) -> anyhow::Result<Loaded> {
        let contents = read(files).map_err(|error| anyhow!(error))?;
        parse(files, &contents, OffsetDateTime::now_utc())
    }

    #[test]
    fn the_names_are_those_configured_or_those_of_the_certificate() {
        let root = tempfile::tempdir().unwrap();
        let leaf = leaf(&["a.test", "*.b.test", "127.0.0.1"]);
        let mut files = files_in(root.path(), leaf.chain.as_bytes(), leaf.key.as_bytes());
        let texts = |files: &TlsFiles| -> Vec<String> {
            load(files).unwrap().hosts.iter().map(text).collect()
        };
        assert_eq!(texts(&files), ["*.b.test", "a.test"]);
        files.hosts = vec![HostPattern::Exact("x.b.test".into())];
        assert_eq!(texts(&files), ["x.b.test"]);
        assert_eq!(load(&files).unwrap().warnings, Vec::<String>::new());
    }

    #[test]
    fn an_error_names_the_file_at_fault() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (leaf(&["a.test"]), leaf(&["a.test"]));
        let (chain, key) = (one.chain.as_bytes(), one.key.as_bytes());
        let der = &one.chain_der[0];
        let huge = vec![b' '; 2 * 1024 * 1024];
        let cases: &[(&[u8], &[u8], &[&str])] = &[
            (key, chain, &["fullchain.pem: holds no certificate", "exchanged"]),
            (chain, chain, &["privkey.pem: holds no private key", "exchanged"]),
            (der, key, &["fullchain.pem: is binary (DER or PKCS#12)", "openssl"]),
            (b"", key, &["fullchain.pem: is empty"]),
            (chain, b"", &["privkey.pem: is empty"]),
            (chain, &key[..60], &["privkey.pem: is damaged or cut off"]),
            (chain, two.key.as_bytes(), &["fullchain.pem and", "privkey.pem: the private key does not belong"]),
            (
                chain,
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n",
                &["privkey.pem: holds an encrypted private key", "openssl pkey"],
            ),
            (&huge, key, &["fullchain.pem: is larger than 1 MiB"]),
        ];
        for (cert, key, expected) in cases {
            let error = load(&files_in(root.path(), cert, key)).unwrap_err();
            let error = format!("{error:#}");
            for part in *expected {
                assert!(error.contains(part), "{part} in {error}");
            }
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_a_directory_says_so() {
        let root = tempfile::tempdir().unwrap();
        let leaf = leaf(&["a.test"]);
        let mut files = files_in(root.path(), leaf.chain.as_bytes(), leaf.key.as_bytes());
        fs::remove_file(&files.key).unwrap();
        let error = load(&files).unwrap_err().to_string();
        assert!(error.contains("privkey.pem: cannot be read"), "{error}");
        assert!(error.contains("check the path"), "{error}");
        files.cert = root.path().to_owned();
        let error = load(&files).unwrap_err().to_string();
        assert!(error.contains("must be a readable PEM file"), "{error}");
    }

    #[test]
    fn what_clients_will_refuse_is_a_warning() {
        let authority = Authority::new();
        let now = OffsetDateTime::now_utc();
        let day = Duration::days(1);
        let exact = |name: &str| HostPattern::Exact(name.into());
        let valid = (now - day, now + day);
        let cases = [
            (
                &["a.test"][..],
                valid,
                vec![exact("a.test")],
                None,
                "nothing wrong",
            ),
            (
                &["a.test"],
                (now - 2 * day, now - day),
                vec![],
                Some("expired on"),
                "expired",
            ),
            (
                &["a.test"],
                (now + day, now + 2 * day),
                vec![],
                Some("valid only from"),
                "too early",
            ),
            (
                &["a.test"],
                valid,
                vec![exact("b.test")],
                Some("not valid for b.test"),
                "another name",
            ),
            (
                &["*.a.test"],
                valid,
                vec![HostPattern::Wildcard("b.test".into())],
                Some("not valid for *.b.test"),
                "another wildcard",
            ),
            (
                &[],
                valid,
                vec![exact("a.test")],
                Some("names no host"),
                "no names at all",
            ),
        ];
        let root = tempfile::tempdir().unwrap();
        for (names, (from, until), hosts, expected, why) in cases {
            let leaf = authority.leaf_valid(names, from, until);
            let mut files = files_in(root.path(), leaf.chain.as_bytes(), leaf.key.as_bytes());
            files.hosts = hosts;
            let warnings = load(&files).unwrap().warnings;
            match expected {
                None => assert_eq!(warnings, Vec::<String>::new(), "{why}"),
                Some(part) => {
                    assert_eq!(warnings.len(), 1, "{why}: {warnings:?}");
                    assert!(warnings[0].contains(part), "{why}: {warnings:?}");
                }
            }
        }
    }

    #[test]
    fn a_chain_out_of_order_is_a_warning() {
        let root = tempfile::tempdir().unwrap();
        let leaf = leaf(&["a.test"]);
        let chain = format!("{}{}", leaf.chain, Authority::named("Somebody else").pem);
        let files = files_in(root.path(), chain.as_bytes(), leaf.key.as_bytes());
        let warnings = load(&files).unwrap().warnings;
        assert!(warnings[0].contains("out of order"), "{warnings:?}");
    }
}
