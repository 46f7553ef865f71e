//! Asking servers whether they are well, one task for each upstream.
//!
//! The question goes the way of requests: the same protocol, the same trust, a connection of its own.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures_util::future::join_all;
use http::{Method, Uri, Version, header};
use pingora_core::connectors::http::Connector;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Upstream;
use super::endpoint::Endpoint;
use crate::config::{self, HealthCheck};

const USER_AGENT: &str = concat!("unibody/", env!("CARGO_PKG_VERSION"), " (health check)");

/// Asks every endpoint at every interval, for as long as there is an upstream.
pub(super) async fn keep_asking(upstream: Weak<Upstream>, connector: Arc<Connector>) {
    let check = upstream
        .upgrade()
        .and_then(|upstream| upstream.config.health.clone());
    let Some(check) = check else { return };
    let mut ticks = interval(check.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(upstream) = upstream.upgrade() else {
            return;
        };
        let endpoints = upstream.endpoints.load_full();
        let asked = endpoints.all.iter().map(|endpoint| async {
            let outcome =
                match timeout(check.timeout, ask(&connector, &upstream.config, endpoint)).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(format!("no answer within {:?}", check.timeout)),
                };
            judge(&upstream.config.name, &check, endpoint, outcome);
        });
        join_all(asked).await;
    }
}

/// The first answer's head; an error where it is not the one hoped for.
async fn ask(
    connector: &Connector,
    config: &config::Upstream,
    endpoint: &Endpoint,
) -> Result<(), String> {
    // Whoever calls has checked that there is one.
    let Some(check) = &config.health else {
        return Ok(());
    };
    let request = request(config, check, endpoint).map_err(|error| error.to_string())?;
    let answered = async {
        let (mut session, _) = connector.get_http_session(&endpoint.peer).await?;
        session.write_request_header(request).await?;
        session.finish_request_body().await?;
        loop {
            session.read_response_header().await?;
            // Both kinds of session have a head once it is read.
            let status = session.response_header().map(|head| head.status);
            if let Some(status) = status.filter(|status| !status.is_informational()) {
                session.shutdown().await;
                return Ok(status);
            }
        }
    };
    let status = answered
        .await
        .map_err(|error: Box<pingora_core::Error>| error.to_string())?;
    if check.status.is_met_by(status) {
        Ok(())
    } else {
        Err(format!("it answered {status}"))
    }
}

fn request(
    config: &config::Upstream,
    check: &HealthCheck,
    endpoint: &Endpoint,
) -> pingora_core::Result<Box<RequestHeader>> {
    let mut request = RequestHeader::build(Method::GET, check.path.as_bytes(), None)?;
    let host = match check.host.as_ref().or(config.host.as_ref()) {
        Some(host) => host.clone(),
        None => endpoint.own_name(config),
    };
    request.insert_header(header::USER_AGENT, USER_AGENT)?;
    if is_http2(&endpoint.peer) {
        let uri = Uri::builder()
            .scheme(if endpoint.peer.is_tls() {
                "https"
            } else {
                "http"
            })
            .authority(host.as_bytes())
            .path_and_query(check.path.as_str())
            .build();
        if let Ok(uri) = uri {
            request.set_uri(uri);
        }
        request.set_version(Version::HTTP_2);
    } else {
        request.insert_header(header::HOST, host)?;
        request.insert_header(header::CONNECTION, "close")?;
    }
    Ok(Box::new(request))
}

fn is_http2(peer: &HttpPeer) -> bool {
    peer.options.alpn.get_min_http_version() == 2
}

fn judge(upstream: &str, check: &HealthCheck, endpoint: &Endpoint, outcome: Result<(), String>) {
    let believed = endpoint.is_unhealthy();
    let streak = endpoint.streak();
    if outcome.is_err() == believed {
        streak.store(0, Ordering::Relaxed);
        return;
    }
    let needed = if believed {
        check.healthy_after
    } else {
        check.unhealthy_after
    };
    if streak.fetch_add(1, Ordering::Relaxed) + 1 < needed {
        return;
    }
    streak.store(0, Ordering::Relaxed);
    endpoint.set_unhealthy(!believed);
    let server = &endpoint.label;
    match outcome {
        Ok(()) => tracing::info!(upstream, server, "healthy again: it gets requests"),
        Err(reason) => {
            tracing::warn!(upstream, server, reason, "unhealthy: it gets no requests");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::endpoint::tests::endpoint;
    use super::*;
    use crate::config::ExpectedStatus;

    #[test]
    fn a_belief_changes_after_enough_answers_in_a_row() {
        let check = HealthCheck {
            path: "/".to_owned(),
            host: None,
            status: ExpectedStatus::Class(2),
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            unhealthy_after: 3,
            healthy_after: 2,
        };
        let endpoint = endpoint("127.0.0.1:1", 1);
        // One letter an answer, and whether it is believed to be healthy then.
        for (answers, healthy) in [
            ("+", true),
            ("--", true),
            ("+", true),
            ("--", true),
            ("-", false),
            ("+", false),
            ("-", false),
            ("+", false),
            ("+", true),
            ("---", false),
        ] {
            for answer in answers.chars() {
                let outcome = match answer {
                    '+' => Ok(()),
                    _ => Err("it answered 500".to_owned()),
                };
                judge("a", &check, &endpoint, outcome);
            }
            assert_eq!(endpoint.is_in(), healthy, "{answers}");
        }
    }
}
