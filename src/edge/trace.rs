//! What is told of a request to a collector of traces, by the names of OpenTelemetry's conventions for
//! HTTP: its own span, and one for each server of an upstream that was asked.
//!
//! SECURITY: only a trusted proxy continues its trace here and decides whether it is sampled. For anybody
//! else a new trace begins: who could name the trace could write into those of others, and who could
//! decide could have all of his requests recorded.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::access_log::{Line, Request};
use super::exchange::Exchange;
use super::host_name::HostName;
use super::measure::RouteCells;
use super::snapshot::Snapshot;
use super::upstream::Try;
use crate::config::Mask;
use crate::telemetry::traces::{Context, Incoming, Kind, Span, SpanId, Traced, Tracer, Value};

pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The trace of one request.
pub(crate) struct Trace {
    tracer: Tracer,
    context: Context,
    /// Whether the request continues the trace of whoever asked, whose `tracestate` goes on with it.
    continues: bool,
    /// In the order of the exchange's tries.
    tries: Vec<Asked>,
    begun: Instant,
    /// Whether the request's own span was told.
    is_told: AtomicBool,
}

/// What the exchange doesn't know of a try.
struct Asked {
    span: SpanId,
    /// Path and query as that server saw them, if they came so far.
    target: Option<String>,
    status: Option<u16>,
}

/// What a trusted proxy says of its trace.
pub(crate) fn incoming(headers: &HeaderMap) -> Option<Incoming> {
    let mut lines = headers.get_all(TRACEPARENT).iter();
    let line = lines.next()?.to_str().ok()?;
    // Of two, nobody knows which is right.
    lines.next().is_none().then(|| Incoming::parse(line))?
}

/// Tells of a request that had its answer ready.
pub(crate) fn told_of_ready(
    tracer: &Tracer,
    incoming: Option<Incoming>,
    line: &Line<'_>,
    is_https: bool,
    cells: &'static RouteCells,
    snapshot: &Snapshot,
) {
    let context = tracer.begin(incoming);
    if context.is_sampled {
        let started = Instant::now().checked_sub(line.took);
        let started = started.unwrap_or_else(Instant::now);
        let route = snapshot.path_of(cells);
        let mask = &snapshot.config.log.mask;
        tracer.tell(server_span(&context, line, started, is_https, route, mask));
    }
}

impl Trace {
    pub(crate) fn begin(tracer: &Tracer, incoming: Option<Incoming>) -> Self {
        Self {
            tracer: tracer.clone(),
            context: tracer.begin(incoming),
            continues: incoming.is_some(),
            tries: Vec::new(),
            begun: Instant::now(),
            is_told: AtomicBool::new(false),
        }
    }

    /// For what is said and done meanwhile; `None` where nothing is to be told.
    pub(crate) fn traced(&self) -> Option<Traced> {
        Traced::of(&self.tracer, &self.context)
    }

    /// Another server of an upstream is asked.
    pub(crate) fn asks(&mut self) {
        self.tries.push(Asked {
            span: SpanId::random(),
            target: None,
            status: None,
        });
    }

    /// It is asked for this.
    pub(crate) fn asks_for(&mut self, target: &str, mask: &Mask) {
        if let Some(last) = self.tries.last_mut().filter(|_| self.context.is_sampled) {
            last.target = Some(mask.covered(target));
        }
    }

    /// It has answered.
    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(last) = self.tries.last_mut() {
            last.status = Some(status);
        }
    }

    /// `traceparent` for the app, or for the server of an upstream that is being asked.
    pub(crate) fn traceparent(&self) -> HeaderValue {
        let span = self
            .tries
            .last()
            .map_or(self.context.span, |last| last.span);
        let text = self.context.traceparent(span);
        HeaderValue::try_from(text).expect("digits and hyphens")
    }

    /// Whether `tracestate` belongs to another trace than the one that goes on.
    pub(crate) fn drops_state(&self) -> bool {
        !self.continues
    }

    /// Tells of the whole exchange.
    pub(crate) fn told(&self, exchange: &Exchange, line: &Line<'_>) {
        self.is_told.store(true, Ordering::Relaxed);
        if !self.context.is_sampled {
            return;
        }
        let mask = &exchange.snapshot.config.log.mask;
        for (number, (each, asked)) in exchange.tries.iter().zip(&self.tries).enumerate() {
            self.tracer
                .tell(self.client_span(number, each, asked, line));
        }
        let route = exchange.route.as_deref();
        let route = route.map(|route| route.route().path.to_string());
        let (started, is_https) = (exchange.started, exchange.https);
        let span = server_span(&self.context, line, started, is_https, route, mask);
        self.tracer.tell(span);
    }

    /// One try, as "HTTP client span" wants it.
    fn client_span(&self, number: usize, each: &Try, asked: &Asked, line: &Line<'_>) -> Span {
        let method = method(line.request.as_ref());
        let started = at(each.began());
        let mut attributes = Vec::with_capacity(8);
        attributes.push(("http.request.method", method.clone().into()));
        match each.server().rsplit_once(':') {
            Some((host, port)) if port.parse::<u16>().is_ok() => {
                attributes.push((
                    "server.address",
                    host.trim_matches(['[', ']']).to_owned().into(),
                ));
                attributes.push(("server.port", Value::Number(port.parse().unwrap_or(0))));
            }
            _ => attributes.push(("server.address", each.server().to_owned().into())),
        }
        if let Some(target) = &asked.target {
            let url = format!("{}://{}{target}", each.scheme(), each.server());
            attributes.push(("url.full", url.into()));
        }
        if number > 0 {
            let resent = i64::try_from(number).unwrap_or(i64::MAX);
            attributes.push(("http.request.resend_count", Value::Number(resent)));
        }
        match asked.status {
            Some(status) => attributes.push(("http.response.status_code", status.into())),
            None => attributes.push(("error.type", "no answer".into())),
        }
        if let Some(status) = asked.status.filter(|status| *status >= 400) {
            attributes.push(("error.type", status.to_string().into()));
        }
        Span {
            trace: self.context.trace,
            id: asked.span,
            parent: Some(self.context.span),
            name: method.into(),
            kind: Kind::Client,
            started,
            ended: started + each.took(),
            failed: asked.status.is_none_or(|status| status >= 400),
            attributes,
        }
    }
}

impl Drop for Trace {
    /// A request that nobody came to tell of met a panic outside every handler, or was cut at the end of
    /// `server.drain`. Without its own span those below it would hang in the air.
    fn drop(&mut self) {
        if *self.is_told.get_mut() || !self.context.is_sampled {
            return;
        }
        let reason = if std::thread::panicking() {
            "panic"
        } else {
            "cut"
        };
        self.tracer.tell(Span {
            trace: self.context.trace,
            id: self.context.span,
            parent: self.context.parent,
            name: "HTTP".into(),
            kind: Kind::Server,
            started: at(self.begun),
            ended: SystemTime::now(),
            failed: true,
            attributes: vec![("error.type", reason.into())],
        });
    }
}

/// The request itself, as "HTTP server span" wants it.
fn server_span(
    context: &Context,
    line: &Line<'_>,
    started: Instant,
    is_https: bool,
    route: Option<String>,
    mask: &Mask,
) -> Span {
    let started = at(started);
    let request = line.request.as_ref();
    let method = method(request);
    let mut attributes = Vec::with_capacity(14);
    attributes.push(("http.request.method", method.clone().into()));
    attributes.push(("url.scheme", if is_https { "https" } else { "http" }.into()));
    attributes.push(("http.response.status_code", line.status.into()));
    attributes.push(("client.address", line.client.to_string().into()));
    let id = Value::Only(line.id.to_owned());
    attributes.push(("http.request.header.x-request-id", id));
    let size = i64::try_from(line.body_bytes).unwrap_or(i64::MAX);
    attributes.push(("http.response.body.size", Value::Number(size)));
    if let Some(request) = request {
        let target = mask.covered(request.target);
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        attributes.push(("url.path", path.to_owned().into()));
        if !query.is_empty() {
            attributes.push(("url.query", query.to_owned().into()));
        }
        if let Ok(host) = HostName::parse(request.host) {
            attributes.push(("server.address", host.name.into_owned().into()));
        }
        let version = request.protocol_version();
        attributes.push(("network.protocol.version", version.into()));
        let agent = request
            .user_agent
            .and_then(|agent| std::str::from_utf8(agent).ok());
        if let Some(agent) = agent {
            attributes.push(("user_agent.original", agent.to_owned().into()));
        }
    }
    let failed = line.status >= 500;
    if failed {
        attributes.push(("error.type", line.status.to_string().into()));
    }
    let name = match &route {
        Some(route) => format!("{method} {route}").into(),
        None => method.into(),
    };
    if let Some(route) = route {
        attributes.push(("http.route", route.into()));
    }
    Span {
        trace: context.trace,
        id: context.span,
        parent: context.parent,
        name,
        kind: Kind::Server,
        started,
        ended: started + line.took,
        attributes,
        failed,
    }
}

fn method(request: Option<&Request<'_>>) -> String {
    request
        .map_or("_OTHER", |request| request.method)
        .to_owned()
}

/// What the clock said at `instant`. This thread may be put aside between its looks at the two clocks:
/// of three tries the quickest counts.
fn at(instant: Instant) -> SystemTime {
    let look = || {
        let before = Instant::now();
        let now = SystemTime::now();
        (before.elapsed(), now - (before - instant))
    };
    let tries = [look(), look(), look()];
    let quickest = tries.into_iter().min_by_key(|(apart, _)| *apart);
    quickest.expect("there are three").1
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::config::{self, Environment};

    #[tokio::test]
    async fn a_request_that_nobody_came_to_tell_of_is_told_all_the_same() {
        let collector = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = collector.local_addr().unwrap();
        let text = format!(
            "[telemetry]\notlp = \"http://{address}\"\n[[route]]\npath = \"/\"\napp = true\n"
        );
        let config = config::parse(&text, Path::new("/"), &Environment::empty()).unwrap();
        let tracer = Tracer::start(&config).unwrap().unwrap();
        let [panicked, cut, done] = [(); 3].map(|()| Trace::begin(&tracer, None));
        let ids = [&panicked, &cut].map(|trace| trace.context.span.to_string());
        let outside_every_handler = AssertUnwindSafe(move || {
            let _trace = panicked;
            panic!("outside every handler");
        });
        catch_unwind(outside_every_handler).unwrap_err();
        drop(cut);
        done.is_told.store(true, Ordering::Relaxed);
        let told_already = done.context.span.to_string();
        drop(done);

        let (mut stream, _) = collector.accept().await.unwrap();
        let mut told = String::new();
        let is_all = |told: &str| ids.iter().all(|id| told.contains(id));
        while !is_all(&told) {
            let mut piece = [0; 4096];
            let read = stream.read(&mut piece).await.unwrap();
            assert_ne!(read, 0, "{told}");
            told.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        for reason in ["panic", "cut"] {
            assert!(
                told.contains(&format!("\"stringValue\":\"{reason}\"")),
                "{told}"
            );
        }
        assert!(!told.contains(&told_already), "{told}");
    }
}
