//! How the app says no: RFC 9457 problem documents.
//!
//! A handler returns `Err(Problem)`. As a response it is only a status and a note in the
//! extensions; [`render`], the router's outermost layer, writes the document, because only there
//! the request's id is at hand, and logs the cause, which the client never sees.

use std::borrow::Cow;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;

use crate::telemetry::Tally;

/// What is asked of a client when PostgreSQL refused for a reason that passes by itself.
pub(super) const RETRY_SOON: Duration = Duration::from_secs(1);

/// The type of a problem that its status alone explains (RFC 9457, section 4.2.1).
const NO_TYPE: &str = "about:blank";

/// The type of the one problem that carries more: `errors`.
const VALIDATION: &str = "/problems/validation";

/// Set by the edge on every request.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest name of the client's that is repeated in an answer, in characters.
const MAX_ECHO: usize = 64;

/// Whoever asks can have these said.
static OUTAGES: Tally = Tally::new("requests were refused by the database for now", 10);
static BUGS: Tally = Tally::new("requests of the app failed", 10);

/// A refusal or failure, on its way to the client.
#[derive(Debug, Clone)]
pub struct Problem(Box<Details>);

#[derive(Debug, Clone)]
struct Details {
    kind: &'static str,
    title: &'static str,
    status: StatusCode,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    headers: HeaderMap,
    cause: Option<(Loudness, String)>,
}

/// How loudly a cause is logged.
#[derive(Debug, Clone, Copy)]
pub(super) enum Loudness {
    /// Already in the log, once for all requests it hits.
    KnownOutage,
    /// Passes by itself.
    Outage,
    /// A mistake of ours.
    Bug,
}

/// One thing wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FieldError {
    /// The member of the document or the parameter of the query; empty for the whole of it.
    pub field: String,
    /// Continues a sentence that begins with the field's name.
    pub detail: String,
}

impl FieldError {
    /// An error of `field`. A long name, which then is the client's, is shortened.
    #[must_use]
    pub fn new(field: &str, detail: &str) -> Self {
        Self {
            field: field.chars().take(MAX_ECHO).collect(),
            detail: detail.to_owned(),
        }
    }
}

impl Problem {
    /// A problem that needs no type of its own. `detail` is for a person: one full sentence.
    pub fn new(status: StatusCode, detail: impl Into<Cow<'static, str>>) -> Self {
        Self(Box::new(Details {
            kind: NO_TYPE,
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            detail: detail.into(),
            errors: Vec::new(),
            headers: HeaderMap::new(),
            cause: None,
        }))
    }

    /// 422: well-formed, but with these mistakes.
    #[must_use]
    pub fn validation(errors: Vec<FieldError>) -> Self {
        let detail = match errors.as_slice() {
            [only] => format!("{} {}.", only.field, only.detail),
            several => format!("{} values are not acceptable.", several.len()),
        };
        let mut problem = Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            detail.trim_start().to_owned(),
        );
        problem.0.kind = VALIDATION;
        problem.0.title = "Not acceptable values";
        problem.0.errors = errors;
        problem
    }

    /// 404 for a note, whether it never was or is gone.
    #[must_use]
    pub fn no_such_note() -> Self {
        Self::new(StatusCode::NOT_FOUND, "There is no such note.")
    }

    /// 412: somebody else was first.
    #[must_use]
    pub fn precondition_failed() -> Self {
        Self::new(
            StatusCode::PRECONDITION_FAILED,
            "The note is not in the state that If-Match or If-None-Match asks for. Read it again.",
        )
    }

    /// 503: the database can't be used now, but may after `retry_after`.
    #[must_use]
    pub fn unavailable(retry_after: Duration) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The database is not available at the moment. Try again shortly.",
        )
        .with_header(RETRY_AFTER, seconds(retry_after))
    }

    /// 500: a mistake of ours. `cause` is for the log.
    #[must_use]
    pub fn internal(cause: String) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Something went wrong on the server. The log has more under this request's id.",
        )
        .with_cause(Loudness::Bug, cause)
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.insert(name, value);
        self
    }

    /// The status it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What the log is told, and nobody else.
    #[must_use]
    pub(super) fn with_cause(mut self, severity: Loudness, cause: String) -> Self {
        self.0.cause = Some((severity, cause));
        self
    }

    fn log(&self, request_id: &str) {
        match &self.0.cause {
            Some((Loudness::KnownOutage, cause)) => {
                tracing::debug!(request_id, "a request had no database: {cause}");
            }
            Some((Loudness::Outage, cause)) if OUTAGES.count(|| cause.clone()) => {
                tracing::warn!(
                    request_id,
                    "the database refused a request for now: {cause}"
                );
            }
            Some((Loudness::Bug, cause)) if BUGS.count(|| cause.clone()) => {
                tracing::error!(request_id, "a request failed: {cause}");
            }
            None | Some((Loudness::Outage | Loudness::Bug, _)) => {}
        }
    }

    fn document(&self, request_id: Option<&str>) -> Vec<u8> {
        let details = &*self.0;
        let document = Document {
            kind: details.kind,
            title: details.title,
            status: details.status.as_u16(),
            detail: &details.detail,
            errors: &details.errors,
            request_id,
        };
        // Strings and a number always make JSON.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

impl From<Vec<FieldError>> for Problem {
    fn from(errors: Vec<FieldError>) -> Self {
        Self::validation(errors)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The members of RFC 9457, section 3.1, and two of ours.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
    #[serde(skip_serializing_if = "Option::is_none")]
    request_id: Option<&'a str>,
}

/// The layer that writes the document of a [`Problem`] that a handler returned.
pub(super) async fn render(request: Request, next: Next) -> Response {
    let request_id = request.headers().get(REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let request_id = request_id.as_ref().and_then(|id| id.to_str().ok());
    problem.log(request_id.unwrap_or("-"));

    let (mut parts, _) = response.into_parts();
    let headers = &mut parts.headers;
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/problem+json"),
    );
    // RFC 9111, section 4.2.2: without it a 404 or 405 may be kept as long as a cache likes.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.extend(problem.0.headers.clone());
    Response::from_parts(parts, problem.document(request_id).into())
}

/// The value of `Retry-After`: whole seconds, at least one.
pub(super) fn seconds(duration: Duration) -> HeaderValue {
    duration.as_secs().max(1).into()
}

/// 404 for every path that isn't in the table.
pub(super) async fn unknown_path() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "There is nothing at this address.")
}

/// 405, and what OPTIONS asks for: axum adds `Allow` to both.
pub(super) async fn wrong_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{method} is not possible here; the Allow header names what is."),
    )
    .into_response()
}
