//! The pool: how many connections, for how long, and the proof of life before one is lent.
//!
//! A connection that comes back is lent again only if it is open, younger than
//! `database.max_lifetime`, and alive: it answered an empty query just now, the cheapest round trip
//! PostgreSQL knows (no parsing, no snapshot, no transaction, and PgBouncer passes it on). What
//! closes a connection is noticed without it; the query is for what closes nothing: a host that
//! vanished, a firewall that forgot, a statement that an abandoned request left running.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Metrics, Pool, PoolError,
    RecyclingMethod, Runtime, TimeoutType,
};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_postgres::Config;

use super::connect::{self, Connector};
use crate::config;

/// How long the proof may take before the connection is taken for dead.
const CHECK_LIMIT: Duration = Duration::from_secs(1);

/// The same, after another connection failed it: what ended that one (a failover, a cut cable) may
/// have ended them all, and one request waits for the proof of each in turn.
const SUSPICIOUS_LIMIT: Duration = Duration::from_millis(100);

/// Between two rounds that close connections nobody asks for.
const SWEEP: Duration = Duration::from_secs(30);

/// Why the pool gave no connection.
pub(super) enum Refusal {
    /// All are in use.
    Exhausted,
    /// PostgreSQL gave none; the reason is for the log.
    Unreachable(String),
}

/// A pool of at most `size` connections to `target`.
pub(super) fn build(
    runtime: &Handle,
    connector: &Connector,
    target: Config,
    config: &config::Database,
    size: usize,
) -> anyhow::Result<Pool> {
    let vitality = Arc::new(Vitality {
        max_lifetime: config.max_lifetime,
        suspicious: AtomicBool::new(false),
    });
    let keeper = Arc::clone(&vitality);
    let manager = Manager::from_connect(
        target,
        connector.clone(),
        ManagerConfig {
            recycling_method: RecyclingMethod::Fast,
        },
    );
    let pool = Pool::builder(manager)
        .max_size(size)
        .wait_timeout(Some(config.acquire_timeout))
        .create_timeout(Some(config.acquire_timeout))
        .recycle_timeout(Some(CHECK_LIMIT))
        .runtime(Runtime::Tokio1)
        // The last one back goes out first: few connections stay warm and the others grow old.
        .queue_mode(deadpool_postgres::QueueMode::Lifo)
        .pre_recycle(Hook::async_fn(move |client, metrics| {
            let vitality = Arc::clone(&vitality);
            Box::pin(async move { vitality.prove(client, metrics).await })
        }))
        .build()
        .context("the database pool can't be built")?;

    let weak = pool.weak();
    runtime.spawn(async move {
        loop {
            tokio::time::sleep(SWEEP).await;
            let Some(pool) = weak.upgrade() else { return };
            pool.retain(|client, metrics| !client.is_closed() && !keeper.is_old(&metrics));
        }
    });
    Ok(pool)
}

impl From<PoolError> for Refusal {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Timeout(TimeoutType::Wait) => Self::Exhausted,
            PoolError::Timeout(_) => Self::Unreachable("no answer to a connection attempt".into()),
            PoolError::Backend(error) => Self::Unreachable(connect::explain(&error)),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// Decides whether a connection may be lent again.
struct Vitality {
    max_lifetime: Duration,
    /// The last proof failed.
    suspicious: AtomicBool,
}

impl Vitality {
    async fn prove(&self, client: &ClientWrapper, metrics: &Metrics) -> Result<(), HookError> {
        if client.is_closed() {
            return Err(HookError::message("closed"));
        }
        if self.is_old(metrics) {
            return Err(HookError::message("too old"));
        }
        let limit = if self.suspicious.load(Ordering::Relaxed) {
            SUSPICIOUS_LIMIT
        } else {
            CHECK_LIMIT
        };
        let proof = timeout(limit, client.simple_query("")).await;
        self.suspicious.store(proof.is_err(), Ordering::Relaxed);
        match proof {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(HookError::Backend(error)),
            Err(_) => Err(HookError::message("no answer")),
        }
    }

    /// Whether its time is over. Up to a tenth is taken off, different for each connection, so that
    /// those made together are not replaced together.
    fn is_old(&self, metrics: &Metrics) -> bool {
        let age = metrics.age();
        if age < self.max_lifetime.mul_f64(0.9) {
            return false;
        }
        // The instant of its birth serves as the connection's own number.
        let mut hasher = std::hash::DefaultHasher::new();
        std::hash::Hash::hash(&metrics.created, &mut hasher);
        #[allow(clippy::cast_precision_loss)] // ten bits are exact
        let share = (std::hash::Hasher::finish(&hasher) % 1024) as f64 / 10240.0;
        age >= self.max_lifetime.mul_f64(1.0 - share)
    }
}
