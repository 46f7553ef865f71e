//! What PostgreSQL's errors mean to a client, and how much of them the log may know.

use std::error::Error as _;
use std::fmt::Write as _;

use tokio_postgres::error::{Severity, SqlState};

use super::problem::{self, Problem};
use crate::database::Unavailable;

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum StoreError {
    /// No note has this id, or no longer.
    #[error("no such note")]
    Missing,
    /// The note isn't in a state that the preconditions allow.
    #[error("a precondition failed")]
    Precondition,
    /// No connection was to be had.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// PostgreSQL refused, or went away in the middle.
    #[error("{}", explain(.0))]
    Sql(#[from] tokio_postgres::Error),
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Missing => Self::no_such_note(),
            StoreError::Precondition => Self::precondition_failed(),
            StoreError::Unavailable(unavailable) => Self::unavailable(unavailable.retry_after)
                .with_cause(problem::Loudness::KnownOutage, error.to_string()),
            StoreError::Sql(sql) if may_pass(sql) => Self::unavailable(problem::RETRY_SOON)
                .with_cause(problem::Loudness::Outage, error.to_string()),
            StoreError::Sql(_) => Self::internal(error.to_string()),
        }
    }
}

impl StoreError {
    /// Whether the connection that it came over is of no more use.
    pub(super) fn spoils_connection(&self) -> bool {
        match self {
            Self::Missing | Self::Precondition => false,
            Self::Unavailable(_) => true,
            Self::Sql(error) => spoils_connection(error),
        }
    }
}

/// Whether no statement after this one can do better on the same connection: PostgreSQL closes it
/// after anything FATAL, and one that became a replica stays one.
fn spoils_connection(error: &tokio_postgres::Error) -> bool {
    error.as_db_error().is_none_or(|refusal| {
        matches!(
            refusal.parsed_severity(),
            Some(Severity::Fatal | Severity::Panic)
        ) || *refusal.code() == SqlState::READ_ONLY_SQL_TRANSACTION
    })
}

/// Whether the same request may well succeed a little later.
fn may_pass(error: &tokio_postgres::Error) -> bool {
    match (error.code(), error.source()) {
        (Some(code), _) => is_passing(code),
        // Not PostgreSQL's word. A connection that broke; anything else is a mistake of ours.
        (None, Some(source)) => error.is_closed() || source.is::<std::io::Error>(),
        (None, None) => error.is_closed(),
    }
}

/// The conditions of PostgreSQL (its manual, appendix A) that are of the moment.
fn is_passing(code: &SqlState) -> bool {
    // 08 connection, 53 out of resources, 57 stopped by the operator or by a timeout, 58 system
    // error. 40 is a deadlock or a serialization failure.
    let class = &code.code()[..2];
    matches!(class, "08" | "40" | "53" | "57" | "58")
        || [
            // A failover left us connected to what is a replica now.
            &SqlState::READ_ONLY_SQL_TRANSACTION,
            &SqlState::LOCK_NOT_AVAILABLE,
            // We serve before the migrations have been applied.
            &SqlState::UNDEFINED_TABLE,
            &SqlState::UNDEFINED_COLUMN,
        ]
        .contains(&code)
}

/// What the log needs. Never PostgreSQL's DETAIL line, which may quote a note.
fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        return format!("{} (SQLSTATE {})", refusal.message(), refusal.code().code());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        // Writing to a String can't fail.
        let _ = write!(text, ": {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_states_are_told_apart_by_whether_waiting_helps() {
        for (code, passes, why) in [
            ("57014", true, "statement timeout"),
            ("57P01", true, "shut down by the administrator"),
            ("57P03", true, "still starting"),
            ("53300", true, "too many connections"),
            ("53100", true, "disk full"),
            ("08006", true, "connection failure"),
            ("40001", true, "serialization failure"),
            ("40P01", true, "deadlock"),
            ("55P03", true, "lock not available"),
            ("25006", true, "read-only after a failover"),
            ("42P01", true, "not migrated yet"),
            ("42703", true, "not migrated yet"),
            ("23505", false, "unique violation"),
            ("23514", false, "check violation"),
            ("42601", false, "syntax error"),
            ("22021", false, "invalid byte sequence"),
            ("42501", false, "insufficient privilege"),
        ] {
            assert_eq!(
                is_passing(&SqlState::from_code(code)),
                passes,
                "{code}: {why}"
            );
        }
    }
}
