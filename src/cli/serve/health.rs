//! The health endpoints where no route leads to the app.

use axum::routing::get;
use axum::{Json, Router};
use http::header::CACHE_CONTROL;
use serde_json::json;

/// A server without a database is ready as soon as it serves: what else it needs, it has had at its start.
pub(super) fn router() -> Router {
    let fine = || async { ([(CACHE_CONTROL, "no-store")], Json(json!({ "ok": true }))) };
    Router::new()
        .route("/healthz", get(fine))
        .route("/readyz", get(fine))
}
