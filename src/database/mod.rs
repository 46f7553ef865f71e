//! The database: always PostgreSQL, reached through one pool.

use std::sync::Arc;

use deadpool_postgres::Pool;

/// A connection taken from the pool; it returns there when dropped.
///
/// Use `prepare_cached` for every statement.
pub type Client = deadpool_postgres::Client;

/// The pool and what is known about the database behind it. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    pool: Pool,
}

/// No connection could be had in time: the caller answers 503 with `Retry-After`.
#[derive(Debug, thiserror::Error)]
#[error("the database is unavailable: {reason}")]
pub struct Unavailable {
    /// For the log, never for the client.
    pub reason: String,
    /// When a new attempt makes sense; whole seconds, at least one.
    pub retry_after: std::time::Duration,
}

/// Why the app can't serve from the database yet.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// PostgreSQL doesn't answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// Migrations are still to be applied.
    #[error("the database is at version {database}, this binary needs {binary}")]
    Schema {
        /// Version of the schema in the database; 0 before the first migration.
        database: i32,
        /// Version this binary needs.
        binary: i32,
    },
}

impl NotReady {
    /// When a new attempt makes sense; whole seconds, at least one.
    #[must_use]
    pub fn retry_after(&self) -> std::time::Duration {
        std::time::Duration::from_secs(5)
    }
}

impl Database {
    /// Prepares the pool for the database at `url`. Connects to nothing yet.
    ///
    /// # Errors
    /// A URL that can't be understood.
    pub fn open(
        config: &crate::config::Database,
        url: &crate::config::Secret,
    ) -> anyhow::Result<Self> {
        let mut manager = deadpool_postgres::Config::new();
        manager.url = Some(url.reveal().to_owned());
        manager.pool = Some(deadpool_postgres::PoolConfig {
            max_size: config.pool_size,
            timeouts: deadpool_postgres::Timeouts::wait_millis(
                config.acquire_timeout.as_millis() as u64
            ),
            ..Default::default()
        });
        let pool = manager.create_pool(
            Some(deadpool_postgres::Runtime::Tokio1),
            tokio_postgres::NoTls,
        )?;
        Ok(Self {
            inner: Arc::new(Inner { pool }),
        })
    }

    /// Whether the database answers and has at least the schema this binary knows.
    ///
    /// # Errors
    /// [`NotReady`] with the reason.
    pub async fn ready(&self) -> Result<(), NotReady> {
        self.client().await.map(drop).map_err(NotReady::from)
    }
    /// A connection that was alive a moment ago, within `database.acquire_timeout`.
    ///
    /// # Errors
    /// [`Unavailable`] when the pool is exhausted or PostgreSQL can't be reached.
    pub async fn client(&self) -> Result<Client, Unavailable> {
        self.inner.pool.get().await.map_err(|error| Unavailable {
            reason: error.to_string(),
            retry_after: std::time::Duration::from_secs(5),
        })
    }
}
