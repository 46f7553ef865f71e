//! `POST /certificates/renew`: a new certificate at once, and how that went.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::Subject;
use super::status::shown;
use crate::certificates::Renewed;
use crate::certificates::acme::Wish;
use crate::telemetry::redacted;

/// Where it is asked for.
pub const PATH: &str = "/certificates/renew";

/// What is asked for. It must come as `application/json`, which no form of a web page can send.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// The name whose certificate it is.
    pub host: String,
    /// Whatever limits the CA is known to have.
    #[serde(default)]
    pub force: bool,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outcome {
    /// In words.
    pub message: String,
}

/// 200 with a new certificate in service, 202 when that takes longer, 502 when it failed, 404 for a
/// name that has no certificate, 409 for a certificate that comes from no CA.
pub(super) async fn answer(
    State(subject): State<Arc<Subject>>,
    Json(wanted): Json<Wanted>,
) -> Response {
    let wish = if wanted.force {
        Wish::Force
    } else {
        Wish::Renew
    };
    // As the configuration keeps names.
    let host = wanted.host.to_lowercase();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    // A client that goes away takes nothing back.
    let certificates = Arc::clone(&subject.certificates);
    let (status, message) = match certificates.renew(host, wish).await {
        Renewed::Issued(seen) => (
            StatusCode::OK,
            format!(
                "{host}: a new certificate is in service, serial {}, valid until {}",
                seen.serial,
                shown(seen.not_after)
            ),
        ),
        Renewed::Running => (
            StatusCode::ACCEPTED,
            format!("{host}: the order still runs; `unibody certs list` tells how it ends"),
        ),
        Renewed::Failed(words) => (StatusCode::BAD_GATEWAY, format!("{host}: {words}")),
        Renewed::Unknown => (
            StatusCode::NOT_FOUND,
            format!("{host}: this server has no certificate for it; name it in server.hosts"),
        ),
        Renewed::NotOurs(words) => (StatusCode::CONFLICT, format!("{host}: {words}")),
    };
    // SECURITY: the CA's words may quote a secret.
    let message = redacted(&message, &subject.config.log.mask);
    (status, Json(Outcome { message })).into_response()
}
