//! Traces: which request is traced, and what is told of it to a collector.
//!
//! 1. A [`Tracer`] decides about each request, or follows who has decided before ([`context`]: W3C Trace
//!    Context). What is not sampled has ids for those behind us, and nothing else.
//! 2. The edge makes the [`Span`]s of requests and of its upstreams. `tracing`'s spans within the app and
//!    the database become spans as well ([`layer`]).
//! 3. [`exporter`] sends them by OTLP over HTTP, as JSON.

mod context;
mod exporter;
mod layer;
mod span;

use std::sync::Arc;

use anyhow::Context as _;

use crate::config::Config;

pub use context::{Context, Incoming, SpanId, TraceId};
pub(super) use layer::{OfSampledRequests, Spans};
pub use span::{Kind, Span, Value};

use exporter::Queue;

/// Decides which requests are traced, and takes their spans. Cheap to clone.
#[derive(Clone)]
pub struct Tracer(Arc<Inner>);

struct Inner {
    queue: Queue,
    /// A trace is sampled whose number is below this.
    threshold: u64,
}

/// The bits of a trace's id that are compared with the threshold: as many as are random by the standard
/// (W3C Trace Context, level 2).
const RANDOM: u32 = 56;

/// What has become of all spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Figures {
    /// Taken by the collector.
    pub sent: u64,
    /// Lost: the collector was too slow, away, or didn't want them.
    pub dropped: u64,
}

impl Tracer {
    /// Starts sending to `telemetry.otlp` of `config`; `None` where there is none. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// The system has no root certificates for a collector behind HTTPS.
    pub fn start(config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(base) = &config.telemetry.otlp else {
            return Ok(None);
        };
        let queue = exporter::start(base, config).context("telemetry.otlp cannot be used")?;
        Ok(Some(Self::new(queue, config.telemetry.sample)))
    }

    fn new(queue: Queue, sample: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a part of 2^56, 0 to 1"
        )]
        let threshold = (sample * (1_u64 << RANDOM) as f64) as u64;
        Self(Arc::new(Inner { queue, threshold }))
    }

    /// The trace of a request that came with `incoming`, which must be somebody's who may decide.
    #[must_use]
    pub fn begin(&self, incoming: Option<Incoming>) -> Context {
        match incoming {
            Some(incoming) => incoming.child(),
            None => Context::root(|trace| trace.random_part(RANDOM) < self.0.threshold),
        }
    }

    /// Hands a finished span over. Never waits.
    pub fn tell(&self, span: Span) {
        self.0.queue.push(span);
    }

    /// What has become of all spans so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.0.queue.figures()
    }

    /// Waits until everything is sent, for at most two seconds.
    pub async fn flush(&self) {
        self.0.queue.flush().await;
    }
}

/// A request that is sampled, as whoever works for it knows it. Cheap to clone.
#[derive(Clone)]
pub struct Traced {
    tracer: Tracer,
    trace: TraceId,
    span: SpanId,
}

impl Traced {
    /// The request's own span; `None` where its trace is not sampled.
    #[must_use]
    pub fn of(tracer: &Tracer, context: &Context) -> Option<Self> {
        context.is_sampled.then(|| Self {
            tracer: tracer.clone(),
            trace: context.trace,
            span: context.span,
        })
    }

    /// The same below another span.
    fn below(&self, span: SpanId) -> Self {
        Self {
            span,
            ..self.clone()
        }
    }

    /// Its trace.
    pub(super) fn trace(&self) -> TraceId {
        self.trace
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn as_many_are_sampled_as_is_asked_for() {
        for (sample, least, most) in [(0.0, 0, 0), (1.0, 4000, 4000), (0.25, 800, 1200)] {
            let tracer = Tracer::new(Queue::nowhere(), sample);
            let sampled = (0..4000).filter(|_| tracer.begin(None).is_sampled).count();
            assert!((least..=most).contains(&sampled), "{sample}: {sampled}");
        }
    }

    #[tokio::test]
    async fn who_has_decided_before_is_followed() {
        for (header, sampled) in [
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                true,
            ),
            (
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
                false,
            ),
        ] {
            let tracer = Tracer::new(Queue::nowhere(), 1.0 - f64::from(u8::from(sampled)));
            let context = tracer.begin(Incoming::parse(header));
            assert_eq!(context.is_sampled, sampled);
            assert_eq!(
                context.trace.to_string(),
                "0af7651916cd43dd8448eb211c80319c"
            );
            let parent = context.parent.map(|parent| parent.to_string());
            assert_eq!(parent.as_deref(), Some("b7ad6b7169203331"));
            assert_ne!(context.span.to_string(), "b7ad6b7169203331");
        }
    }
}
