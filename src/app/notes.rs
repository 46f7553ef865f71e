//! The handlers of `/api/notes` and `/api/notes/{id}`.
//!
//! Each reads what it needs into types, which may be a [`Problem`] already, calls the store once,
//! and describes the outcome.

use axum::Json;
use axum::body::Body;
use axum::extract;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_LOCATION, ETAG, LINK, LOCATION};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

use super::State;
use super::input::{NewNote, NotePatch};
use super::json;
use super::note::{Note, NoteId};
use super::page::{Page, PageRequest};
use super::preconditions::{Preconditions, entity_tag, weak_entity_tag};
use super::problem::Problem;
use super::store;

/// A browser may keep a note but must ask whether it is still so (a cheap 304), or one would not
/// see one's own edit after a reload. No shared cache: notes are somebody's, and the day they need
/// a token must not begin with old copies in caches.
const REVALIDATE: HeaderValue = HeaderValue::from_static("private, no-cache");

/// `GET /api/notes`: the newest notes, or those after a cursor.
pub(super) async fn list(
    extract::State(state): extract::State<State>,
    preconditions: Preconditions,
    uri: Uri,
) -> Result<Response, Problem> {
    let request = PageRequest::parse(uri.query().unwrap_or_default())?;
    let page = store::page(&state.database, &request).await?;
    let fingerprint = page.fingerprint();
    let mut response = if preconditions.is_known(&fingerprint) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(&page.notes).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, weak_entity_tag(&fingerprint));
    headers.insert(CACHE_CONTROL, REVALIDATE);
    if let Some(link) = next_link(&page, &request) {
        headers.insert(LINK, link);
    }
    Ok(response)
}

/// `POST /api/notes`.
pub(super) async fn create(
    extract::State(state): extract::State<State>,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    let object = json::read(&headers, content, &json::DOCUMENT).await?;
    let note = store::insert(&state.database, NewNote::parse(object)?).await?;
    let location = location(note.id);
    let mut response = changed(&note);
    *response.status_mut() = StatusCode::CREATED;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

/// `GET /api/notes/{id}`.
pub(super) async fn show(
    extract::State(state): extract::State<State>,
    id: NoteId,
    preconditions: Preconditions,
) -> Result<Response, Problem> {
    let note = store::find(&state.database, id).await?;
    if !preconditions.allow(note.version) {
        return Err(Problem::precondition_failed());
    }
    let mut response = if preconditions.is_known_version(note.version) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Json(&note).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(ETAG, entity_tag(note.version));
    headers.insert(CACHE_CONTROL, REVALIDATE);
    Ok(response)
}

/// `PUT /api/notes/{id}`: replaces; never creates, because ids are the server's to give.
pub(super) async fn replace(
    extract::State(state): extract::State<State>,
    id: NoteId,
    preconditions: Preconditions,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    let object = json::read(&headers, content, &json::DOCUMENT).await?;
    let new = NewNote::parse_replacement(object)?;
    let note = store::replace(&state.database, id, new, &preconditions).await?;
    Ok(changed(&note))
}

/// `PATCH /api/notes/{id}`: a JSON Merge Patch. One that changes nothing makes no new version.
pub(super) async fn patch(
    extract::State(state): extract::State<State>,
    id: NoteId,
    preconditions: Preconditions,
    headers: HeaderMap,
    content: Body,
) -> Result<Response, Problem> {
    let object = json::read(&headers, content, &json::MERGE_PATCH).await?;
    let patch = NotePatch::parse(object)?;
    if !patch.is_empty() {
        let note = store::patch(&state.database, id, &patch, &preconditions).await?;
        return Ok(changed(&note));
    }
    let note = store::find(&state.database, id).await?;
    if preconditions.allow(note.version) && !preconditions.is_known_version(note.version) {
        Ok(changed(&note))
    } else {
        Err(Problem::precondition_failed())
    }
}

/// `DELETE /api/notes/{id}`.
pub(super) async fn delete(
    extract::State(state): extract::State<State>,
    id: NoteId,
    preconditions: Preconditions,
) -> Result<StatusCode, Problem> {
    store::delete(&state.database, id, &preconditions).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The note as it is after a write. `Content-Location` says that the answer is the note and not a
/// report on the write (RFC 9110, section 8.7), so the tag is for it and not for what was sent.
fn changed(note: &Note) -> Response {
    let mut response = Json(note).into_response();
    let headers = response.headers_mut();
    headers.insert(ETAG, entity_tag(note.version));
    headers.insert(CACHE_CONTROL, REVALIDATE);
    headers.insert(CONTENT_LOCATION, location(note.id));
    response
}

fn location(id: NoteId) -> HeaderValue {
    // A path of letters, digits and hyphens is always a header value.
    HeaderValue::try_from(format!("/api/notes/{id}")).unwrap_or(HeaderValue::from_static("/"))
}

/// RFC 8288: where the next page is. The client follows it and never builds it.
fn next_link(page: &Page, request: &PageRequest) -> Option<HeaderValue> {
    let cursor = page.next?;
    let limit = request.limit;
    HeaderValue::try_from(format!(
        "</api/notes?limit={limit}&cursor={cursor}>; rel=\"next\""
    ))
    .ok()
}
