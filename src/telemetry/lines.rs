//! How an event becomes a line: as its format has it, under its request's id, without secrets.

use std::fmt::{self, Write as _};
use std::sync::Arc;

use arc_swap::ArcSwap;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use super::{journal, redaction, request};
use crate::config::{LogFormat, Mask};

/// The lines of `format`, completed.
pub(super) struct Lines<F> {
    inner: F,
    format: LogFormat,
    mask: Arc<ArcSwap<Mask>>,
    marked: bool,
}

impl<F> Lines<F> {
    /// What `inner` writes must be of this `format`. `marked` lines say to the [`journal`] how urgent they
    /// are.
    pub(super) fn new(inner: F, format: LogFormat, mask: Arc<ArcSwap<Mask>>, marked: bool) -> Self {
        Self {
            inner,
            format,
            mask,
            marked,
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = String::with_capacity(256);
        self.inner
            .format_event(context, Writer::new(&mut line), event)?;
        request::with_id(|id, traced| {
            if let Some(traced) = traced {
                let trace = traced.trace().to_string();
                add(&mut line, "trace_id", &trace, self.format);
            }
            add(&mut line, "request_id", id, self.format);
        });
        if self.marked {
            writer.write_str(journal::mark(*event.metadata().level()))?;
        }
        writer.write_str(&redaction::redact(&line, &self.mask.load(), self.format))
    }
}

/// Puts `field` at the end of `line`, unless the event itself has told it.
fn add(line: &mut String, field: &str, id: &str, format: LogFormat) {
    if line.contains(field) {
        return;
    }
    let kept = line.trim_end_matches('\n');
    // Ids are made of or checked for characters that need no escape anywhere.
    match format {
        LogFormat::Text => {
            line.truncate(kept.len());
            let _ = writeln!(line, " {field}={id}");
        }
        LogFormat::Json => {
            if let Some(object) = kept.strip_suffix('}') {
                line.truncate(object.len());
                let _ = writeln!(line, ",\"{field}\":\"{id}\"}}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_a_field_like_any_other() {
        for (format, line, told) in [
            (
                LogFormat::Text,
                "INFO something a=1\n",
                "INFO something a=1 request_id=abc\n",
            ),
            (
                LogFormat::Text,
                "INFO something request_id=xyz\n",
                "INFO something request_id=xyz\n",
            ),
            (
                LogFormat::Json,
                "{\"message\":\"something\"}\n",
                "{\"message\":\"something\",\"request_id\":\"abc\"}\n",
            ),
        ] {
            let mut line = line.to_owned();
            add(&mut line, "request_id", "abc", format);
            assert_eq!(line, told);
        }
    }
}
