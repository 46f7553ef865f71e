//! Proofs that any instance can show to the CA.

use std::fmt;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tracing::{info, warn};

use super::rows::{Typed, unusable};
use crate::certificates::acme::challenge::{Proof, ProofKind};
use crate::database::{Database, explain};

/// How long the others may take to learn of a proof.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks at who knows it.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a look for one token may take: the CA waits no longer than ten seconds.
const LOOKUP: Duration = Duration::from_secs(3);
/// Looks at once. Anybody can ask for tokens, and the app needs its connections.
const LOOKUPS: usize = 2;
/// Tokens of CAs are shorter by far.
const LONGEST_TOKEN: usize = 256;

/// "acme" in ASCII: the class of the locks by which those that listen are counted.
pub(super) const LISTENING: i32 = 0x6163_6d65;

/// Puts `proof` where every instance finds it, and answers once all that listen can show it.
pub(super) async fn publish(
    database: &Database,
    directory: &str,
    proof: &Proof,
) -> anyhow::Result<()> {
    // One that died left its own behind.
    const CLEAN: &str = "DELETE FROM acme_challenges WHERE expires_at < now()";
    // A new row even for the same token: only then is it known who has seen this one.
    const WITHDRAW: &str =
        "DELETE FROM acme_challenges WHERE directory = $1 AND name = $2 AND token = $3";
    const PUBLISH: &str = "WITH new AS ( \
           INSERT INTO acme_challenges (directory, name, token, proof, expires_at) \
           VALUES ($1, $2, $3, $4, now() + interval '15 minutes') RETURNING id) \
         SELECT id, pg_notify('unibody_acme', '')::text FROM new";
    let (token, content) = columns(proof);
    let client = database.client().await.context("the proof for the CA")?;
    let key: [Typed<'_>; 4] = [
        (&directory, Type::TEXT),
        (&proof.name, Type::TEXT),
        (&token, Type::TEXT),
        (&content, Type::BYTEA),
    ];
    let work = async {
        client.batch_execute(CLEAN).await?;
        client.query_typed(WITHDRAW, &key[..3]).await?;
        let row = client.query_typed_one(PUBLISH, &key).await?;
        row.try_get::<_, i64>(0)
    };
    let id = work.await.map_err(|error| unusable(&error))?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let missing = unseen(&client, directory, id).await?;
        if missing == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            // The CA may still come to one that knows.
            warn!(
                "{}: {missing} other instances do not answer the CA yet; it is told all the same",
                proof.name
            );
            return Ok(());
        }
        sleep(PAUSE).await;
    }
}

/// How many of those that listen cannot show the proof yet.
async fn unseen(client: &Client, directory: &str, id: i64) -> anyhow::Result<i64> {
    let count = format!(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted \
           AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
           AND classid = {LISTENING} AND objid = (hashtext($1) & 2147483647)::oid AND objsubid = 2 \
           AND pid NOT IN (SELECT pid FROM acme_seen WHERE challenge = $2)"
    );
    let parameters: [Typed<'_>; 2] = [(&directory, Type::TEXT), (&id, Type::INT8)];
    let row = client.query_typed_one(&count, &parameters).await;
    let missing = row.and_then(|row| row.try_get(0));
    missing.map_err(|error| unusable(&error))
}

/// Takes back every proof for `name`.
pub(super) async fn withdraw(
    database: &Database,
    directory: &str,
    name: &str,
) -> anyhow::Result<()> {
    const DELETE: &str = "WITH gone AS ( \
           DELETE FROM acme_challenges WHERE directory = $1 AND name = $2 RETURNING 1) \
         SELECT pg_notify('unibody_acme', '') FROM gone";
    let client = database.client().await?;
    let parameters: [Typed<'_>; 2] = [(&directory, Type::TEXT), (&name, Type::TEXT)];
    let gone = client.query_typed(DELETE, &parameters).await;
    gone.map(drop).map_err(|error| unusable(&error))
}

/// All proofs on offer, with their numbers.
pub(super) async fn all(
    client: &Client,
    directory: &str,
) -> Result<(Vec<i64>, Vec<Proof>), tokio_postgres::Error> {
    const SELECT: &str = "SELECT id, name, token, proof FROM acme_challenges \
         WHERE directory = $1 AND expires_at > now()";
    let rows = client
        .query_typed(SELECT, &[(&directory, Type::TEXT)])
        .await?;
    let proofs = rows.iter().filter_map(|row| {
        let (token, content): (String, Vec<u8>) = (row.get(2), row.get(3));
        let kind = if token.is_empty() {
            ProofKind::Tls { digest: content }
        } else {
            let key_authorization = String::from_utf8(content).ok()?;
            ProofKind::Http {
                token,
                key_authorization,
            }
        };
        let (id, name): (i64, String) = (row.get(0), row.get(1));
        Some((id, Proof { name, kind }))
    });
    Ok(proofs.unzip())
}

/// Tells the one that orders that this session's instance can show these.
pub(super) async fn seen(client: &Client, ids: &[i64]) -> Result<(), tokio_postgres::Error> {
    // Locked, because one that is taken back at this moment would refuse the reference.
    const INSERT: &str = "INSERT INTO acme_seen (challenge, pid) \
         SELECT id, pg_backend_pid() FROM acme_challenges WHERE id = ANY($1) FOR KEY SHARE \
         ON CONFLICT DO NOTHING";
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Typed<'_> = (&ids, Type::INT8_ARRAY);
    client.query_typed(INSERT, &[ids]).await.map(drop)
}

fn columns(proof: &Proof) -> (&str, &[u8]) {
    match &proof.kind {
        ProofKind::Http {
            token,
            key_authorization,
        } => (token, key_authorization.as_bytes()),
        ProofKind::Tls { digest } => ("", digest),
    }
}

/// The way to a proof that this instance has not heard of.
pub(in crate::certificates) struct Lookup {
    database: Database,
    directory: String,
    permits: Semaphore,
}

impl Lookup {
    pub(super) fn new(database: Database, directory: &str) -> Self {
        Self {
            database,
            directory: directory.to_owned(),
            permits: Semaphore::new(LOOKUPS),
        }
    }

    /// The key authorization that another instance offers for `name` (no brackets) under `token`.
    pub(in crate::certificates) async fn http(&self, name: &str, token: &str) -> Option<String> {
        const SELECT: &str = "SELECT proof FROM acme_challenges \
             WHERE directory = $1 AND name = $2 AND token = $3 AND expires_at > now()";
        let plausible = token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if token.is_empty() || token.len() > LONGEST_TOKEN || !plausible {
            return None;
        }
        // SECURITY: anybody asks here. Who finds others asking already gets a 404, not a connection.
        let _permit = self.permits.try_acquire().ok()?;
        let key: [Typed<'_>; 3] = [
            (&self.directory, Type::TEXT),
            (&name, Type::TEXT),
            (&token, Type::TEXT),
        ];
        let work = async {
            let client = self.database.client().await.ok()?;
            match client.query_typed_opt(SELECT, &key).await {
                Ok(row) => String::from_utf8(row?.get(0)).ok(),
                Err(error) => {
                    info!(
                        "a proof for the CA cannot be looked up: {}",
                        explain(&error)
                    );
                    None
                }
            }
        };
        timeout(LOOKUP, work).await.ok()?
    }
}

impl fmt::Debug for Lookup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Lookup")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}
