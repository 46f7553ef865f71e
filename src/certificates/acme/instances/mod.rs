//! `acme.storage = "database"`: several instances that share everything.
//!
//! 1. [`InDatabase`] keeps account, certificates, ledgers and running orders in PostgreSQL ([`rows`]). Whoever
//!    holds a name's lock orders; the lock ends with its session, and the order it leaves behind is
//!    taken up by the next holder.
//! 2. [`proofs`]: what the CA may ask for is published before the CA is told, and the one that orders
//!    waits until every instance that listens can answer.
//! 3. [`follow`]: every instance listens, and looks at what has changed the moment it is notified; while
//!    it cannot listen it looks every few seconds.
//! 4. A copy in `tls.certs_dir` (the [`Files`] of one instance alone) is what a start without the
//!    database serves. What lies there when the database knows nothing is taken over from it.

mod follow;
mod proofs;
mod rows;

use std::sync::Arc;

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use parking_lot::Mutex;
use tracing::{info, warn};

pub(super) use self::proofs::Lookup;
use self::rows::Rows;
use super::challenge::{Challenges, Proof};
use super::ledger::{Ledger, Unreadable};
use super::storage::{Files, Lock, RunningOrder, Storage};
use crate::certificates::pair::Pair;
use crate::database::Database;

/// Where changes are told.
const CHANNEL: &str = "unibody_acme";

/// The storage of all instances, and this instance's copy.
pub(super) struct InDatabase {
    mirror: Files,
    rows: Rows,
    challenges: Arc<Challenges>,
    /// What was said of the copy, which is said once.
    complaint: Mutex<Option<String>>,
}

impl InDatabase {
    pub(super) fn new(
        mirror: Files,
        directory: &str,
        email: Option<&str>,
        challenges: Arc<Challenges>,
    ) -> Self {
        Self {
            mirror,
            rows: Rows::new(directory, email),
            challenges,
            complaint: Mutex::default(),
        }
    }

    /// The start of the server waits for no database, and what is served first comes from the copy.
    pub(super) fn use_database(&self, database: Database) {
        self.challenges
            .look_up_in(Lookup::new(database.clone(), self.rows.directory()));
        self.rows.connect(database);
    }

    /// What lies in the copy although the database does not know it: from before this storage was
    /// chosen, or from before the database was restored.
    async fn adopt(&self, name: &str, mirrored: Pair) -> Pair {
        let Some((chain, key)) = self.mirror.texts(name) else {
            return mirrored;
        };
        match self
            .rows
            .save_certificate(name, &chain, &key, &mirrored)
            .await
        {
            Ok(()) => info!("{name}: put the certificate of tls.certs_dir into the database"),
            Err(error) => warn!(
                "{name}: the certificate of tls.certs_dir cannot be put into the database: {error:#}"
            ),
        }
        mirrored
    }

    /// Says once what keeps the copy from being made. Nothing fails of it: the database has the original.
    fn complain<T>(&self, outcome: anyhow::Result<T>) -> Option<T> {
        let words = match outcome {
            Ok(done) => {
                *self.complaint.lock() = None;
                return Some(done);
            }
            Err(error) => format!("{error:#}"),
        };
        let mut complaint = self.complaint.lock();
        if complaint.as_ref() != Some(&words) {
            warn!("without a copy here, a start without the database has no certificate: {words}");
            *complaint = Some(words);
        }
        None
    }
}

#[async_trait]
impl Storage for InDatabase {
    async fn account(&self) -> anyhow::Result<Option<String>> {
        if let Some(credentials) = self.rows.account().await? {
            return Ok(Some(credentials));
        }
        // From before this storage was chosen.
        let before = self.mirror.account().await?;
        if let Some(credentials) = &before {
            self.save_account(Some(credentials)).await?;
        }
        Ok(before)
    }

    async fn save_account(&self, credentials: Option<&str>) -> anyhow::Result<()> {
        self.rows.save_account(credentials).await?;
        match credentials {
            Some(_) => Ok(()),
            None => self.mirror.save_account(None).await,
        }
    }

    async fn certificate(&self, name: &str) -> anyhow::Result<Option<Pair>> {
        let mirrored = self.complain(self.mirror.certificate(name).await).flatten();
        let stored = match (self.rows.certificate(name).await, &mirrored) {
            (Ok(stored), _) => stored,
            // That the database is away is said elsewhere, and this is what the copy is for.
            (Err(_), Some(_)) => return Ok(mirrored),
            (Err(error), None) => return Err(error),
        };
        let Some(stored) = stored else {
            return Ok(match mirrored {
                Some(pair) => Some(self.adopt(name, pair).await),
                None => None,
            });
        };
        if let Some(mirrored) = mirrored {
            if mirrored.facts().serial == stored.pair.facts().serial {
                return Ok(Some(stored.pair));
            }
            if mirrored.facts().not_before > stored.pair.facts().not_before {
                return Ok(Some(self.adopt(name, mirrored).await));
            }
        }
        let copied = self
            .mirror
            .save_certificate(name, &stored.chain, &stored.key);
        self.complain(copied.await);
        Ok(Some(stored.pair))
    }

    async fn save_certificate(&self, name: &str, chain: &str, key: &str) -> anyhow::Result<Pair> {
        let pair = Pair::parse(chain.as_bytes(), key.as_bytes())
            .with_context(|| format!("{name}: refusing to store the certificate"))?;
        self.rows.save_certificate(name, chain, key, &pair).await?;
        self.complain(self.mirror.save_certificate(name, chain, key).await);
        Ok(pair)
    }

    async fn ledger(&self, name: &str) -> anyhow::Result<Ledger> {
        let Ok(Some(json)) = self.rows.ledger(name).await else {
            // Before this storage was chosen, or while the database is away.
            return self.mirror.ledger(name).await;
        };
        let ledger = read_ledger(name, &json)?;
        let mirrored = self.complain(self.mirror.ledger(name).await);
        if mirrored.is_some_and(|mirrored| mirrored != ledger) {
            self.complain(self.mirror.save_ledger(name, &ledger).await);
        }
        Ok(ledger)
    }

    async fn ledgers(&self) -> anyhow::Result<Vec<(String, Ledger)>> {
        self.rows.ledgers().await
    }

    async fn save_ledger(&self, name: &str, ledger: &Ledger) -> anyhow::Result<()> {
        let merged = self.rows.save_ledger(name, ledger).await?;
        self.complain(self.mirror.save_ledger(name, &merged).await);
        Ok(())
    }

    async fn order(&self, name: &str) -> anyhow::Result<Option<RunningOrder>> {
        self.rows.order(name).await
    }

    async fn save_order(&self, name: &str, order: Option<&RunningOrder>) -> anyhow::Result<()> {
        self.rows.save_order(name, order).await
    }

    async fn probe(&self, name: &str) -> anyhow::Result<()> {
        // A name that no host has: nothing of a running order is touched.
        let name = format!("@probe {name}");
        let written = RunningOrder {
            url: uuid::Uuid::new_v4().to_string(),
            key: String::new(),
        };
        self.save_order(&name, Some(&written)).await?;
        let read = self.order(&name).await?;
        self.save_order(&name, None).await?;
        if read.as_ref() != Some(&written) {
            return Err(anyhow!(
                "what is written to the database does not read the same; database.url must name one writable server"
            ));
        }
        Ok(())
    }

    async fn try_lock(&self, name: &str) -> anyhow::Result<Option<Lock>> {
        let lock = format!("unibody acme {} {name}", self.rows.directory());
        let held = self.rows.database()?.try_lock(&lock).await;
        let held = held.context("the lock that keeps several instances from ordering at once")?;
        Ok(held.map(|held| Box::new(held) as Lock))
    }

    async fn offer(&self, proof: &Proof) -> anyhow::Result<()> {
        proofs::publish(self.rows.database()?, self.rows.directory(), proof).await
    }

    async fn withdraw(&self, name: &str) -> anyhow::Result<()> {
        proofs::withdraw(self.rows.database()?, self.rows.directory(), name).await
    }
}

fn read_ledger(name: &str, json: &str) -> anyhow::Result<Ledger> {
    match Ledger::parse(json.as_bytes()) {
        Ok(ledger) => Ok(ledger),
        Err(error @ Unreadable::Damaged(_)) => {
            warn!("{name}: the ledger in the database {error}; it is begun anew");
            Ok(Ledger::new())
        }
        Err(error @ Unreadable::Newer) => {
            Err(anyhow!("the ledger of {name} in the database {error}"))
        }
    }
}

#[cfg(test)]
mod tests;
