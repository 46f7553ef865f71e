//! What is answered without an upstream: the first phase of [`proxy`](super::proxy), from whoever asks to
//! the answer of the route that takes it.

use http::{StatusCode, header};
use pingora_core::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::compression::Compression;
use super::exchange::Exchange;
use super::proxy::{Proxy, has_begun};
use super::reply::{self, Answer};
use super::route::PreparedRoute;
use super::snapshot::Destination;
use super::{acme_challenge, admission, bridge};

impl Proxy {
    /// The answer to a CA that asks whether a name leads here: before hosts, redirects and routes.
    async fn answer_ca(&self, session: &Session, exchange: &Exchange) -> Option<Answer> {
        let challenges = exchange.snapshot.challenges.as_ref()?;
        let head = session.req_header();
        let authority = match head.uri.authority() {
            Some(authority) => Some(authority.as_str()),
            None => head.headers.get(header::HOST)?.to_str().ok(),
        };
        acme_challenge::answer(challenges, &head.method, head.uri.path(), authority).await
    }

    /// Answers the request, unless its route leads to an upstream.
    async fn answer(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
        route: &PreparedRoute,
    ) -> Result<bool> {
        let snapshot = exchange.snapshot.clone();
        let answer = match &snapshot.destinations[route.index()] {
            Destination::Upstream(_) => return Ok(false),
            Destination::App => {
                bridge::answer(session, exchange, &self.edge).await?;
                return Ok(true);
            }
            Destination::Files(files, fallback) => {
                let head = session.req_header();
                let rest = route.rest(head.uri.path());
                // One slash: what another one begins is an empty segment, which names no file.
                let rest = rest.strip_prefix('/').unwrap_or(rest);
                let answered = files
                    .answer(&head.method, &head.headers, &head.uri, rest)
                    .await;
                if fallback.is_some() && is_of_no_file(answered.answer.status()) {
                    return Ok(false);
                }
                exchange.freshness = answered.freshness;
                snapshot
                    .cells(route)
                    .answered_from_file(answered.is_from_memory);
                prepare_compression(session, answered.is_incompressible);
                answered.answer
            }
            Destination::Redirect(redirect) => {
                exchange.freshness = Some(redirect.freshness.clone());
                redirect.answer(&exchange.host, &session.req_header().uri)
            }
            Destination::Respond(respond) => {
                exchange.freshness = Some(respond.freshness.clone());
                respond.answer()
            }
        };
        reply::send(session, exchange, answer).await?;
        Ok(true)
    }

    /// Takes the request as far as its answer, or to an upstream.
    pub(super) async fn open(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<bool> {
        admission::open(session, exchange, self.edge.traces.as_ref());
        if let Some(answer) = self.answer_ca(session, exchange).await {
            reply::send(session, exchange, answer).await?;
            return Ok(true);
        }
        let route = match admission::admit(session, exchange).await {
            Ok(route) => route,
            Err(answer) => {
                reply::send(session, exchange, *answer).await?;
                return Ok(true);
            }
        };
        self.answer(session, exchange, &route).await
    }

    /// Answers a request that met a panic on its way.
    pub(super) async fn apologise(
        &self,
        session: &mut Session,
        exchange: &mut Exchange,
    ) -> Result<bool> {
        self.edge.panics.note(&exchange.id, "what answered");
        if has_begun(session) {
            // The client must not take what it has for the whole: no final chunk, no clean end.
            return Error::e_explain(ErrorType::InternalError, "the body broke off: a panic");
        }
        session.set_keepalive(None);
        let answer = reply::empty(StatusCode::INTERNAL_SERVER_ERROR);
        reply::send(session, exchange, answer).await?;
        Ok(true)
    }
}

/// Whether an answer of `status` says that there is no such file: no name of one, no method for one.
fn is_of_no_file(status: StatusCode) -> bool {
    [
        StatusCode::BAD_REQUEST,
        StatusCode::NOT_FOUND,
        StatusCode::METHOD_NOT_ALLOWED,
    ]
    .contains(&status)
}

/// What compression has to know of a file.
fn prepare_compression(session: &mut Session, is_incompressible: bool) {
    if let Some(compression) = session.downstream_modules_ctx.get_mut::<Compression>() {
        if is_incompressible {
            compression.disarm();
        } else {
            compression.is_of_public();
        }
    }
}
