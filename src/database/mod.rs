//! The database: always PostgreSQL, reached through one pool.
//!
//! 1. [`Database::open`] reads the URL ([`Target`]) and prepares TLS ([`tls`]); nothing is connected.
//! 2. [`Database::wait`] gives the server time to come up; [`migrations`] bring its schema up to date.
//! 3. [`Database::client`] lends a connection that has just proved to be alive ([`pool`]). New ones
//!    are made by [`connect`] on the runtime that opened the database, whoever asks.
//! 4. [`Database::ready`] answers readiness probes over a connection of its own, so that a busy
//!    pool does not look like a broken database.
//! 5. [`Database::listen`] and [`Database::try_lock`] take connections of their own ([`sessions`]).
//!
//! Programs of PostgreSQL's that connect by themselves are found by [`client_programs`] and told
//! where to by [`libpq`].
//!
//! Without a URL, [`embedded`] runs a private server and yields the URL.

pub(crate) mod client_programs;
mod connect;
pub mod embedded;
mod health;
pub(crate) mod libpq;
mod meter;
pub mod migrations;
mod pool;
mod sessions;
#[cfg(test)]
pub(crate) mod testing;
mod tls;

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use deadpool_postgres::Pool;
use tokio::runtime::Handle;
use tokio::time::{timeout, timeout_at};
use tracing::Instrument;

use crate::config::database_url::Target;
use crate::config::{self, Secret};
use connect::Connector;
pub(crate) use connect::{Alone, explain};
use health::Health;
pub use health::{NotReady, Unavailable};
use meter::Meter;
pub use meter::{Client, PoolFigures};
use pool::Refusal;
pub(crate) use sessions::NO_TIME_LIMIT;
pub use sessions::{Listener, SessionLock};

/// A connection that nobody counts.
type Probe = deadpool_postgres::Client;

/// How long [`Database::ready`] may take.
const READY_LIMIT: Duration = Duration::from_secs(2);

/// For a statement and its answer on the way, beyond what PostgreSQL may take for it.
const ON_THE_WAY: Duration = Duration::from_secs(3);

/// Pauses between the attempts of [`Database::wait`]: the first, and the longest.
const WAIT_PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The pool and what is known about the database behind it. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
    meter: Arc<Meter>,
    /// One connection for readiness probes.
    probe: Pool,
    /// For the connection that migrates; shares what was learned about PgBouncer with the pools.
    connector: Connector,
    target: tokio_postgres::Config,
    /// As they were given, for who starts programs of PostgreSQL's own.
    given: (config::Database, Secret),
    acquire_timeout: Duration,
    statement_timeout: Duration,
    health: Health,
}

impl Database {
    /// Prepares the pool for the database at `url`. Connects to nothing yet.
    ///
    /// Connections live on the runtime this is called on, which must outlive every user of the pool.
    ///
    /// # Errors
    /// A URL that can't be understood, a `sslrootcert` that can't be read, or no tokio runtime. The
    /// message never contains the password.
    pub fn open(config: &config::Database, url: &Secret) -> anyhow::Result<Self> {
        let runtime =
            Handle::try_current().context("the database must be opened on a tokio runtime")?;
        let target = Target::parse(url)?;
        let postgres = connect::with_defaults(target.postgres, config.acquire_timeout);
        let connector = Connector::new(
            runtime.clone(),
            tls::connector(&target.verify)?,
            config.statement_timeout,
        );
        let pool = |size| pool::build(&runtime, &connector, postgres.clone(), config, size);
        let (pool, probe) = (pool(config.pool_size)?, pool(1)?);
        Ok(Self {
            inner: Arc::new(Inner {
                pool,
                meter: Arc::default(),
                probe,
                connector,
                target: postgres.clone(),
                given: (config.clone(), url.clone()),
                acquire_timeout: config.acquire_timeout,
                statement_timeout: config.statement_timeout,
                health: Health::new(),
            }),
        })
    }

    /// A connection that was alive a moment ago, within `database.acquire_timeout`.
    ///
    /// # Errors
    /// [`Unavailable`] when the pool is exhausted or PostgreSQL can't be reached.
    pub async fn client(&self) -> Result<Client, Unavailable> {
        let begun = Instant::now();
        let lent = lend(&self.inner.pool, self.inner.acquire_timeout);
        let lent = lent
            .instrument(tracing::info_span!(target: "otel", "acquire"))
            .await;
        self.inner
            .meter
            .note(begun, lent)
            .inspect(|_| self.inner.health.answered())
            .map_err(|refusal| match refusal {
                Refusal::Exhausted => self.inner.health.exhausted(),
                Refusal::Unreachable(reason) => self.unreachable(reason),
            })
    }

    /// What the pool was asked for, and how it is.
    #[must_use]
    pub fn figures(&self) -> PoolFigures {
        self.inner.meter.read(&self.inner.pool)
    }

    /// Waits for the answer to one statement, a little longer than `database.statement_timeout`.
    ///
    /// PostgreSQL keeps that limit itself. This is for a network that has fallen silent, where its
    /// word does not arrive and the connection would look well for ever.
    ///
    /// # Errors
    /// [`Unavailable`] when there was none. Then the connection must not be lent again:
    /// `drop(Client::take(client))`.
    pub async fn answer<T>(&self, statement: impl Future<Output = T>) -> Result<T, Unavailable> {
        let limit = self.inner.statement_timeout;
        if limit.is_zero() {
            return Ok(statement.await);
        }
        timeout(limit + ON_THE_WAY, statement)
            .await
            .map_err(|_| self.unreachable("no answer to a statement".into()))
    }

    /// Whether the database answers and has at least the schema this binary knows; takes at most
    /// two seconds.
    ///
    /// A newer schema is fine here: while a newer release rolls out, older instances go on serving.
    /// (At start-up [`migrations::migrate`] refuses it.)
    ///
    /// # Errors
    /// [`NotReady`] with the reason.
    pub async fn ready(&self) -> Result<(), NotReady> {
        let deadline = tokio::time::Instant::now() + READY_LIMIT;
        let client = self.lend_probe(READY_LIMIT).await?;
        match timeout_at(deadline, migrations::schema_version(&client)).await {
            Ok(Ok(version)) if version >= migrations::latest() => Ok(()),
            Ok(Ok(version)) => Err(NotReady::Schema {
                database: version,
                binary: migrations::latest(),
            }),
            Ok(Err(error)) => Err(self.unreachable(connect::explain(&error)).into()),
            Err(_) => {
                // The answer may still come: the connection must not serve the next probe.
                drop(Probe::take(client));
                Err(self.unreachable("no answer to a query".into()).into())
            }
        }
    }

    /// Waits until the database answers, for at most `limit`; tries at least once.
    ///
    /// # Errors
    /// The last [`Unavailable`] when `limit` has passed.
    pub async fn wait(&self, limit: Duration) -> Result<(), Unavailable> {
        let deadline = Instant::now() + limit;
        let (mut pause, longest) = WAIT_PAUSES;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let attempt = left.clamp(READY_LIMIT, READY_LIMIT.max(self.inner.acquire_timeout));
            let Err(unavailable) = self.lend_probe(attempt).await else {
                return Ok(());
            };
            if Instant::now() + pause >= deadline {
                return Err(unavailable);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Closes every connection that nobody uses just now.
    pub(crate) fn rest(&self) {
        for pool in [&self.inner.pool, &self.inner.probe] {
            pool.retain(|_, _| false);
        }
    }

    /// The settings and the URL it was opened with.
    pub(crate) fn given(&self) -> (&config::Database, &Secret) {
        (&self.inner.given.0, &self.inner.given.1)
    }

    /// A connection outside the pool, without a statement timeout.
    pub(crate) async fn alone(&self) -> Result<Alone, Unavailable> {
        self.alone_at(&self.inner.target).await
    }

    /// The same to another database of the same server.
    pub(crate) async fn alone_in(&self, name: &str) -> Result<Alone, Unavailable> {
        self.alone_at(self.inner.target.clone().dbname(name)).await
    }

    async fn alone_at(&self, target: &tokio_postgres::Config) -> Result<Alone, Unavailable> {
        let attempt = self.inner.connector.alone(target);
        match timeout(self.inner.acquire_timeout, attempt).await {
            Ok(Ok(alone)) => {
                self.inner.health.answered();
                Ok(alone)
            }
            Ok(Err(error)) => Err(self.unreachable(connect::explain(&error))),
            Err(_) => Err(self.unreachable("no answer to a connection attempt".into())),
        }
    }

    async fn lend_probe(&self, limit: Duration) -> Result<Probe, Unavailable> {
        lend(&self.inner.probe, limit)
            .await
            .inspect(|_| self.inner.health.answered())
            .map_err(|refusal| match refusal {
                Refusal::Exhausted => self.unreachable("no answer to an earlier probe".into()),
                Refusal::Unreachable(reason) => self.unreachable(reason),
            })
    }

    fn unreachable(&self, reason: String) -> Unavailable {
        self.inner.health.unreachable(reason)
    }
}

async fn lend(pool: &Pool, limit: Duration) -> Result<Probe, Refusal> {
    match timeout(limit, pool.get()).await {
        Ok(lent) => lent.map_err(Refusal::from),
        // Connections that are being made are not counted in `size` yet.
        Err(_) if pool.status().size >= pool.status().max_size => Err(Refusal::Exhausted),
        Err(_) => Err(Refusal::Unreachable(
            "no answer to a connection attempt".into(),
        )),
    }
}

#[cfg(test)]
mod tests;
