//! The pool: how busy it is, and who waits for it.

use super::exposition::Exposition;
use crate::database::PoolFigures;

pub(super) fn all(out: &mut Exposition, is_ready: bool, pool: &PoolFigures) {
    out.family(
        "unibody_database_ready",
        "1 when the app can serve from the database.",
    );
    out.sample(&[], u8::from(is_ready));
    let gauges = [
        (
            "unibody_database_pool_max_connections",
            "The most connections the pool may have: database.pool_size.",
            pool.max,
        ),
        (
            "unibody_database_pool_connections",
            "Connections the pool has.",
            pool.open,
        ),
        (
            "unibody_database_pool_in_use",
            "Connections of the pool in use.",
            pool.in_use,
        ),
        (
            "unibody_database_pool_waiting",
            "Requests that wait for a connection of the pool.",
            pool.waiting,
        ),
    ];
    for (family, help, value) in gauges {
        out.family(family, help);
        out.sample(&[], value);
    }
    out.counter(
        "unibody_database_pool_refused_total",
        "Requests that were given no connection, by the reason.",
    );
    out.sample(&[("reason", "exhausted")], pool.exhausted);
    out.sample(&[("reason", "unreachable")], pool.unreachable);
    out.histogram(
        "unibody_database_acquire_duration_seconds",
        "How long requests have waited for the connection they were given.",
    );
    out.latencies(&[], &pool.acquire);
    out.histogram(
        "unibody_database_use_duration_seconds",
        "How long requests have kept a connection.",
    );
    out.latencies(&[], &pool.held);
}
