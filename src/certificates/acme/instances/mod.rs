//! `acme.storage = "database"`: several instances that share everything.
//!
//! 1. [`InDatabase`] keeps account, certificates, ledgers and running orders in PostgreSQL. Whoever
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

use std::sync::{Arc, OnceLock};

use anyhow::{Context, anyhow};
use async_trait::async_trait;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tracing::{info, warn};

pub(super) use self::proofs::Lookup;
use super::challenge::{Challenges, Proof};
use super::ledger::{Ledger, Unreadable};
use super::storage::{Files, Lock, RunningOrder, Storage};
use crate::certificates::pair::Pair;
use crate::database::{Client, Database, explain};

/// Where changes are told.
const CHANNEL: &str = "unibody_acme";

/// A value and its type: statements are sent unprepared, since each of them is rare.
type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

/// The storage of all instances, and this instance's copy.
pub(super) struct InDatabase {
    mirror: Files,
    /// Known a little later than the certificates: see [`use_database`](Self::use_database).
    database: OnceLock<Database>,
    directory: String,
    email: String,
    challenges: Arc<Challenges>,
    /// What was said of the copy, which is said once.
    complaint: Mutex<Option<String>>,
}

/// A certificate as it lies in the database.
struct Stored {
    pair: Pair,
    chain: String,
    key: String,
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
            database: OnceLock::new(),
            directory: directory.to_owned(),
            email: email.unwrap_or_default().to_owned(),
            challenges,
            complaint: Mutex::default(),
        }
    }

    /// The start of the server waits for no database, and what is served first comes from the copy.
    pub(super) fn use_database(&self, database: Database) {
        self.challenges
            .look_up_in(Lookup::new(database.clone(), &self.directory));
        // There is one start.
        let _ = self.database.set(database);
    }

    fn database(&self) -> anyhow::Result<&Database> {
        self.database
            .get()
            .ok_or_else(|| anyhow!("the database is not known yet"))
    }

    async fn client(&self) -> anyhow::Result<Client> {
        let client = self.database()?.client().await;
        client.context("account and certificates are shared there (acme.storage)")
    }

    /// The one row of `statement`, whose first parameter is the directory, the others `rest`.
    async fn row(
        &self,
        statement: &str,
        rest: &[Typed<'_>],
    ) -> anyhow::Result<Option<tokio_postgres::Row>> {
        let client = self.client().await?;
        let mut parameters: Vec<Typed<'_>> = vec![(&self.directory, Type::TEXT)];
        parameters.extend(rest.iter().cloned());
        let row = client.query_typed_opt(statement, &parameters).await;
        row.map_err(|error| unusable(&error))
    }

    async fn stored(&self, name: &str) -> anyhow::Result<Option<Stored>> {
        const SELECT: &str =
            "SELECT chain, private_key FROM acme_certificates WHERE directory = $1 AND name = $2";
        let Some(row) = self.row(SELECT, &[(&name, Type::TEXT)]).await? else {
            return Ok(None);
        };
        let (chain, key): (String, String) = (row.get(0), row.get(1));
        match Pair::parse(chain.as_bytes(), key.as_bytes()) {
            Ok(pair) => Ok(Some(Stored { pair, chain, key })),
            Err(error) => {
                warn!(
                    "{name}: the certificate in the database cannot be served ({error}); it counts as none"
                );
                Ok(None)
            }
        }
    }

    /// Stores a certificate and tells everybody, unless the database has a newer one.
    async fn store(&self, name: &str, chain: &str, key: &str, pair: &Pair) -> anyhow::Result<()> {
        const UPSERT: &str = "WITH saved AS ( \
               INSERT INTO acme_certificates AS known \
                 (directory, name, serial, not_before, not_after, chain, private_key) \
               VALUES ($1, $2, $3, $4, $5, $6, $7) \
               ON CONFLICT (directory, name) DO UPDATE SET serial = $3, not_before = $4, \
                 not_after = $5, chain = $6, private_key = $7 \
               WHERE known.not_before <= $4 RETURNING 1) \
             SELECT pg_notify('unibody_acme', '') FROM saved";
        let facts = pair.facts();
        let (from, to): (OffsetDateTime, OffsetDateTime) = (facts.not_before, facts.not_after);
        let rest: [Typed<'_>; 6] = [
            (&name, Type::TEXT),
            (&facts.serial, Type::TEXT),
            (&from, Type::TIMESTAMPTZ),
            (&to, Type::TIMESTAMPTZ),
            (&chain, Type::TEXT),
            (&key, Type::TEXT),
        ];
        self.row(UPSERT, &rest).await.map(drop)
    }

    /// What lies in the copy although the database does not know it: from before this storage was
    /// chosen, or from before the database was restored.
    async fn adopt(&self, name: &str, mirrored: Pair) -> Pair {
        let Some((chain, key)) = self.mirror.texts(name) else {
            return mirrored;
        };
        match self.store(name, &chain, &key, &mirrored).await {
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
        const SELECT: &str =
            "SELECT credentials FROM acme_accounts WHERE directory = $1 AND email = $2";
        let row = self.row(SELECT, &[(&self.email, Type::TEXT)]).await?;
        if let Some(row) = row {
            return Ok(Some(row.get(0)));
        }
        // From before this storage was chosen.
        let before = self.mirror.account().await?;
        if let Some(credentials) = &before {
            self.save_account(Some(credentials)).await?;
        }
        Ok(before)
    }

    async fn save_account(&self, credentials: Option<&str>) -> anyhow::Result<()> {
        const UPSERT: &str = "INSERT INTO acme_accounts (directory, email, credentials) \
             VALUES ($1, $2, $3) ON CONFLICT (directory, email) DO UPDATE SET credentials = $3";
        const DELETE: &str = "DELETE FROM acme_accounts WHERE directory = $1 AND email = $2";
        let email: Typed<'_> = (&self.email, Type::TEXT);
        if let Some(credentials) = credentials {
            let rest = [email, (&credentials, Type::TEXT)];
            return self.row(UPSERT, &rest).await.map(drop);
        }
        self.row(DELETE, &[email]).await?;
        self.mirror.save_account(None).await
    }

    async fn certificate(&self, name: &str) -> anyhow::Result<Option<Pair>> {
        let mirrored = self.complain(self.mirror.certificate(name).await).flatten();
        let stored = match (self.stored(name).await, &mirrored) {
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
        self.store(name, chain, key, &pair).await?;
        self.complain(self.mirror.save_certificate(name, chain, key).await);
        Ok(pair)
    }

    async fn ledger(&self, name: &str) -> anyhow::Result<Ledger> {
        const SELECT: &str = "SELECT ledger FROM acme_ledgers WHERE directory = $1 AND name = $2";
        let row = self.row(SELECT, &[(&name, Type::TEXT)]).await;
        let Ok(Some(row)) = row else {
            // Before this storage was chosen, or while the database is away.
            return self.mirror.ledger(name).await;
        };
        let ledger = read_ledger(name, row.get(0))?;
        let mirrored = self.complain(self.mirror.ledger(name).await);
        if mirrored.is_some_and(|mirrored| mirrored != ledger) {
            self.complain(self.mirror.save_ledger(name, &ledger).await);
        }
        Ok(ledger)
    }

    async fn ledgers(&self) -> anyhow::Result<Vec<(String, Ledger)>> {
        const SELECT: &str = "SELECT name, ledger FROM acme_ledgers WHERE directory = $1";
        let client = self.client().await?;
        let directory: Typed<'_> = (&self.directory, Type::TEXT);
        let rows = client.query_typed(SELECT, &[directory]).await;
        let rows = rows.map_err(|error| unusable(&error))?;
        let ledgers = rows.iter().filter_map(|row| {
            let json: &str = row.get(1);
            Some((row.get(0), Ledger::parse(json.as_bytes()).ok()?))
        });
        Ok(ledgers.collect())
    }

    async fn save_ledger(&self, name: &str, ledger: &Ledger) -> anyhow::Result<()> {
        const INSERT: &str = "INSERT INTO acme_ledgers (directory, name, ledger) \
             VALUES ($1, $2, $3) ON CONFLICT (directory, name) DO NOTHING";
        const SELECT: &str =
            "SELECT ledger FROM acme_ledgers WHERE directory = $1 AND name = $2 FOR UPDATE";
        const UPDATE: &str =
            "UPDATE acme_ledgers SET ledger = $3 WHERE directory = $1 AND name = $2";
        let merged = {
            let mut client = self.client().await?;
            let work = async {
                // The row is locked from reading to writing: no instance writes over another's entries.
                let transaction = client.transaction().await?;
                let json = ledger.to_json();
                let insert: [Typed<'_>; 3] = [
                    (&self.directory, Type::TEXT),
                    (&name, Type::TEXT),
                    (&json, Type::TEXT),
                ];
                transaction.query_typed(INSERT, &insert).await?;
                let row = transaction.query_typed(SELECT, &insert[..2]).await?;
                let stored = row.first().map(|row| row.get::<_, String>(0));
                // A damaged one is written over; a newer version's has a shape that this one cannot
                // keep, and the orders of both count at the CA all the same.
                let stored = stored.and_then(|json| Ledger::parse(json.as_bytes()).ok());
                let merged = match stored {
                    Some(stored) => ledger.clone().merged(stored),
                    None => ledger.clone(),
                };
                let json = merged.to_json();
                let update: [Typed<'_>; 3] = [
                    (&self.directory, Type::TEXT),
                    (&name, Type::TEXT),
                    (&json, Type::TEXT),
                ];
                transaction.query_typed(UPDATE, &update).await?;
                transaction.commit().await?;
                Ok(merged)
            };
            work.await.map_err(|error| unusable(&error))?
        };
        self.complain(self.mirror.save_ledger(name, &merged).await);
        Ok(())
    }

    async fn order(&self, name: &str) -> anyhow::Result<Option<RunningOrder>> {
        const SELECT: &str =
            "SELECT url, private_key FROM acme_orders WHERE directory = $1 AND name = $2";
        let row = self.row(SELECT, &[(&name, Type::TEXT)]).await?;
        Ok(row.map(|row| RunningOrder {
            url: row.get(0),
            key: row.get(1),
        }))
    }

    async fn save_order(&self, name: &str, order: Option<&RunningOrder>) -> anyhow::Result<()> {
        const UPSERT: &str = "INSERT INTO acme_orders (directory, name, url, private_key) \
             VALUES ($1, $2, $3, $4) \
             ON CONFLICT (directory, name) DO UPDATE SET url = $3, private_key = $4";
        const DELETE: &str = "DELETE FROM acme_orders WHERE directory = $1 AND name = $2";
        let name: Typed<'_> = (&name, Type::TEXT);
        let Some(order) = order else {
            return self.row(DELETE, &[name]).await.map(drop);
        };
        let rest = [name, (&order.url, Type::TEXT), (&order.key, Type::TEXT)];
        self.row(UPSERT, &rest).await.map(drop)
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
        let lock = format!("unibody acme {} {name}", self.directory);
        let held = self.database()?.try_lock(&lock).await;
        let held = held.context("the lock that keeps several instances from ordering at once")?;
        Ok(held.map(|held| Box::new(held) as Lock))
    }

    async fn offer(&self, proof: &Proof) -> anyhow::Result<()> {
        proofs::publish(self.database()?, &self.directory, proof).await
    }

    async fn withdraw(&self, name: &str) -> anyhow::Result<()> {
        proofs::withdraw(self.database()?, &self.directory, name).await
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

/// What PostgreSQL refuses, with the remedy where there is one.
fn unusable(error: &tokio_postgres::Error) -> anyhow::Error {
    let reason = explain(error);
    let remedy = match error.code() {
        Some(&SqlState::UNDEFINED_TABLE) => "; run `unibody migrate`",
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            "; grant SELECT, INSERT, UPDATE and DELETE on the tables acme_… to unibody's role"
        }
        Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
            "; add target_session_attrs=read-write to database.url"
        }
        _ => "",
    };
    anyhow!("the database with account and certificates cannot be used: {reason}{remedy}")
}

#[cfg(test)]
mod tests;
