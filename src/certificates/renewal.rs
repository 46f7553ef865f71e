//! Keeping certificates fresh while the server runs: one background task for all of them. Those of a
//! CA have a module of their own, [`acme`](super::acme).
//!
//! A self-signed certificate is renewed in time; the user's own files are read every two seconds
//! and served as soon as they have changed and are a pair again. What goes wrong leaves the
//! certificate before in service.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::sync::watch::Receiver;
use tracing::{info, warn};

use super::acme::Listener;
use super::pair::Pair;
use super::self_signed::{self, SelfSigned};
use super::watch::Watched;
use super::{Certificates, Origin, Served, Source};
use crate::config::HostPattern;
use crate::supervised::{PAUSES, supervised};

/// How often the user's files are looked at.
const POLL: Duration = Duration::from_secs(2);
/// No sleep is longer: while a machine sleeps, or its clock is set, a long timer means nothing.
const LONGEST_SLEEP: Duration = Duration::from_hours(1);
/// How often our own listener is asked what it serves, when nothing has changed.
const OBSERVE: Duration = Duration::from_mins(10);
/// How soon a renewal that failed is tried again.
const RETRY: Duration = Duration::from_mins(1);

impl Certificates {
    /// Renews and reloads until `shutdown` says true, its sender is gone or these are
    /// [retired](Self::retire), and then tells `acme.webhook` what is left to tell. `https` are the addresses of our own TLS listeners, which
    /// must be accepting already.
    pub async fn keep_fresh(self: Arc<Self>, https: Vec<Listener>, shutdown: Receiver<bool>) {
        match &self.origin {
            Origin::Off => {}
            Origin::Acme(managed) => managed.run(&self, https, shutdown).await,
            Origin::SelfSigned(_) | Origin::Files(_) => {
                let keep = || self.keep_own_fresh(&https, shutdown.clone());
                let mut retired = self.is_retired.subscribe();
                tokio::select! {
                    () = supervised("certificates", &self.panics, PAUSES, keep) => {}
                    _ = retired.wait_for(|retired| *retired) => {}
                }
            }
        }
    }

    async fn keep_own_fresh(self: &Arc<Self>, https: &[Listener], mut shutdown: Receiver<bool>) {
        let mut observed = None;
        loop {
            let now = Instant::now();
            let served = self.served.load_full();
            let fresh = observed.as_ref().is_some_and(|(before, at)| {
                Arc::ptr_eq(before, &served) && now.duration_since(*at) < OBSERVE
            });
            if !fresh {
                tokio::select! {
                    () = self.observe(https.first().copied(), &served) => {}
                    _ = shutdown.wait_for(|stop| *stop) => return,
                }
                observed = Some((served, now));
            }
            let pause = self.pause(OffsetDateTime::now_utc());
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
            // Off this runtime's threads: a file on a hanging network mount must not hang requests.
            let this = Arc::clone(self);
            let refresh = move || this.refresh(OffsetDateTime::now_utc());
            tokio::select! {
                done = tokio::task::spawn_blocking(refresh) => {
                    // What panicked there is supervised here.
                    if let Some(panic) = done.err().and_then(|error| error.try_into_panic().ok()) {
                        std::panic::resume_unwind(panic);
                    }
                }
                _ = shutdown.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Asks our own listener for each certificate, and notes what it gave.
    async fn observe(&self, listener: Option<Listener>, served: &[Served]) {
        let mut seen = Vec::with_capacity(served.len());
        for served in served {
            let name = served.name_to_ask_for();
            let answer = match (listener, name) {
                (Some(listener), Some(name)) => match listener.served(&name).await {
                    Ok(answer) => Some(answer),
                    Err(error) => {
                        warn!("{name}: a handshake with this server at {listener} failed: {error}");
                        None
                    }
                },
                _ => None,
            };
            seen.push(answer);
        }
        *self.seen.lock() = seen;
    }

    /// Looks once, and serves what is new.
    pub(super) fn refresh(&self, now: OffsetDateTime) {
        match &self.origin {
            Origin::Off | Origin::Acme(_) => {}
            Origin::SelfSigned(self_signed) => self.refresh_self_signed(self_signed, now),
            Origin::Files(watched) => self.refresh_files(watched, now),
        }
    }

    /// How long to sleep before the next look.
    fn pause(&self, now: OffsetDateTime) -> Duration {
        match &self.origin {
            Origin::Files(_) => POLL,
            Origin::Off | Origin::Acme(_) => LONGEST_SLEEP,
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

impl Served {
    /// A name that clients ask for to get it.
    fn name_to_ask_for(&self) -> Option<String> {
        let facts = self.pair.facts();
        match self.hosts.first() {
            Some(HostPattern::Exact(name)) => Some(name.clone()),
            Some(HostPattern::Wildcard(suffix)) => Some(format!("handshake.{suffix}")),
            None => facts.names.first().cloned(),
        }
    }
}

/// Tells the log what the next handshake will see.
pub(super) fn announce(source: &Source, pair: &Pair) {
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
    use std::path::Path;

    use time::Duration as Span;

    use super::*;
    use crate::certificates::testing::{logged, tls};
    use crate::config::TlsMode;

    fn serial(certificates: &Certificates) -> String {
        certificates.summary()[0].serial.clone()
    }

    fn last_error(certificates: &Certificates) -> Option<String> {
        certificates.summary()[0].last_error.clone()
    }

    fn self_signed(directory: &Path) -> Certificates {
        Certificates::load_parts(&tls(TlsMode::SelfSigned, directory), &[]).unwrap()
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
                Duration::from_mins(20),
                "soon: exactly then",
            ),
            (renewal - Span::seconds(1), RETRY, "now: no busy loop"),
            (renewal + Span::days(9), RETRY, "overdue: it failed"),
        ];
        for (now, expected, why) in cases {
            assert_eq!(certificates.pause(now), expected, "{why}");
        }
    }
}
