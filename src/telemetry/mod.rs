//! What the program says while it runs: one stream of lines on stdout.
//!
//! 1. An event of `tracing`, ours or a library's, passes the [level](Logging), which can be changed while
//!    the server runs.
//! 2. It becomes a line ([`lines`]): under the id of the [`request`] it belongs to, and without what
//!    must not be seen ([`redaction`]). [`panics`] become lines as well.
//! 3. [`output`] writes it, where systemd's [`journal`] reads with a mark that says how urgent it is; what
//!    could not be written is counted ([`losses`]).
//!
//! [`traces`] go elsewhere. What anybody outside can make happen as often as they like is [counted](Tally) and told at most once
//! a minute.

mod journal;
mod level;
mod lines;
mod losses;
mod output;
mod panics;
mod redaction;
pub mod request;
mod tally;
pub mod traces;

use std::sync::Arc;

use anyhow::anyhow;
use arc_swap::ArcSwap;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, reload};

use crate::config::{Config, LogFormat, Mask};

pub use journal::last_words;
pub use level::{Level, Logging};
pub use losses::Losses;
pub use output::Output;
pub use tally::Tally;

use lines::Lines;
use traces::{OfSampledRequests, Spans};

/// `text` of somebody else's, or with words of somebody else's in it, without what must not be seen: for
/// whoever shows it beside the log.
#[must_use]
pub fn redacted(text: &str, mask: &Mask) -> String {
    redaction::redact(text, mask, LogFormat::Text).into_owned()
}

/// `mistakes` of a configuration, as [`Mistakes`](crate::config::Mistakes) shows them, without what must not
/// be seen.
#[must_use]
pub fn redacted_mistakes(mistakes: &str, mask: &Mask) -> String {
    redaction::redact_mistakes(mistakes, mask).into_owned()
}

/// Sends `tracing` events, and those of libraries that use `log`, to `output`.
///
/// # Errors
/// `log.level` is no filter, or logging was started before.
pub fn start(config: &Config, output: &Output) -> anyhow::Result<Logging> {
    let log = &config.log;
    // Without a collector no span is ever made.
    let spans = config.telemetry.otlp.as_ref();
    let spans = spans.map(|_| Spans.with_filter(OfSampledRequests));
    let mask = Arc::new(ArcSwap::from_pointee(log.mask.clone()));
    let (filter, handle) = reload::Layer::new(level::filter(&log.level)?);
    let marked = journal::reads_stdout();
    let layer = tracing_subscriber::fmt::layer().with_ansi(false);
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match log.format {
        LogFormat::Text => {
            let format = tracing_subscriber::fmt::format().with_target(false);
            let lines = Lines::new(
                format.with_ansi(false),
                log.format,
                Arc::clone(&mask),
                marked,
            );
            layer
                .event_format(lines)
                .with_writer(output.clone())
                .boxed()
        }
        LogFormat::Json => {
            let format = tracing_subscriber::fmt::format().json().flatten_event(true);
            let lines = Lines::new(format, log.format, Arc::clone(&mask), marked);
            layer
                .fmt_fields(JsonFields::new())
                .event_format(lines)
                .with_writer(output.clone())
                .boxed()
        }
    };
    tracing_subscriber::registry()
        .with(layer.with_filter(filter))
        .with(spans)
        .try_init()
        .map_err(|error| anyhow!("cannot start logging: {error}"))?;
    std::panic::set_hook(Box::new(panics::log));
    Ok(Logging::new(handle, mask, &log.level))
}
