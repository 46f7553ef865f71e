//! OTLP over HTTP: batches of spans, as JSON, to one collector.
//!
//! Spans wait in a bounded queue for one task. A collector that is slow, away or refuses costs spans,
//! which are counted, and never a request's time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::{ClientConfig, RootCertStore};
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, timeout};

use super::Figures;
use super::span::{Span, Value, attribute};
use crate::config::{Config, Mask};
use crate::telemetry::Tally;

/// Spans that wait at most; further ones are dropped.
const QUEUE: usize = 8192;
/// Spans sent at once.
const BATCH: usize = 512;
/// How long the first of a batch waits for others.
const COLLECT: Duration = Duration::from_secs(2);
/// For one attempt, the whole answer included.
const DEADLINE: Duration = Duration::from_secs(10);
/// Before the second and the third attempt.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How long the last spans may take at the end.
const LAST: Duration = Duration::from_secs(2);
/// Bytes of the longest answer.
const MAX_ANSWER: usize = 64 * 1024;

const NAME: &str = concat!("unibody/", env!("CARGO_PKG_VERSION"));

/// A collector that is away is so for every batch.
static UNDELIVERED: Tally = Tally::new("batches of spans were not taken by telemetry.otlp", 1);

/// Where spans wait. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue {
    sender: mpsc::Sender<Item>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    sent: AtomicU64,
    dropped: AtomicU64,
}

enum Item {
    Span(Span),
    /// Everything before it is to be sent, and this told.
    Flush(oneshot::Sender<()>),
}

/// Sends to the collector at `base` from now on.
pub(super) fn start(base: &str, config: &Config) -> anyhow::Result<Queue> {
    let (sender, waiting) = mpsc::channel(QUEUE);
    let counts = Arc::new(Counts::default());
    let collector = Collector::new(base, config, counts.clone())?;
    tokio::spawn(collector.run(waiting));
    Ok(Queue { sender, counts })
}

impl Queue {
    pub(super) fn push(&self, span: Span) {
        if self.sender.try_send(Item::Span(span)).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn figures(&self) -> Figures {
        Figures {
            sent: self.counts.sent.load(Ordering::Relaxed),
            dropped: self.counts.dropped.load(Ordering::Relaxed),
        }
    }

    /// Waits until everything before is sent, for a while.
    pub(super) async fn flush(&self) {
        let (done, sent) = oneshot::channel();
        let flushed = async {
            if self.sender.send(Item::Flush(done)).await.is_ok() {
                // It is told, or there is nobody left to tell.
                let _ = sent.await;
            }
        };
        if timeout(LAST, flushed).await.is_err() {
            tracing::warn!("telemetry.otlp has not taken the last spans in time: they are lost");
        }
    }

    /// One that nobody reads.
    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        Self {
            sender: mpsc::channel(1).0,
            counts: Arc::default(),
        }
    }
}

struct Collector {
    url: Uri,
    headers: HeaderMap,
    resource: serde_json::Value,
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    mask: Mask,
    counts: Arc<Counts>,
}

/// Why a batch was not taken.
struct Refusal {
    why: String,
    /// Whether it may be taken later (OTLP, "Retryable Response Codes").
    may_pass: bool,
}

impl Collector {
    fn new(base: &str, config: &Config, counts: Arc<Counts>) -> anyhow::Result<Self> {
        let telemetry = &config.telemetry;
        let url: Uri = format!("{base}/v1/traces").parse()?;
        let mut headers: HeaderMap = telemetry.headers.iter().collect();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static(NAME));
        let resource = [
            ("service.name", Value::from(telemetry.service.clone())),
            ("service.version", Value::from(env!("CARGO_PKG_VERSION"))),
            ("process.pid", Value::Number(std::process::id().into())),
        ];
        let resource: Vec<_> = resource.iter().map(attribute).collect();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(url.scheme_str() == Some("https"))?)
            .https_or_http()
            .enable_http1()
            .build();
        Ok(Self {
            url,
            headers,
            resource: json!({ "attributes": resource }),
            http: Client::builder(TokioExecutor::new()).build(connector),
            mask: config.log.mask.clone(),
            counts,
        })
    }

    /// Sends what comes until nobody can send any more.
    async fn run(self, mut waiting: mpsc::Receiver<Item>) {
        let mut spans = Vec::with_capacity(BATCH);
        while let Some(first) = waiting.recv().await {
            let flushed = collect(first, &mut waiting, &mut spans).await;
            if !spans.is_empty() {
                self.send(&spans).await;
                spans.clear();
            }
            if let Some(flushed) = flushed {
                // Whoever has asked may have gone.
                let _ = flushed.send(());
            }
        }
    }

    async fn send(&self, spans: &[Span]) {
        let body = Bytes::from(self.document(spans));
        let count = spans.len() as u64;
        let mut pauses = PAUSES.into_iter();
        let refusal = loop {
            let refusal = match self.attempt(body.clone()).await {
                Ok(rejected) => return self.count(count, rejected),
                Err(refusal) => refusal,
            };
            let Some(pause) = pauses.next().filter(|_| refusal.may_pass) else {
                break refusal;
            };
            sleep(pause).await;
        };
        self.count(count, count);
        let reason = refusal.why;
        if UNDELIVERED.count(|| reason.clone()) {
            tracing::warn!(
                spans = count,
                reason,
                "telemetry.otlp has not taken a batch of spans: they are lost"
            );
        }
    }

    fn count(&self, spans: u64, rejected: u64) {
        let rejected = rejected.min(spans);
        self.counts
            .sent
            .fetch_add(spans - rejected, Ordering::Relaxed);
        self.counts.dropped.fetch_add(rejected, Ordering::Relaxed);
    }

    /// How many spans were rejected of those that were taken.
    async fn attempt(&self, body: Bytes) -> Result<u64, Refusal> {
        let refuse = |why: String, may_pass| Refusal { why, may_pass };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.url.clone();
        *request.headers_mut() = self.headers.clone();
        let answered = async {
            let (head, body) = self.http.request(request).await?.into_parts();
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| anyhow::anyhow!(error))?.to_bytes();
            anyhow::Ok((head.status, body))
        };
        match timeout(DEADLINE, answered).await {
            Ok(Ok((status, body))) if status.is_success() => Ok(rejected(&body)),
            Ok(Ok((status, _))) => Err(refuse(format!("it answered {status}"), may_pass(status))),
            Ok(Err(error)) => Err(refuse(format!("{error:#}"), true)),
            Err(_) => {
                let why = format!("no answer within {} seconds", DEADLINE.as_secs());
                Err(refuse(why, true))
            }
        }
    }

    /// `ExportTraceServiceRequest`.
    fn document(&self, spans: &[Span]) -> Vec<u8> {
        let spans: Vec<_> = spans.iter().map(|span| span.to_json(&self.mask)).collect();
        let scope = json!({ "name": "unibody", "version": env!("CARGO_PKG_VERSION") });
        let document = json!({
            "resourceSpans": [{
                "resource": self.resource,
                "scopeSpans": [{ "scope": scope, "spans": spans }],
            }]
        });
        document.to_string().into_bytes()
    }
}

/// Takes from `waiting` what comes within a while, at most a batch; whom to tell when it is sent.
async fn collect(
    first: Item,
    waiting: &mut mpsc::Receiver<Item>,
    spans: &mut Vec<Span>,
) -> Option<oneshot::Sender<()>> {
    let mut next = Some(first);
    let over = sleep(COLLECT);
    tokio::pin!(over);
    while let Some(item) = next {
        match item {
            Item::Span(span) => spans.push(span),
            Item::Flush(done) => return Some(done),
        }
        if spans.len() >= BATCH {
            return None;
        }
        next = tokio::select! {
            biased;
            item = waiting.recv() => item,
            () = &mut over => None,
        };
    }
    None
}

fn tls(is_needed: bool) -> anyhow::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if is_needed {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(
            !roots.is_empty(),
            "the system knows no root certificates: install ca-certificates"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context("no version of TLS is available")?;
    Ok(tls.with_root_certificates(roots).with_no_client_auth())
}

/// Those that it pays to send again.
fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

/// `partialSuccess.rejectedSpans` of an answer, a number or its text.
fn rejected(answer: &[u8]) -> u64 {
    let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_default();
    let rejected = &answer["partialSuccess"]["rejectedSpans"];
    let text = rejected.as_str().and_then(|text| text.parse().ok());
    rejected.as_u64().or(text).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::context::Context as Trace;
    use super::super::span::Kind;
    use super::*;

    fn span() -> Span {
        let context = Trace::root(|_| true);
        Span {
            trace: context.trace,
            id: context.span,
            parent: None,
            name: "work".into(),
            kind: Kind::Internal,
            started: SystemTime::now(),
            ended: SystemTime::now(),
            attributes: Vec::new(),
            failed: false,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_bounded_and_waits_no_longer_than_told() {
        let (sender, mut waiting) = mpsc::channel(QUEUE);
        for _ in 0..BATCH + 2 {
            sender.try_send(Item::Span(span())).unwrap();
        }
        let mut spans = Vec::new();
        for (expected, least, why) in [
            (BATCH, Duration::ZERO, "it is full"),
            (2, COLLECT, "its time is over"),
        ] {
            let begin = tokio::time::Instant::now();
            let first = waiting.recv().await.unwrap();
            assert!(
                collect(first, &mut waiting, &mut spans).await.is_none(),
                "{why}"
            );
            assert_eq!(spans.len(), expected, "{why}");
            assert!(begin.elapsed() >= least, "{why}");
            spans.clear();
        }
    }

    #[tokio::test]
    async fn what_finds_no_room_is_counted() {
        let (sender, _waiting) = mpsc::channel(1);
        let queue = Queue {
            sender,
            counts: Arc::default(),
        };
        for _ in 0..3 {
            queue.push(span());
        }
        assert_eq!(queue.figures().dropped, 2);
    }

    #[test]
    fn rejected_spans_are_read_in_both_forms() {
        for (answer, count) in [
            (
                r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#,
                3,
            ),
            (r#"{"partialSuccess":{"rejectedSpans":3}}"#, 3),
            (r#"{"partialSuccess":{}}"#, 0),
            ("{}", 0),
            ("", 0),
            ("not JSON", 0),
        ] {
            assert_eq!(rejected(answer.as_bytes()), count, "{answer}");
        }
    }
}
