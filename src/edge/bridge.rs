//! The bridge from the edge to the app: the one place that knows both Pingora's session and the
//! bodies of [`http`].
//!
//! Bodies stream both ways with back-pressure: the client's body is read only as fast as the handler
//! asks for it, the handler's body only as fast as the client takes it. The handler runs inside the
//! request's own task, so a client that leaves cancels it by dropping it. A handler that panics
//! costs its own request only.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, stream};
use http::{Method, Request, Response, StatusCode, Version, header};
use http_body_util::{BodyExt, StreamBody};
use pingora_core::Result;
use pingora_proxy::Session;
use tower::ServiceExt;
use tracing::Instrument;

use super::Edge;
use super::connection::farewell_of;
use super::event_stream::until_its_turn;
use super::exchange::Exchange;
use super::inflow::RequestInflow;
use super::message::content_length;
use super::outgoing::Changes;
use super::reply::{self, Answer, Body, Inflow};
use crate::measure::spent;

/// Hands the request to the app and its answer to the client.
pub(super) async fn answer(
    session: &mut Session,
    exchange: &mut Exchange,
    edge: &Edge,
) -> Result<()> {
    let (request, mut inflow) = request(session, exchange);
    let begun = Instant::now();
    let handler = edge.app.clone().oneshot(request);
    let handler = handler.instrument(tracing::info_span!(target: "otel", "app"));
    let handler = spent::on_database(AssertUnwindSafe(handler).catch_unwind());
    tokio::pin!(handler);
    let mut on_database = Duration::ZERO;
    let answer = loop {
        tokio::select! {
            biased;
            (response, spent) = &mut handler => {
                on_database = spent;
                match response {
                    Ok(Ok(response)) => break translate(session, response),
                    Ok(Err(never)) => match never {},
                    Err(_) => {
                        edge.panics.note(&exchange.id, "the app's handler");
                        break reply::empty(StatusCode::INTERNAL_SERVER_ERROR);
                    }
                }
            }
            done = inflow.step(session) => done?,
        }
        if inflow.is_too_large() {
            break reply::empty(StatusCode::PAYLOAD_TOO_LARGE);
        }
    };
    exchange.on_app = begun.elapsed();
    if let Some(cells) = exchange.cells() {
        cells.answered_after(exchange.on_app);
        cells.spent_on_database(on_database);
    }
    reply::send_beside(session, exchange, answer, &mut inflow).await
}

fn request(
    session: &mut Session,
    exchange: &Exchange,
) -> (Request<axum::body::Body>, RequestInflow) {
    let bodiless = session.is_body_empty();
    let peer = super::admission::peer_address(session);
    let head = session.req_header();
    let length = content_length(&head.headers);
    // HTTP/1.0 knows no interim answers (RFC 9110, section 10.1.1).
    let expects_continue =
        head.version == Version::HTTP_11 && head.headers.contains_key(header::EXPECT);
    let (inflow, body) = if bodiless {
        (RequestInflow::nothing(), axum::body::Body::empty())
    } else {
        let (inflow, body) = RequestInflow::body(exchange, length, expects_continue);
        (inflow, axum::body::Body::new(body))
    };

    let mut request = Request::new(body);
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.version_mut() = head.version;
    let mut headers = head.headers.clone();
    Changes::of(exchange, peer, &head.headers).apply_to(&mut headers);
    *request.headers_mut() = headers;
    (request, inflow)
}

fn translate(session: &Session, response: Response<axum::body::Body>) -> Answer {
    let is_head = session.req_header().method == Method::HEAD;
    let tells_length = response.headers().contains_key(header::CONTENT_LENGTH);
    let farewell = farewell_of(session);
    let (parts, body) = response.into_parts();
    let body = match http_body::Body::size_hint(&body).exact() {
        // To HEAD the router has dropped the body already; no length told is one it didn't know.
        Some(0) if is_head && !tells_length => {
            Body::Stream(StreamBody::new(stream::empty()).boxed_unsync())
        }
        Some(0) => Body::Empty,
        _ => {
            let method = &session.req_header().method;
            let head = (parts.status, &parts.headers);
            Body::Stream(until_its_turn(method, head, body, farewell.as_ref()))
        }
    };
    Response::from_parts(parts, body)
}
