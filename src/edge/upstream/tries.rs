//! The tries of one request: which endpoints were asked, what came of it, and whether another is.
//!
//! | what failed | another endpoint is asked |
//! |---|---|
//! | the connection | for any request: nothing was sent |
//! | the first write, or an HTTP/2 server says that it has not begun | for any request |
//! | anything later, before an answer | where the method is idempotent (RFC 9110, section 9.2.2) |
//! | anything after the client has got a byte | never |
//!
//! What was read of the body until then is sent again; Pingora keeps 64 KiB of it. A body of which
//! more was sent can't be, and its request isn't.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pingora_core::{Error, ErrorSource, ErrorType, RetryType};
use pingora_proxy::Session;

use super::endpoint::Endpoint;
use super::failure::timed_out;
use super::{Told, Upstream};
use crate::telemetry::Tally;

/// Of a server that is not well, every client finds out.
static RETRIED: Tally = Tally::new("requests were sent to another server", 10);

/// The tries of one request, in their order.
#[derive(Default)]
pub(crate) struct Tries {
    upstream: Option<Arc<Upstream>>,
    all: Vec<Try>,
}

/// One endpoint that was asked.
pub(crate) struct Try {
    endpoint: Arc<Endpoint>,
    began: Instant,
    connected: Option<Duration>,
    answered: Option<Duration>,
    /// From the beginning to the end; `None` while it runs.
    took: Option<Duration>,
    /// Nothing but a kept connection failed, which the server had closed: it may be asked again.
    was_stale: bool,
    answered_flag: Option<Arc<AtomicBool>>,
}

impl Tries {
    /// `answered_flag` is set once the head of the answer is there.
    pub(super) fn begin(
        &mut self,
        upstream: &Arc<Upstream>,
        endpoint: &Arc<Endpoint>,
        answered_flag: Option<Arc<AtomicBool>>,
    ) {
        if self.upstream.is_none() {
            self.upstream = Some(upstream.clone());
        }
        endpoint.begin(upstream.config.eject_for);
        self.all.push(Try {
            endpoint: endpoint.clone(),
            began: Instant::now(),
            connected: None,
            answered: None,
            took: None,
            was_stale: false,
            answered_flag,
        });
    }

    pub(super) fn are_none(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether `endpoint` has had its chance.
    pub(super) fn include(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.all
            .iter()
            .any(|each| !each.was_stale && Arc::ptr_eq(&each.endpoint, endpoint))
    }

    /// In their order.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Try> {
        self.all.iter()
    }

    /// The endpoint that is asked now.
    pub(super) fn asked(&self) -> Option<&Endpoint> {
        self.all.last().map(|last| &*last.endpoint)
    }

    /// Which servers were asked, one after the other.
    pub(crate) fn servers(&self) -> String {
        let servers: Vec<_> = self.all.iter().map(Try::server).collect();
        servers.join(", ")
    }

    /// A new connection was made.
    pub(crate) fn connected(&mut self) {
        if let Some(last) = self.all.last_mut() {
            last.connected = Some(last.began.elapsed());
        }
    }

    /// The head of the final answer is there.
    pub(crate) fn answered(&mut self) {
        let (Some(last), Some(upstream)) = (self.all.last_mut(), &self.upstream) else {
            return;
        };
        if last.answered.is_none() {
            last.answered = Some(last.began.elapsed());
            if let Some(flag) = &last.answered_flag {
                flag.store(true, Ordering::Relaxed);
            }
            upstream.succeeded(&last.endpoint);
        }
    }

    /// How long they have taken together, the last one to the head of its answer.
    pub(crate) fn taken(&self) -> Duration {
        let each = self.all.iter();
        each.map(|each| each.answered.or(each.took).unwrap_or_default())
            .sum()
    }

    /// The request is over, and with it the last try.
    pub(crate) fn end(&mut self) {
        if let Some(last) = self.all.last_mut() {
            last.finish();
        }
    }

    /// The last try got no connection: notes it, and has `error` say whether there is another.
    pub(crate) fn not_connected(&mut self, error: &mut Error) {
        // A kept HTTP/2 connection that has ended takes no new stream: once that is nobody's failure.
        let is_first = !self.all.iter().any(|each| each.was_stale);
        let stale = is_first && *error.etype() == ErrorType::H2Error;
        let again = self.failed(error, stale);
        self.decide(error, again);
    }

    /// The last try broke: notes it, and has `error` say whether there is another.
    pub(crate) fn broke(&mut self, session: &Session, sent: Sent, error: &mut Error) {
        // By the client, or by us: no server can help.
        if *error.esource() != ErrorSource::Upstream {
            error.set_retry(false);
            return;
        }
        // It waits for a client that takes its time.
        let is_patient =
            !sent.is_whole && (*error.etype() == ErrorType::ReadTimedout || timed_out(error));
        if is_patient {
            if let Some(last) = self.all.last_mut() {
                last.finish();
            }
            error.set_retry(false);
            return;
        }
        if self.all.last().is_some_and(|last| last.answered.is_some()) {
            // Of a WebSocket's end nobody knows who has wanted it.
            if !session.as_downstream().was_upgraded() {
                self.failed(error, false);
            }
            error.set_retry(false);
            return;
        }
        // The server says that it has not begun, or not even the head could be written.
        let untouched = match error.etype() {
            ErrorType::InvalidH2 => false,
            ErrorType::WriteError => !sent.body,
            _ => error.retry == RetryType::Decided(true),
        };
        let repeatable = session.response_written().is_none()
            && !session.as_downstream().retry_buffer_truncated()
            && (untouched || session.req_header().method.is_idempotent());
        // The server has closed while the request was on its way: that is nobody's failure.
        let stale = sent.reused && is_closed(error);
        let again = self.failed(error, stale);
        self.decide(error, again && repeatable);
    }

    /// Notes the failure of the last try; whether there is somebody left to ask.
    fn failed(&mut self, error: &Error, stale: bool) -> bool {
        let (Some(last), Some(upstream)) = (self.all.last_mut(), &self.upstream) else {
            return false;
        };
        last.finish();
        last.was_stale = stale;
        if stale {
            return true;
        }
        upstream.failed(&last.endpoint, error);
        let tried = self.all.iter().filter(|each| !each.was_stale).count();
        tried <= upstream.config.retries && upstream.has_other_than(self)
    }

    fn decide(&self, error: &mut Error, again: bool) {
        error.set_retry(again);
        let (Some(last), Some(upstream)) = (self.all.last(), &self.upstream) else {
            return;
        };
        if again && !last.was_stale {
            let (upstream, server) = (&upstream.config.name, &last.endpoint.label);
            let error = Told(error);
            if RETRIED.count(|| format!("{upstream}, {server}: {error}")) {
                tracing::warn!(upstream, server, %error, "no answer: another server is asked");
            }
        }
    }
}

/// What a try that broke had of the request.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    /// Its connection had served others before.
    pub(crate) reused: bool,
    /// Something of the body, if only its end.
    pub(crate) body: bool,
    /// The client has sent the whole request.
    pub(crate) is_whole: bool,
}

impl Try {
    /// Which server.
    pub(crate) fn server(&self) -> &str {
        &self.endpoint.label
    }

    /// When it began.
    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// `https` or `http`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.endpoint.peer.is_tls() {
            "https"
        } else {
            "http"
        }
    }

    /// To the connection; `None` where a kept one was used.
    pub(crate) fn connected(&self) -> Option<Duration> {
        self.connected
    }

    /// To the head of the final answer.
    pub(crate) fn answered(&self) -> Option<Duration> {
        self.answered
    }

    /// In all, until now where it isn't over.
    pub(crate) fn took(&self) -> Duration {
        self.took.unwrap_or_else(|| self.began.elapsed())
    }

    fn finish(&mut self) {
        if self.took.is_none() {
            self.took = Some(self.began.elapsed());
            self.endpoint.end();
        }
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Whether the connection ended without a byte of an answer, as one does that was closed meanwhile.
fn is_closed(error: &Error) -> bool {
    error.retry == RetryType::ReusedOnly || *error.etype() == ErrorType::WriteError
}
