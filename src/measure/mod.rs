//! Counting that keeps nobody waiting: what every room counts with, and reads as plain values.
//!
//! - A count is an [`AtomicU64`](std::sync::atomic::AtomicU64), added to with relaxed ordering: each
//!   is exact, and no two are read at the same instant.
//! - A [`Histogram`] sorts times into buckets whose bounds are fixed; [`Latencies`] are what was read
//!   of it.
//! - What a task [spends](spent) on the database is told to whoever runs it.
//! - What each request adds to is [`Sharded`]: cores would take one cache line from each other.
//!
//! Nothing here takes a lock or memory once it is made. Crates that do the same were looked at:
//! `prometheus-client` locks a histogram for each observation, and `metrics` looks names up or keeps
//! every observation until somebody asks.

mod histogram;
mod sharded;
pub mod spent;

pub use self::histogram::{Histogram, Latencies};
pub(crate) use self::sharded::Sharded;
