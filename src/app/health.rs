//! What others ask to learn whether we serve, and what.

use axum::Json;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, RETRY_AFTER};
use http::{HeaderName, StatusCode};
use serde_json::json;

use super::State;
use super::problem::seconds;
use crate::database::NotReady;

/// Yesterday's health is of no use.
const NEVER_KEPT: [(HeaderName, &str); 1] = [(CACHE_CONTROL, "no-store")];

/// `GET /healthz`: the process serves. It touches nothing, lest an orchestrator restart healthy
/// instances because the database is away.
pub(super) async fn alive() -> impl IntoResponse {
    (NEVER_KEPT, Json(json!({ "ok": true })))
}

/// `GET /readyz`: requests for notes would be answered. 503 takes the instance out of a load
/// balancer until they would.
pub(super) async fn ready(extract::State(state): extract::State<State>) -> Response {
    let Err(not_ready) = state.database.ready().await else {
        return alive().await.into_response();
    };
    // Whoever may ask this is anybody: no host, no user, no version.
    let reason = match not_ready {
        NotReady::Unavailable(_) => "the database does not answer",
        NotReady::Schema { .. } => "the database's schema is not current",
    };
    (
        StatusCode::SERVICE_UNAVAILABLE,
        NEVER_KEPT,
        [(RETRY_AFTER, seconds(not_ready.retry_after()))],
        Json(json!({ "ok": false, "reason": reason })),
    )
        .into_response()
}

/// `GET /api`: where everything is.
pub(super) async fn index() -> impl IntoResponse {
    // It changes with the program, and a cache can't know when that is replaced.
    let headers = [(CACHE_CONTROL, "no-cache")];
    let document = json!({
        "message": "Hello, production!",
        "version": env!("CARGO_PKG_VERSION"),
        "links": {
            "self": "/api",
            "notes": "/api/notes",
            "health": "/healthz",
            "ready": "/readyz",
        },
    });
    (headers, Json(document))
}
