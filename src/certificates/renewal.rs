//! Keeping certificates fresh while the server runs: one background task for all of them.
//!
//! A self-signed certificate is renewed in time; the user's own files are read every two seconds
//! and served as soon as they have changed and are a pair again. What goes wrong leaves the
//! certificate before in service.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch;
use tracing::{error, info, warn};

use super::files::{self, Contents, Loaded};
use super::self_signed::{self, SelfSigned};
use super::{Certificates, Origin, Served, Source};
use crate::config::TlsFiles;

/// How often the user's files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// No sleep is longer: while a machine sleeps, or its clock is set, a long timer means nothing.
const LONGEST_SLEEP: Duration = Duration::from_secs(60 * 60);
/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_secs(60);

/// One of the user's pairs, with what was last found in its files.
pub(super) struct Watched {
    files: TlsFiles,
    seen: Result<Contents, String>,
    /// An error that is logged if the files still say the same at the next look: somebody who
    /// replaces one file after the other is not to be alarmed in between.
    unreported: Option<String>,
}

impl Certificates {
    /// Renews and reloads until `shutdown` says true or its sender is gone.
    pub async fn keep_fresh(self: Arc<Self>, mut shutdown: watch::Receiver<bool>) {
        if matches!(self.origin, Origin::Off) {
            return;
        }
        loop {
            let pause = self.pause(OffsetDateTime::now_utc());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            // Off this runtime's threads: a file on a hanging network mount must not hang requests.
            let this = Arc::clone(&self);
            let refresh = move || this.refresh(OffsetDateTime::now_utc());
            if let Err(panic) = tokio::task::spawn_blocking(refresh).await {
                error!("certificates: the check for new ones failed ({panic}); it goes on");
            }
        }
    }

    /// Looks once, and serves what is new.
    pub(super) fn refresh(&self, now: OffsetDateTime) {
        match &self.origin {
            Origin::Off => {}
            Origin::SelfSigned(self_signed) => self.refresh_self_signed(self_signed, now),
            Origin::Files(watched) => self.refresh_files(watched, now),
        }
    }

    /// How long to sleep before the next look.
    fn pause(&self, now: OffsetDateTime) -> Duration {
        match &self.origin {
            Origin::Files(_) => POLL,
            Origin::Off => LONGEST_SLEEP,
            Origin::SelfSigned(_) => {
                let served = self.served.load();
                let next = served
                    .iter()
                    .map(|served| self_signed::renewal(served.pair.facts()) - now)
                    .min()
                    .unwrap_or_default();
                // Negative when renewal is overdue, because it failed.
                Duration::try_from(next)
                    .unwrap_or_default()
                    .clamp(RETRY, LONGEST_SLEEP)
            }
        }
    }

    fn refresh_self_signed(&self, self_signed: &SelfSigned, now: OffsetDateTime) {
        let mut served = Vec::clone(&self.served.load());
        // There is exactly one, from the start on.
        let Some(current) = served.first_mut() else {
            return;
        };
        match self_signed.obtain(now) {
            Ok(pair) => {
                let changed = pair.facts() != current.pair.facts();
                if changed {
                    announce(&Source::SelfSigned, &pair);
                }
                if changed || current.last_error.is_some() {
                    *current = Served::self_signed(pair);
                    self.publish(served);
                }
            }
            Err(error) => {
                let error = format!("{error:#}");
                if current.last_error.as_ref() == Some(&error) {
                    return;
                }
                warn!("{error}; the certificate before stays in service");
                current.last_error = Some(error);
                self.publish(served);
            }
        }
    }

    fn refresh_files(&self, watched: &Mutex<Vec<Watched>>, now: OffsetDateTime) {
        let mut served = Vec::clone(&self.served.load());
        let mut changed = false;
        for (watched, served) in watched.lock().iter_mut().zip(&mut served) {
            changed |= watched.look(served, now);
        }
        if changed {
            self.publish(served);
        }
    }
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
    fn look(&mut self, served: &mut Served, now: OffsetDateTime) -> bool {
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

fn announce(source: &Source, pair: &super::pair::Pair) {
    let facts = pair.facts();
    info!(
        "{source}: serving a new certificate, serial {}, valid until {}",
        facts.serial,
        facts.not_after.date()
    );
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::path::Path;

    use time::Duration as Span;

    use super::*;
    use crate::certificates::testing::{leaf, tls, write_pair};
    use crate::config::{HostPattern, TlsMode};

    fn serial(certificates: &Certificates) -> String {
        certificates.summary()[0].serial.clone()
    }

    fn last_error(certificates: &Certificates) -> Option<String> {
        certificates.summary()[0].last_error.clone()
    }

    fn self_signed(directory: &Path) -> Certificates {
        Certificates::load_parts(&tls(TlsMode::SelfSigned, directory), &[]).unwrap()
    }

    fn files(files: &TlsFiles) -> Certificates {
        let mode = TlsMode::Files(vec![files.clone()]);
        Certificates::load_parts(&tls(mode, Path::new("unused")), &[]).unwrap()
    }

    /// Everything logged while `work` runs.
    fn logged(work: impl FnOnce()) -> String {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.lock().extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = lines.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_self_signed_certificate_is_renewed_in_time() {
        let root = tempfile::tempdir().unwrap();
        let certificates = self_signed(root.path());
        let first = serial(&certificates);
        let now = OffsetDateTime::now_utc();
        certificates.refresh(now + Span::days(334));
        assert_eq!(serial(&certificates), first);
        certificates.refresh(now + Span::days(336));
        let second = serial(&certificates);
        assert_ne!(second, first);
        let found = certificates.resolver().lookup(Some("localhost")).unwrap();
        assert!(Arc::ptr_eq(
            &found,
            certificates.served.load()[0].pair.certified()
        ));
    }

    #[test]
    fn what_another_instance_renewed_is_only_loaded() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (self_signed(root.path()), self_signed(root.path()));
        let later = OffsetDateTime::now_utc() + Span::days(340);
        one.refresh(later);
        two.refresh(later);
        assert_eq!(serial(&one), serial(&two));
    }

    #[test]
    fn a_renewal_that_fails_keeps_the_old_one_and_is_logged_once() {
        let root = tempfile::tempdir().unwrap();
        let certs = root.path().join("certs");
        let certificates = self_signed(&certs);
        let first = serial(&certificates);
        let later = OffsetDateTime::now_utc() + Span::days(340);
        fs::remove_dir_all(&certs).unwrap();
        fs::write(&certs, "in the way").unwrap();
        let lines = logged(|| {
            certificates.refresh(later);
            certificates.refresh(later);
        });
        assert_eq!(lines.lines().count(), 1, "{lines}");
        assert!(lines.contains("stays in service"), "{lines}");
        assert_eq!(serial(&certificates), first);
        assert!(last_error(&certificates).is_some());

        fs::remove_file(&certs).unwrap();
        certificates.refresh(later);
        assert_ne!(serial(&certificates), first);
        assert_eq!(last_error(&certificates), None);
    }

    #[test]
    fn sleeps_end_at_the_renewal_and_are_never_long() {
        let root = tempfile::tempdir().unwrap();
        let certificates = self_signed(root.path());
        let renewal = self_signed::renewal(certificates.served.load()[0].pair.facts());
        let cases = [
            (
                renewal - Span::days(100),
                LONGEST_SLEEP,
                "far away: the clock may be set",
            ),
            (
                renewal - Span::minutes(20),
                Duration::from_secs(20 * 60),
                "soon: exactly then",
            ),
            (renewal - Span::seconds(1), RETRY, "now: no busy loop"),
            (renewal + Span::days(9), RETRY, "overdue: it failed"),
        ];
        for (now, expected, why) in cases {
            assert_eq!(certificates.pause(now), expected, "{why}");
        }
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
