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
}

impl Database {
    /// A connection that was alive a moment ago, within `database.acquire_timeout`.
    ///
    /// # Errors
    /// [`Unavailable`] when the pool is exhausted or PostgreSQL can't be reached.
    pub async fn client(&self) -> Result<Client, Unavailable> {
        self.inner.pool.get().await.map_err(|error| Unavailable {
            reason: error.to_string(),
        })
    }
}
