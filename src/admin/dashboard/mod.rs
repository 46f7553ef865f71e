//! `GET /`: the live dashboard, for whoever is on call.
//!
//! 1. The [`page`] and its files are part of the binary and ask nobody but this listener.
//! 2. It opens one stream of [`events`]: first everything that is remembered, then every two seconds
//!    what is new.
//! 3. The [`teller`] puts together what all streams say, while there is one, and keeps the seats: at
//!    most sixteen streams, so that there is always room for a scraper.

mod events;
mod page;
mod teller;

use axum::Router;
use axum::routing::get;

use super::Shared;
pub(super) use teller::Teller;

/// The page, its files and its figures.
pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(page::answer))
        .route("/dashboard/events", get(events::answer))
        .route("/dashboard/{file}", get(page::file))
}
