//! `GET /metrics`: figures in Prometheus' text format, version 0.0.4.
//!
//! Labels are bounded: whatever is in them stands in the configuration, or here.

mod backup;
mod connections;
mod database;
mod exposition;
mod process;
mod requests;

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;

use self::exposition::Exposition;
use super::Subject;
use super::reload::History;
use super::status::{self, Certificate, Upstream, UpstreamServer};
use crate::edge::Figures;
use crate::edge::cache::CacheFigures;
use crate::telemetry::Losses;

const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn answer(State(subject): State<Arc<Subject>>) -> impl IntoResponse {
    // It may take a while; everything else is of one moment.
    let database = status::database(&subject).await;
    let mut out = Exposition::default();
    process::all(&mut out, subject.started);
    configuration(&mut out, &subject.reloads.history());
    requests::all(&mut out, &subject.edge);
    connections::all(&mut out, &subject.edge);
    if let Some((state, database)) = database.zip(subject.database.as_ref()) {
        database::all(&mut out, state.ready, &database.figures());
    }
    upstreams(&mut out, &status::upstreams(&subject));
    certificates(&mut out, &status::certificates(&subject));
    out.counter(
        "unibody_certificate_task_panics_total",
        "How often what keeps certificates fresh has failed inside, and was begun anew.",
    );
    out.sample(&[], subject.certificates.panics());
    out.counter(
        "unibody_panics_total",
        "Requests that met a panic, in a handler of the app or in the edge.",
    );
    out.sample(&[], subject.edge.panics());
    log(&mut out, &subject.output.losses());
    backup::all(&mut out, status::backup(&subject).as_ref());
    policies(&mut out, &subject.edge);
    ready_answers(&mut out, &subject.edge);
    cached_answers(&mut out, &subject.edge.cached_answers().figures());
    spans(&mut out, &subject.edge);
    ([(CONTENT_TYPE, FORMAT)], out.text)
}

fn configuration(out: &mut Exposition, history: &History) {
    out.family(
        "unibody_config_loaded_timestamp_seconds",
        "When the configuration in force was loaded, in seconds since 1970.",
    );
    out.sample(&[], history.loaded.unix_timestamp());
    out.family(
        "unibody_config_last_reload_failed",
        "1 when the last reload failed, and the configuration before is in force.",
    );
    out.sample(&[], u8::from(history.last_error.is_some()));
    out.counter(
        "unibody_config_reloads_total",
        "Reloads of the configuration, by how they went.",
    );
    out.sample(&[("result", "succeeded")], history.reloads);
    out.sample(&[("result", "failed")], history.failed);
}

/// One sample for each address of each upstream's servers.
fn upstreams(out: &mut Exposition, upstreams: &[Upstream]) {
    type Value = fn(&UpstreamServer) -> u64;
    let families: [(&str, &str, &str, Value); 4] = [
        (
            "unibody_upstream_server_up",
            "gauge",
            "1 while the server gets requests, 0 while it is ejected or unhealthy.",
            |server| u64::from(server.state == "up"),
        ),
        (
            "unibody_upstream_server_running",
            "gauge",
            "Requests the server is answering.",
            |server| server.running as u64,
        ),
        (
            "unibody_upstream_server_requests_total",
            "counter",
            "Requests the server was given.",
            |server| server.requests,
        ),
        (
            "unibody_upstream_server_failures_total",
            "counter",
            "Requests the server failed to answer.",
            |server| server.failed,
        ),
    ];
    for (family, kind, help, value) in families {
        out.begin(family, help, kind);
        for upstream in upstreams {
            for server in &upstream.servers {
                let labels = [
                    ("upstream", upstream.name.as_str()),
                    ("server", server.address.as_str()),
                ];
                out.sample(&labels, value(server));
            }
        }
    }
}

/// One sample for each certificate, under the first of its names; none where there is nothing to tell.
fn certificates(out: &mut Exposition, certificates: &[Certificate]) {
    type Value = fn(&Certificate) -> Option<i64>;
    let families: [(&str, &str, Value); 4] = [
        (
            "unibody_certificate_stored_expiry_timestamp_seconds",
            "When the certificate in storage expires, in seconds since 1970.",
            |certificate| Some(certificate.stored.as_ref()?.not_after.unix_timestamp()),
        ),
        (
            "unibody_certificate_served_expiry_timestamp_seconds",
            "When the certificate that a handshake got expires, in seconds since 1970.",
            |certificate| Some(certificate.served.as_ref()?.not_after.unix_timestamp()),
        ),
        (
            "unibody_certificate_next_attempt_timestamp_seconds",
            "When the certificate is ordered next, or may be, in seconds since 1970.",
            |certificate| Some(certificate.next_attempt?.unix_timestamp()),
        ),
        (
            "unibody_certificate_last_error",
            "1 when the last attempt to renew or reload the certificate failed.",
            |certificate| Some(i64::from(certificate.last_error.is_some())),
        ),
    ];
    for (family, help, value) in families {
        out.family(family, help);
        for certificate in certificates {
            if let Some(value) = value(certificate) {
                out.sample(&[("name", name(certificate))], value);
            }
        }
    }
}

fn log(out: &mut Exposition, losses: &Losses) {
    out.counter(
        "unibody_log_lines_lost_total",
        "Lines of the log that were lost: not read fast enough, or not taken by the system.",
    );
    out.sample(&[("reason", "unread")], losses.unread);
    out.sample(&[("reason", "unwritten")], losses.unwritten);
}

fn policies(out: &mut Exposition, edge: &Figures) {
    out.counter(
        "unibody_rate_limit_refused_total",
        "Requests that a rate limit has answered with 429.",
    );
    for (name, count) in edge.refused_by_rate_limits() {
        out.sample(&[("limit", &name)], count);
    }
}

fn ready_answers(out: &mut Exposition, edge: &Figures) {
    out.family(
        "unibody_ready_answers_bytes",
        "Memory that such answers take, of server.ready_answers.",
    );
    out.sample(&[], edge.ready_answers_bytes());
}

fn cached_answers(out: &mut Exposition, cache: &CacheFigures) {
    out.counter(
        "unibody_cache_requests_total",
        "Requests on routes with a cache, by what has become of them.",
    );
    for (outcome, count) in &cache.requests {
        out.sample(&[("outcome", outcome)], count);
    }
    out.counter(
        "unibody_cache_evictions_total",
        "Cached answers that had to go for others.",
    );
    out.sample(&[], cache.evictions);
    out.family("unibody_cache_entries", "Cached answers.");
    out.sample(&[], cache.entries);
    out.family(
        "unibody_cache_bytes",
        "Memory that cached answers take, of server.cached_answers.",
    );
    out.sample(&[], cache.bytes);
}

fn spans(out: &mut Exposition, edge: &Figures) {
    let Some(spans) = edge.spans() else {
        return;
    };
    out.counter(
        "unibody_trace_spans_total",
        "Spans that telemetry.otlp has taken, and those that were lost.",
    );
    out.sample(&[("outcome", "sent")], spans.sent);
    out.sample(&[("outcome", "dropped")], spans.dropped);
}

/// A certificate for addresses alone has no name: its file tells it from others.
fn name(certificate: &Certificate) -> &str {
    certificate.names.first().unwrap_or(&certificate.source)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::admin::status::Held;

    #[test]
    fn what_is_known_is_told_and_what_is_not_is_left_out() {
        let held = |not_after| Held {
            serial: "0A".to_owned(),
            not_after,
        };
        let certificate = Certificate {
            names: vec!["a.test".to_owned(), "b.test".to_owned()],
            source: "acme".to_owned(),
            issuer: "CA".to_owned(),
            stored: Some(held(datetime!(2001-09-09 01:46:40 UTC))),
            served: None,
            next_attempt: None,
            last_error: Some("no \"way\"".to_owned()),
            next_step: String::new(),
        };
        let mut out = Exposition::default();
        certificates(&mut out, &[certificate]);
        let samples: Vec<_> = out
            .text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .collect();
        let expected = [
            "unibody_certificate_stored_expiry_timestamp_seconds{name=\"a.test\"} 1000000000",
            "unibody_certificate_last_error{name=\"a.test\"} 1",
        ];
        assert_eq!(samples, expected);
    }
}
