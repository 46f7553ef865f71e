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

/// The fields that are added where an event does not have them itself.
const TRACE_ID: &str = "trace_id";
const REQUEST_ID: &str = "request_id";

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
        // Not what the line says is asked: a client can have it say anything.
        let fields = event.metadata().fields();
        let is_told = |name: &str| fields.field(name).is_some();
        request::with_id(|id, traced| {
            if let Some(traced) = traced
                && !is_told(TRACE_ID)
            {
                let trace = traced.trace().to_string();
                add(&mut line, TRACE_ID, &trace, self.format);
            }
            if !is_told(REQUEST_ID) {
                add(&mut line, REQUEST_ID, id, self.format);
            }
        });
        if self.marked {
            writer.write_str(journal::mark(*event.metadata().level()))?;
        }
        writer.write_str(&redaction::redact(&line, &self.mask.load(), self.format))
    }
}

/// Puts `field` at the end of `line`.
fn add(line: &mut String, field: &str, id: &str, format: LogFormat) {
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
    use std::io::Write;

    use parking_lot::Mutex;
    use tracing::instrument::WithSubscriber;
    use tracing_subscriber::fmt::format::{DefaultFields, JsonFields};
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::{Layer, Registry};

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// The lines of what `say` says while it answers the request `abc`.
    async fn heard(format: LogFormat, say: fn()) -> String {
        let heard = Heard::default();
        let mask = Arc::default();
        let to = heard.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || to.clone());
        let plain = tracing_subscriber::fmt::format().without_time();
        let layer: Box<dyn Layer<Registry> + Send + Sync> = match format {
            LogFormat::Text => {
                let lines = plain.with_target(false).with_ansi(false);
                let lines = Lines::new(lines, format, mask, false);
                let fields = DefaultFields::new();
                layer.fmt_fields(fields).event_format(lines).boxed()
            }
            LogFormat::Json => {
                let lines = plain.with_target(false).json().flatten_event(true);
                let lines = Lines::new(lines, format, mask, false);
                let fields = JsonFields::new();
                layer.fmt_fields(fields).event_format(lines).boxed()
            }
        };
        let answering = async {
            request::begin("abc", None);
            say();
        };
        request::scope(answering)
            .with_subscriber(Registry::default().with(layer))
            .await;
        let said = heard.0.lock().clone();
        String::from_utf8(said).unwrap().trim_start().to_owned()
    }

    #[tokio::test]
    async fn every_line_has_the_id_once() {
        let something: fn() = || tracing::info!(a = 1, "something");
        let of_another: fn() = || tracing::info!(request_id = "xyz", "something");
        let echo: fn() = || tracing::info!(uri = "/?request_id=x&trace_id=y", "something");
        for (format, say, told, why) in [
            (
                LogFormat::Text,
                something,
                "INFO something a=1 request_id=abc\n",
                "a field like any other",
            ),
            (
                LogFormat::Json,
                something,
                r#"{"level":"INFO","message":"something","a":1,"request_id":"abc"}"#,
                "in JSON, too",
            ),
            (
                LogFormat::Text,
                of_another,
                "INFO something request_id=\"xyz\"\n",
                "the event has told it itself",
            ),
            (
                LogFormat::Text,
                echo,
                "INFO something uri=\"/?request_id=x&trace_id=y\" request_id=abc\n",
                "what a client has sent is no id",
            ),
            (
                LogFormat::Json,
                echo,
                r#"{"level":"INFO","message":"something","uri":"/?request_id=x&trace_id=y","request_id":"abc"}"#,
                "in JSON, too",
            ),
        ] {
            let line = heard(format, say).await;
            assert_eq!(line.trim_end(), told.trim_end(), "{why}");
        }
    }
}
