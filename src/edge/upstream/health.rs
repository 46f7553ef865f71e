//! Asking servers whether they are well, one task for each upstream.
//!
//! The question goes the way of requests: the same protocol, the same trust, a connection of its own.
//! Only an upstream of the configuration in force asks ([`end_checks`](Upstream::end_checks)).

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
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
    let config = upstream.upgrade().map(|upstream| upstream.config.clone());
    let Some(config) = config else { return };
    let ask = move |endpoint: Arc<Endpoint>| {
        let (connector, config) = (connector.clone(), config.clone());
        async move { ask(&connector, &config, &endpoint).await }
    };
    keep_asking_by(ask, upstream).await;
}

/// With `ask` for each question; an answer that takes its time holds up no other.
async fn keep_asking_by<A: Future<Output = Result<(), String>>>(
    ask: impl Fn(Arc<Endpoint>) -> A,
    upstream: Weak<Upstream>,
) {
    let config = upstream.upgrade().map(|upstream| upstream.config.clone());
    let Some(config) = config else { return };
    let Some(check) = &config.health else { return };
    let mut ticks = interval(check.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // Whoever owes an answer is asked again once that is there, or too late.
    let mut asked: Vec<Arc<Endpoint>> = Vec::new();
    let mut running = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some((endpoint, outcome)) = running.next() => {
                asked.retain(|other| !Arc::ptr_eq(other, &endpoint));
                judge(&config.name, check, &endpoint, outcome);
            }
            _ = ticks.tick() => {
                let Some(upstream) = upstream.upgrade() else {
                    return;
                };
                for endpoint in &upstream.endpoints.load().all {
                    if asked.iter().any(|other| Arc::ptr_eq(other, endpoint)) {
                        continue;
                    }
                    asked.push(endpoint.clone());
                    let (endpoint, within) = (endpoint.clone(), check.timeout);
                    let answer = timeout(within, ask(endpoint.clone()));
                    running.push(async move {
                        let late = |_| Err(format!("no answer within {within:?}"));
                        (endpoint, answer.await.unwrap_or_else(late))
                    });
                }
            }
        }
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
    use std::cell::Cell;
    use std::path::Path;
    use std::time::Duration;

    use super::super::Condition;
    use super::super::endpoint::tests::endpoint;
    use super::*;
    use crate::config::{Environment, ExpectedStatus, parse};

    #[tokio::test(start_paused = true)]
    async fn a_server_that_owes_an_answer_holds_up_no_other() {
        let text = "[[upstream]]\nname = \"a\"\nservers = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n\
            [upstream.health]\npath = \"/\"\ninterval = \"1s\"\ntimeout = \"5s\"";
        let config = parse(text, Path::new("/"), &Environment::empty()).unwrap();
        let upstream = Upstream::following(&config.upstreams["a"], None).unwrap();
        let asked = [Cell::new(0), Cell::new(0)];
        let ask = |endpoint: Arc<Endpoint>| {
            let count = &asked[endpoint.server];
            count.set(count.get() + 1);
            async move {
                if endpoint.server == 0 {
                    std::future::pending::<()>().await;
                }
                Ok(())
            }
        };
        let asking = keep_asking_by(ask, Arc::downgrade(&upstream));
        let twenty = timeout(Duration::from_millis(20_500), asking).await;
        assert!(
            twenty.is_err(),
            "it asks for as long as there is an upstream"
        );
        assert_eq!(asked[1].get(), 21, "at every second");
        // Its time is over at just the moment at which all are asked.
        let silent = asked[0].get();
        assert!((4..=5).contains(&silent), "{silent}: when its time is over");
        let conditions = upstream.facts().into_iter().map(|facts| facts.condition);
        assert_eq!(
            conditions.collect::<Vec<_>>(),
            [Condition::Unhealthy, Condition::Up]
        );
    }

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
