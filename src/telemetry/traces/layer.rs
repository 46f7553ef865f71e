//! `tracing`'s spans, told to the collector: those of a request that is sampled.
//!
//! Ours have the target `otel`, which the log never shows. Of the app and of libraries those at level
//! info or above are told. As is usual, the field `otel.name` gives a span another name, `otel.kind` says
//! whose work it is, and `otel.status_code = "ERROR"` that it failed.

use std::fmt;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, Filter};
use tracing_subscriber::registry::LookupSpan;

use super::Traced;
use super::context::SpanId;
use super::span::{Kind, Span, Value};
use crate::telemetry::request;

/// The target of our own spans.
const OURS: &str = "otel";

/// Tells of spans.
pub(in crate::telemetry) struct Spans;

/// Lets through what [`Spans`] is to tell of.
pub(in crate::telemetry) struct OfSampledRequests;

/// A span that is still open, and whom to tell of it.
struct Open {
    span: Span,
    traced: Traced,
}

impl<S> Layer<S> for Spans
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        let around = span.parent().and_then(|parent| {
            let extensions = parent.extensions();
            let open: &Open = extensions.get()?;
            Some(open.traced.below(open.span.id))
        });
        let Some(traced) = around.or_else(request::traced) else {
            return;
        };
        let started = SystemTime::now();
        let mut open = Open {
            span: Span {
                trace: traced.trace,
                id: SpanId::random(),
                parent: Some(traced.span),
                name: span.name().into(),
                kind: Kind::Internal,
                started,
                ended: started,
                attributes: Vec::new(),
                failed: false,
            },
            traced,
        };
        attributes.record(&mut open);
        span.extensions_mut().insert(open);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            values.record(open);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let open = context
            .span(&id)
            .and_then(|span| span.extensions_mut().remove::<Open>());
        if let Some(Open { mut span, traced }) = open {
            span.ended = SystemTime::now();
            traced.tracer.tell(span);
        }
    }
}

impl<S> Filter<S> for OfSampledRequests {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        may_be_told(metadata) && request::is_traced()
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if may_be_told(metadata) {
            Interest::sometimes()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::INFO)
    }
}

fn may_be_told(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && (metadata.target() == OURS || *metadata.level() <= Level::INFO)
}

impl Open {
    fn note(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("otel.name", Value::Text(name)) => self.span.name = name,
            ("otel.kind", Value::Text(kind)) => {
                self.span.kind = match kind.to_ascii_lowercase().as_str() {
                    "client" => Kind::Client,
                    "server" => Kind::Server,
                    _ => Kind::Internal,
                };
            }
            ("otel.status_code", Value::Text(code)) => {
                self.span.failed = code.eq_ignore_ascii_case("error");
            }
            (name, value) => self.span.attributes.push((name, value)),
        }
    }
}

impl Visit for Open {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.note(field, format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.note(field, value.to_owned().into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.note(field, Value::Number(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.note(
            field,
            Value::Number(i64::try_from(value).unwrap_or(i64::MAX)),
        );
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.note(field, Value::Flag(value));
    }
}
