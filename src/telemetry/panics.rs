//! A panic is a line like any other.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::PanicHookInfo;

use super::Tally;

/// A handler that panics does so whenever somebody asks it to.
static PANICS: Tally = Tally::new("panics", 20);

/// Logs a panic; `RUST_BACKTRACE=1` adds where it came from.
pub(super) fn log(panic: &PanicHookInfo<'_>) {
    let location = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("not a text");
    if !PANICS.count(|| format!("{location}: {message}")) {
        return;
    }
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!(location, message, %backtrace, "panic");
    } else {
        tracing::error!(location, message, "panic");
    }
}
