//! What lies in PostgreSQL for one directory: the statements, one by one.

use std::sync::OnceLock;

use anyhow::{Context, anyhow};
use time::OffsetDateTime;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tracing::warn;

use crate::certificates::acme::ledger::Ledger;
use crate::certificates::acme::storage::RunningOrder;
use crate::certificates::pair::Pair;
use crate::database::{Client, Database, explain};

/// The rows of one CA's directory.
pub(super) struct Rows {
    /// Known a little later than the certificates: see [`connect`](Self::connect).
    database: OnceLock<Database>,
    directory: String,
    email: String,
}

/// A certificate as it lies in the database.
pub(super) struct Stored {
    pub(super) pair: Pair,
    pub(super) chain: String,
    pub(super) key: String,
}

/// A value and its type: statements are sent unprepared, since each of them is rare.
pub(super) type Typed<'a> = (&'a (dyn ToSql + Sync), Type);

impl Rows {
    pub(super) fn new(directory: &str, email: Option<&str>) -> Self {
        Self {
            database: OnceLock::new(),
            directory: directory.to_owned(),
            email: email.unwrap_or_default().to_owned(),
        }
    }

    /// The start of the server waits for no database.
    pub(super) fn connect(&self, database: Database) {
        // There is one start.
        let _ = self.database.set(database);
    }

    pub(super) fn directory(&self) -> &str {
        &self.directory
    }

    pub(super) fn database(&self) -> anyhow::Result<&Database> {
        self.database
            .get()
            .ok_or_else(|| anyhow!("the database is not known yet"))
    }

    pub(super) async fn account(&self) -> anyhow::Result<Option<String>> {
        const SELECT: &str =
            "SELECT credentials FROM acme_accounts WHERE directory = $1 AND email = $2";
        let row = self.row(SELECT, &[(&self.email, Type::TEXT)]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    pub(super) async fn save_account(&self, credentials: Option<&str>) -> anyhow::Result<()> {
        const UPSERT: &str = "INSERT INTO acme_accounts (directory, email, credentials) \
             VALUES ($1, $2, $3) ON CONFLICT (directory, email) DO UPDATE SET credentials = $3";
        const DELETE: &str = "DELETE FROM acme_accounts WHERE directory = $1 AND email = $2";
        let email: Typed<'_> = (&self.email, Type::TEXT);
        let Some(credentials) = credentials else {
            return self.row(DELETE, &[email]).await.map(drop);
        };
        let rest = [email, (&credentials, Type::TEXT)];
        self.row(UPSERT, &rest).await.map(drop)
    }

    pub(super) async fn certificate(&self, name: &str) -> anyhow::Result<Option<Stored>> {
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
    pub(super) async fn save_certificate(
        &self,
        name: &str,
        chain: &str,
        key: &str,
        pair: &Pair,
    ) -> anyhow::Result<()> {
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

    /// As JSON, whether it can be read or not.
    pub(super) async fn ledger(&self, name: &str) -> anyhow::Result<Option<String>> {
        const SELECT: &str = "SELECT ledger FROM acme_ledgers WHERE directory = $1 AND name = $2";
        let row = self.row(SELECT, &[(&name, Type::TEXT)]).await?;
        Ok(row.map(|row| row.get(0)))
    }

    pub(super) async fn ledgers(&self) -> anyhow::Result<Vec<(String, Ledger)>> {
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

    /// Merges `ledger` with what lies there, and answers what lies there then.
    pub(super) async fn save_ledger(&self, name: &str, ledger: &Ledger) -> anyhow::Result<Ledger> {
        const INSERT: &str = "INSERT INTO acme_ledgers (directory, name, ledger) \
             VALUES ($1, $2, $3) ON CONFLICT (directory, name) DO NOTHING";
        const SELECT: &str =
            "SELECT ledger FROM acme_ledgers WHERE directory = $1 AND name = $2 FOR UPDATE";
        const UPDATE: &str =
            "UPDATE acme_ledgers SET ledger = $3 WHERE directory = $1 AND name = $2";
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
        work.await.map_err(|error| unusable(&error))
    }

    pub(super) async fn order(&self, name: &str) -> anyhow::Result<Option<RunningOrder>> {
        const SELECT: &str =
            "SELECT url, private_key FROM acme_orders WHERE directory = $1 AND name = $2";
        let row = self.row(SELECT, &[(&name, Type::TEXT)]).await?;
        Ok(row.map(|row| RunningOrder {
            url: row.get(0),
            key: row.get(1),
        }))
    }

    pub(super) async fn save_order(
        &self,
        name: &str,
        order: Option<&RunningOrder>,
    ) -> anyhow::Result<()> {
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

    pub(super) async fn client(&self) -> anyhow::Result<Client> {
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
}

/// What PostgreSQL refuses, with the remedy where there is one.
pub(super) fn unusable(error: &tokio_postgres::Error) -> anyhow::Error {
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
