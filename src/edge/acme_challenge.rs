//! `http-01`: what a CA asks for to see that a name leads here (RFC 8555, section 8.3).
//!
//! It is the first step of every request: the CA comes over plain HTTP, for a name that may be new,
//! and follows neither this server's redirects nor its routes.

use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};

use super::host_name::HostName;
use super::reply::{self, Answer, Body};
use crate::certificates::acme::Challenges;

/// Where a CA asks.
const PREFIX: &str = "/.well-known/acme-challenge/";

/// The answer to a CA; `None` when the request is none of a CA's. `authority` is the host it asked for.
pub(super) async fn answer(
    challenges: &Challenges,
    method: &Method,
    path: &str,
    authority: Option<&str>,
) -> Option<Answer> {
    let token = path.strip_prefix(PREFIX)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = reply::empty(StatusCode::METHOD_NOT_ALLOWED);
        let allow = HeaderValue::from_static("GET, HEAD");
        refused.headers_mut().insert(header::ALLOW, allow);
        return Some(refused);
    }
    let host = authority.and_then(|authority| HostName::parse(authority).ok());
    let proof = match host {
        Some(host) => challenges.http_anywhere(&host.name, token).await,
        None => None,
    };
    let Some(proof) = proof else {
        return Some(reply::empty(StatusCode::NOT_FOUND));
    };
    let mut answer = Answer::new(Body::Full(Bytes::from(proof)));
    let headers = answer.headers_mut();
    let binary = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, binary);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_ca_gets_the_proof_for_the_name_it_asks_for_and_nobody_gets_more() {
        let challenges = Arc::new(Challenges::default());
        let _offer = challenges.offer_http("a.test", "token", "token.thumbprint");
        let table = [
            (
                "GET",
                "/.well-known/acme-challenge/token",
                Some("a.test"),
                Some(200),
            ),
            (
                "HEAD",
                "/.well-known/acme-challenge/token",
                Some("a.test"),
                Some(200),
            ),
            (
                "GET",
                "/.well-known/acme-challenge/token",
                Some("A.test:80"),
                Some(200),
            ),
            (
                "GET",
                "/.well-known/acme-challenge/token",
                Some("b.test"),
                Some(404),
            ),
            ("GET", "/.well-known/acme-challenge/token", None, Some(404)),
            (
                "GET",
                "/.well-known/acme-challenge/other",
                Some("a.test"),
                Some(404),
            ),
            (
                "GET",
                "/.well-known/acme-challenge/",
                Some("a.test"),
                Some(404),
            ),
            (
                "POST",
                "/.well-known/acme-challenge/token",
                Some("a.test"),
                Some(405),
            ),
            ("GET", "/.well-known/acme-challenge", Some("a.test"), None),
            ("GET", "/", Some("a.test"), None),
        ];
        for (method, path, host, expected) in table {
            let method = method.parse().unwrap();
            let answer = answer(&challenges, &method, path, host).await;
            let status = answer.map(|answer| answer.status().as_u16());
            assert_eq!(status, expected, "{method} {path} {host:?}");
        }
    }
}
