//! Following what the other instances do.
//!
//! One session listens. Whatever it hears means "look": the proofs are loaded for the resolver,
//! which cannot ask a database, and the keepers of names whose certificate is another one are woken.
//! That it hears anything is tried first: behind PgBouncer's transaction mode a session hears nothing.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::types::Type;
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::proofs::{self, LISTENING};
use super::rows::{Typed, unusable};
use super::{CHANNEL, InDatabase};
use crate::database::Listener;

/// Between two looks of one that listens: what proves that the session lives.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Between two looks of one that cannot listen, and between its attempts to listen again.
const POLL: Duration = Duration::from_secs(2);
/// Between the attempts of one whose session hears nothing.
const DEAF_RETRY: Duration = Duration::from_mins(5);
/// For every question, and for what was notified to be heard.
const PATIENCE: Duration = Duration::from_secs(5);

/// Certificates by name: their serial numbers.
type Known = HashMap<String, String>;

impl InDatabase {
    /// Follows for ever. `changed` is called for each name whose certificate is another one than
    /// before, and with `None` when any may be: after a time without the database.
    pub(in crate::certificates::acme) async fn follow(
        &self,
        changed: impl Fn(Option<&str>) + Send + Sync,
    ) {
        let mut known = Known::new();
        let mut told = None;
        loop {
            let failure = self.listen(&mut known, &changed, &mut told).await;
            let words = format!("{failure:#}");
            if told.as_ref() != Some(&words) {
                warn!(
                    "what other instances do about certificates is seen with a delay of a few seconds: {words}"
                );
            }
            told = Some(words);
            let pause = if failure.is::<Deaf>() {
                DEAF_RETRY
            } else {
                POLL
            };
            self.poll(pause, &mut known, &changed).await;
        }
    }

    /// Listens until that fails.
    async fn listen(
        &self,
        known: &mut Known,
        changed: &(impl Fn(Option<&str>) + Sync),
        told: &mut Option<String>,
    ) -> anyhow::Error {
        let work = async {
            let mut listener = self.rows.database()?.listen(CHANNEL).await?;
            self.prove(&mut listener).await?;
            // Counted from here on among those whom an order waits for, and not before this instance
            // answers with everything on offer: hence the look after the lock.
            let lock =
                format!("SELECT pg_advisory_lock_shared({LISTENING}, hashtext($1) & 2147483647)");
            let directory: Typed<'_> = (&self.rows.directory(), Type::TEXT);
            bounded(listener.client.query_typed(&lock, &[directory])).await?;
            self.look(&listener.client, known, changed).await?;
            changed(None);
            if told.take().is_some() {
                info!("what other instances do about certificates is seen at once again");
            }
            debug!("following the other instances");
            loop {
                match timeout(HEARTBEAT, listener.hear()).await {
                    Ok(None) => return Err(anyhow!("the session that listens has ended")),
                    // One look is for all that was heard before it.
                    Ok(Some(_)) => while listener.heard().is_some() {},
                    Err(_) => {}
                }
                self.look(&listener.client, known, changed).await?;
            }
        };
        let ended: anyhow::Result<std::convert::Infallible> = work.await;
        match ended {
            Ok(never) => match never {},
            Err(error) => error,
        }
    }

    /// Proves that the listener hears what another session says.
    async fn prove(&self, listener: &mut Listener) -> anyhow::Result<()> {
        let mark = Uuid::new_v4().to_string();
        let client = self.rows.client().await?;
        let parameters: [Typed<'_>; 2] = [(&CHANNEL, Type::TEXT), (&mark, Type::TEXT)];
        let say = client.query_typed("SELECT pg_notify($1, $2)", &parameters);
        bounded(say).await?;
        let heard = async {
            while let Some(heard) = listener.hear().await {
                if heard == mark {
                    return Ok(());
                }
            }
            Err(anyhow!("the session that listens has ended"))
        };
        match timeout(PATIENCE, heard).await {
            Ok(heard) => heard,
            Err(_) => Err(Deaf.into()),
        }
    }

    /// Looks again and again, for `pause`, over the pool.
    async fn poll(
        &self,
        pause: Duration,
        known: &mut Known,
        changed: &(impl Fn(Option<&str>) + Sync),
    ) {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            sleep(POLL).await;
            // That the database is away is said elsewhere.
            if let Ok(client) = self.rows.client().await
                && let Err(error) = self.look(&client, known, changed).await
            {
                debug!("{error:#}");
            }
        }
    }

    /// Loads the proofs, and tells which certificates are others than before.
    async fn look(
        &self,
        client: &Client,
        known: &mut Known,
        changed: &(impl Fn(Option<&str>) + Sync),
    ) -> anyhow::Result<()> {
        const SELECT: &str = "SELECT name, serial FROM acme_certificates WHERE directory = $1";
        let (ids, proofs) = bounded(proofs::all(client, self.rows.directory())).await?;
        self.challenges.share(&proofs);
        bounded(proofs::seen(client, &ids)).await?;
        let directory: Typed<'_> = (&self.rows.directory(), Type::TEXT);
        let rows = bounded(client.query_typed(SELECT, &[directory])).await?;
        let now: Known = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
        for (name, serial) in &now {
            if known.get(name) != Some(serial) {
                changed(Some(name));
            }
        }
        *known = now;
        Ok(())
    }
}

/// Why listening is of no use.
#[derive(Debug, thiserror::Error)]
#[error(
    "notifications of PostgreSQL do not arrive; does database.url lead through PgBouncer in transaction mode? Name PostgreSQL itself, or a pool in session mode"
)]
struct Deaf;

async fn bounded<T>(
    question: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> anyhow::Result<T> {
    let answer = timeout(PATIENCE, question).await;
    let answer = answer.context("the database does not answer")?;
    answer.map_err(|error| unusable(&error))
}
