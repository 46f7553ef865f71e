//! The user's own pairs, looked at again and again: served as soon as they have changed and are a
//! pair, and otherwise left as they were served before.

use std::fmt;

use anyhow::anyhow;
use time::OffsetDateTime;
use tracing::warn;

use super::files::{self, Contents, Loaded};
use super::renewal::announce;
use super::{Served, Source};
use crate::config::TlsFiles;

/// One of the user's pairs, with what was last found in its files.
pub(super) struct Watched {
    files: TlsFiles,
    seen: Result<Contents, String>,
    /// An error that is logged if the files still say the same at the next look: somebody who
    /// replaces one file after the other is not to be alarmed in between.
    unreported: Option<String>,
}

impl Watched {
    /// Reads a pair for the first time. Clients' complaints are logged.
    ///
    /// The error is one line that names the file and the remedy.
    pub(super) fn load(files: &TlsFiles, now: OffsetDateTime) -> Result<(Self, Served), String> {
        let contents = files::read(files)?;
        let loaded = files::parse(files, &contents, now).map_err(|error| format!("{error:#}"))?;
        let watched = Self {
            files: files.clone(),
            seen: Ok(contents),
            unreported: None,
        };
        Ok((watched, serve(loaded, files)))
    }

    /// Looks at the files again; true when `served` was changed.
    pub(super) fn look(&mut self, served: &mut Served, now: OffsetDateTime) -> bool {
        let found = files::read(&self.files);
        if found == self.seen {
            if let Some(error) = self.unreported.take() {
                warn!("{error}; the certificate before stays in service");
            }
            return false;
        }
        self.seen = found;
        let loaded = match &self.seen {
            Ok(contents) => files::parse(&self.files, contents, now),
            Err(error) => Err(anyhow!("{error}")),
        };
        match loaded {
            Ok(loaded) => {
                self.unreported = None;
                announce(&served.source, &loaded.pair);
                *served = serve(loaded, &self.files);
            }
            Err(error) => {
                let error = format!("{error:#}");
                self.unreported = Some(error.clone());
                served.last_error = Some(error);
            }
        }
        true
    }
}

/// SECURITY: by hand, because the bytes of a private key must not get into a log.
impl fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Watched")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

fn serve(loaded: Loaded, files: &TlsFiles) -> Served {
    for warning in loaded.warnings {
        warn!("{warning}");
    }
    Served {
        hosts: loaded.hosts,
        pair: loaded.pair,
        source: Source::File(files.cert.clone()),
        last_error: None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::certificates::Certificates;
    use crate::certificates::testing::{leaf, logged, tls, write_pair};
    use crate::config::{HostPattern, TlsMode};

    fn serial(certificates: &Certificates) -> String {
        certificates.summary()[0].serial.clone()
    }

    fn last_error(certificates: &Certificates) -> Option<String> {
        certificates.summary()[0].last_error.clone()
    }

    fn files(files: &TlsFiles) -> Certificates {
        let mode = TlsMode::Files(vec![files.clone()]);
        Certificates::load_parts(&tls(mode, Path::new("unused")), &[]).unwrap()
    }

    #[test]
    fn half_a_replacement_is_never_served() {
        let root = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        let (old, new) = (leaf(&["a.test"]), leaf(&["a.test"]));
        for cert_first in [true, false] {
            let pair = write_pair(root.path(), "a", &old);
            let certificates = files(&pair);
            let steps = [(&pair.cert, &new.chain), (&pair.key, &new.key)];
            let [first, second] = if cert_first {
                steps
            } else {
                [steps[1], steps[0]]
            };

            fs::write(first.0, first.1).unwrap();
            certificates.refresh(now);
            assert_eq!(serial(&certificates), old.pair().facts().serial);
            assert!(
                last_error(&certificates)
                    .unwrap()
                    .contains("does not belong")
            );
            fs::write(second.0, second.1).unwrap();
            certificates.refresh(now);
            assert_eq!(serial(&certificates), new.pair().facts().serial);
            assert_eq!(last_error(&certificates), None);
        }
    }

    #[test]
    fn a_bad_replacement_is_logged_once_when_it_stays_and_a_quick_one_never() {
        let root = tempfile::tempdir().unwrap();
        let now = OffsetDateTime::now_utc();
        let (old, new) = (leaf(&["a.test"]), leaf(&["a.test"]));
        let pair = write_pair(root.path(), "a", &old);
        let certificates = files(&pair);

        let lines = logged(|| {
            fs::write(&pair.key, "").unwrap();
            certificates.refresh(now);
            certificates.refresh(now);
            certificates.refresh(now);
        });
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains("a.key: is empty"), "{lines}");

        let lines = logged(|| {
            fs::remove_file(&pair.key).unwrap();
            certificates.refresh(now);
            write_pair(root.path(), "a", &new);
            certificates.refresh(now);
            certificates.refresh(now);
        });
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains("serving a new certificate"), "{lines}");
    }

    #[test]
    fn new_names_in_a_replacement_are_served() {
        let root = tempfile::tempdir().unwrap();
        let pair = write_pair(root.path(), "a", &leaf(&["old.test"]));
        let certificates = files(&pair);
        write_pair(root.path(), "a", &leaf(&["new.test"]));
        certificates.refresh(OffsetDateTime::now_utc());
        let hosts = &certificates.served.load()[0].hosts;
        assert_eq!(*hosts, [HostPattern::Exact("new.test".into())]);
        assert!(certificates.resolver().lookup(Some("new.test")).is_some());
        assert!(certificates.resolver().lookup(Some("old.test")).is_none());
    }

    #[test]
    fn a_key_never_shows_in_debug_output() {
        let root = tempfile::tempdir().unwrap();
        let leaf = leaf(&["a.test"]);
        let certificates = files(&write_pair(root.path(), "a", &leaf));
        let shown = format!("{certificates:?}");
        assert!(shown.contains("a.key"), "the path helps: {shown}");
        assert!(!shown.contains(&format!("{:?}", leaf.key.as_bytes())[1..60]));
    }
}
