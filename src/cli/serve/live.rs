//! The server while it runs, and how another configuration takes the place of the one in force.
//!
//! [`Live::prepare`] does all that can fail, on a thread where it may block: reading the file,
//! opening directories, binding sockets, loading certificates, in that order, for only the last
//! writes to the disk. [`Live::go_on_with`] puts it into force; nothing there can fail or wait.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::certificates::{Keeping, Ready};
use super::source::Source;
use crate::admin::reload::{Outcome, Reloads};
use crate::admin::{Listeners, Subject};
use crate::backup::task::Keeper;
use crate::config::Config;
use crate::database::Database;
use crate::edge::{self, Addresses, View};
use crate::telemetry::Logging;

/// Everything that a reload may touch.
pub(super) struct Live {
    pub(super) source: Source,
    /// What the process was started with: what can't be reloaded is in force from there.
    pub(super) started: Arc<Config>,
    /// In force.
    pub(super) config: Arc<Config>,
    pub(super) addresses: Addresses,
    pub(super) edge: edge::Running,
    pub(super) certificates: Ready,
    pub(super) keeping: Keeping,
    /// None where nothing has needed one at the start.
    pub(super) database: Option<Database>,
    /// With the database.
    pub(super) backups: Option<Arc<Keeper>>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) logging: Logging,
    /// What the admin listener tells of, if there is one.
    pub(super) subject: Option<Arc<ArcSwap<Subject>>>,
}

/// What is needed to prepare another configuration.
struct Preparation {
    source: Source,
    started: Arc<Config>,
    config: Arc<Config>,
    addresses: Addresses,
    view: View,
    certificates: Ready,
}

/// A configuration that lacks nothing but its being put into force.
struct Prepared {
    config: Arc<Config>,
    next: edge::Next,
    certificates: Ready,
    changed: Vec<String>,
    waiting: Vec<String>,
}

impl Live {
    /// Reads the configuration again and puts it into force, or says why not and changes nothing. So
    /// does dropping this before its end.
    pub(super) async fn reload(&mut self) -> Outcome {
        let outcome = match self.prepare().await {
            Ok(prepared) => self.go_on_with(prepared),
            Err(outcome) => outcome,
        };
        // Whoever has read of it finds it counted.
        self.reloads.note(&outcome);
        tell(&outcome);
        outcome
    }

    async fn prepare(&self) -> Result<Prepared, Outcome> {
        let preparation = Preparation {
            source: self.source.clone(),
            started: self.started.clone(),
            config: self.config.clone(),
            addresses: self.addresses.clone(),
            view: self.edge.view().map_err(|error| failed(&error))?,
            certificates: self.certificates.clone(),
        };
        let prepared = tokio::task::spawn_blocking(|| preparation.run());
        prepared.await.unwrap_or_else(|_| {
            let words = "reading it failed inside; report this as a mistake of unibody";
            Err(Outcome::Failed(words.to_owned()))
        })
    }

    fn go_on_with(&mut self, prepared: Prepared) -> Outcome {
        let Prepared {
            config,
            next,
            certificates,
            changed,
            waiting,
        } = prepared;
        self.addresses = next.addresses.clone();
        self.edge.go_on_with(next.with(certificates.tls.clone()));
        if !Arc::ptr_eq(&certificates.certificates, &self.certificates.certificates) {
            self.certificates.certificates.retire();
            self.certificates = certificates;
            self.keeping.begin(
                &self.certificates.certificates,
                &config,
                &self.addresses.https,
                self.database.as_ref(),
            );
        }
        if let Err(error) = self.logging.configure(&config.log) {
            tracing::error!(%error, "log.level can't be changed");
        }
        if let Some(backups) = &self.backups {
            backups.follow(config.backup.as_ref());
        }
        self.config = config;
        if let Some(subject) = &self.subject {
            subject.store(Arc::new(self.told_of(&subject.load())));
        }
        Outcome::Reloaded { changed, waiting }
    }

    /// What there is to tell of now, after `before`.
    fn told_of(&self, before: &Subject) -> Subject {
        Subject {
            config: self.config.clone(),
            listeners: Listeners {
                http: self.addresses.http.clone(),
                https: self.addresses.https.clone(),
                admin: before.listeners.admin,
            },
            certificates: self.certificates.certificates.clone(),
            ..before.clone()
        }
    }
}

impl Preparation {
    fn run(self) -> Result<Prepared, Outcome> {
        let wanted = self.source.load();
        let wanted = wanted.map_err(|mistakes| Outcome::Mistaken(mistakes.to_string()))?;
        let told = |what: &str| what.to_owned();
        let since_start = self.started.changes_to(&wanted);
        let waiting = since_start.waiting().map(told).collect();
        let config = Arc::new(wanted.keeping(&self.started));
        // Half of it in force would be a route that answers 503 for ever.
        if self.started.needs_database().is_none()
            && let Some(what) = config.needs_database()
        {
            return Err(Outcome::Failed(format!(
                "{what} needs the database, and this server was started without one: restart it, or run `unibody upgrade`, which loses no request"
            )));
        }
        let since_then = self.config.changes_to(&config);
        let changed = since_then.reloaded().map(told).collect();
        let next = self.view.prepare(&config).map_err(|error| failed(&error))?;
        let before = (&*self.config, self.addresses.https.as_slice());
        let after = (&*config, next.addresses.https.as_slice());
        let certificates = self.certificates.followed_by(before, after);
        Ok(Prepared {
            certificates: certificates.map_err(|error| failed(&error))?,
            next,
            config,
            changed,
            waiting,
        })
    }
}

fn failed(error: &anyhow::Error) -> Outcome {
    Outcome::Failed(format!("{error:#}"))
}

fn tell(outcome: &Outcome) {
    match outcome {
        Outcome::Reloaded { changed, waiting } => {
            let changed = if changed.is_empty() {
                "nothing".to_owned()
            } else {
                changed.join(", ")
            };
            tracing::info!(changed, "the configuration was reloaded");
            if !waiting.is_empty() {
                tracing::warn!(
                    keys = waiting.join(", "),
                    "the configuration has changes that wait for a restart"
                );
            }
        }
        Outcome::Mistaken(why) | Outcome::Failed(why) => {
            for why in why.lines() {
                tracing::error!("{why}");
            }
            tracing::error!(
                "the configuration was not reloaded: the one before stays in force, all of it"
            );
        }
    }
}
