//! The app: notes over HTTP, kept in PostgreSQL.
//!
//! This folder is the part you replace by your own. It is an ordinary [`axum::Router`] that knows
//! nothing of what is in front of it; the edge hands it requests whose heads and sizes are already
//! checked, streams the bodies both ways, and drops the handler when the client goes away.
//!
//! 1. [`router`] is the table of URLs, all of them.
//! 2. `notes` and `health` hold the handlers: they turn a request into typed values, ask the
//!    store, and describe the outcome.
//! 3. `json`, `page` and `preconditions` read the parts of a request that need care; `note`
//!    and `input` are what they are parsed into.
//! 4. `store` is the SQL. Every write is one statement, so a handler that is dropped half-way
//!    leaves either the whole change or none.
//! 5. `problem` is how everything that goes wrong is told, and where its cause is logged; `failure`
//!    tells PostgreSQL's passing troubles from mistakes of ours.

mod failure;
mod health;
mod input;
mod json;
mod note;
mod notes;
mod page;
mod preconditions;
mod problem;
mod seed;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use axum::extract::DefaultBodyLimit;
use axum::middleware;
use axum::routing::get;

use crate::database::Database;

pub use input::{NewNote, NotePatch};
pub use note::{Body, NotAnId, Note, NoteId, NulInBody, Title, TitleError};
pub use problem::{FieldError, Problem};
pub use seed::seed;

/// What the handlers share. Cheap to clone.
#[derive(Clone)]
pub struct State {
    database: Database,
}

impl State {
    /// The state of an app whose notes are in `database`.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }
}

/// The app: every URL it answers.
pub fn router(state: State) -> axum::Router {
    axum::Router::new()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/api", get(health::index))
        .route("/api/notes", get(notes::list).post(notes::create))
        .route(
            "/api/notes/{id}",
            get(notes::show)
                .put(notes::replace)
                .patch(notes::patch)
                .delete(notes::delete),
        )
        .fallback(problem::unknown_path)
        .method_not_allowed_fallback(problem::wrong_method)
        // The edge is the limit (`max_body`); the 2 MB of axum's extractors would undercut it.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn(problem::render))
        .with_state(state)
}
