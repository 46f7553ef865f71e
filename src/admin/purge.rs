//! `POST /cache/purge`: lets go of what routes with a cache keep.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Subject;
use crate::edge::cache::{Purge, PurgedPath};

/// Where it is asked for.
pub const PATH: &str = "/cache/purge";

/// What is to go: exactly one of `path`, `prefix` and `all`. It must come as `application/json`, which
/// no form of a web page can send.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Wanted {
    /// Of this host only.
    pub host: Option<String>,
    /// This path with its query.
    pub path: Option<String>,
    /// All paths that begin so.
    pub prefix: Option<String>,
    /// All paths.
    pub all: bool,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// How many answers were there.
    pub purged: usize,
}

/// 200 with how many answers there were, none included; 400 for what names no paths, or in two ways.
pub(super) async fn answer(
    State(subject): State<Arc<Subject>>,
    Json(wanted): Json<Wanted>,
) -> Response {
    let path = match (wanted.path, wanted.prefix, wanted.all) {
        (Some(path), None, false) => PurgedPath::Exactly(path),
        (None, Some(prefix), false) => PurgedPath::Prefix(prefix),
        (None, None, true) => PurgedPath::Any,
        _ => {
            let words = "write exactly one of \"path\", \"prefix\" and \"all\": true\n";
            return (StatusCode::BAD_REQUEST, words).into_response();
        }
    };
    let host = wanted.host;
    let purge = Purge { host, path };
    let purged = subject.edge.cached_answers().purge(&purge);
    tracing::info!(purged, ?purge, "cached answers were purged");
    Json(Outcome { purged }).into_response()
}
