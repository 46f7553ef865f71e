//! What the status says of the database.

use serde::{Deserialize, Serialize};

use super::count;
use crate::admin::Subject;
use crate::database::Database;

/// Whether the app can serve from the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseState {
    /// It answers, and its schema is current.
    pub ready: bool,
    /// Why it is not ready.
    pub reason: Option<String>,
    /// The app's connections to it.
    #[serde(default)]
    pub pool: Option<Pool>,
}

/// Connections to the database.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// `database.pool_size`.
    pub max: u64,
    /// Connected.
    pub open: u64,
    /// Lent to requests.
    pub in_use: u64,
    /// Requests that wait for one.
    pub waiting: u64,
}

/// Takes at most two seconds.
pub(in crate::admin) async fn database(subject: &Subject) -> Option<DatabaseState> {
    let database = subject.database.as_ref()?;
    let reason = database.ready().await.err();
    Some(DatabaseState {
        ready: reason.is_none(),
        reason: reason.map(|reason| reason.to_string()),
        pool: Some(Pool::of(database)),
    })
}

impl Pool {
    pub(in crate::admin) fn of(database: &Database) -> Self {
        let pool = database.figures();
        Self {
            max: count(pool.max),
            open: count(pool.open),
            in_use: count(pool.in_use),
            waiting: count(pool.waiting),
        }
    }
}
