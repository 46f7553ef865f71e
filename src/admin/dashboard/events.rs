//! `GET /dashboard/events`: the figures as server-sent events (WHATWG HTML, section 9.2).
//!
//! Each event has the status of `/status` and the points that the stream has not told yet; the first
//! so has all that are remembered. The last is named `end` and says why: `stopped` or `crowded`.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::teller::Seat;
use crate::admin::Shared;
use crate::admin::sampler::{self, Point};
use crate::admin::status::Status;

const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");

/// One event.
#[derive(Serialize)]
struct Event<'a> {
    /// What the server is called.
    host: &'a str,
    /// Milliseconds since 1970, on this machine's clock.
    now: i64,
    /// Seconds between two points.
    every: u64,
    /// Seconds that are remembered.
    keeps: u64,
    status: &'a Status,
    points: Vec<Point>,
}

/// One listener's stream.
struct Telling {
    shared: Shared,
    seat: Seat,
    stopped: watch::Receiver<bool>,
    /// How many points were told, or forgotten before that.
    known: u64,
    is_over: bool,
}

pub(in crate::admin) async fn answer(State(shared): State<Shared>) -> Response {
    let telling = Telling {
        seat: shared.teller.sit(),
        stopped: shared.stopped.clone(),
        known: 0,
        is_over: false,
        shared,
    };
    let events = stream::unfold(telling, |mut telling| async {
        let event = telling.next().await?;
        Some((Ok::<_, Infallible>(event), telling))
    });
    ([(CONTENT_TYPE, EVENT_STREAM)], Body::from_stream(events)).into_response()
}

impl Telling {
    async fn next(&mut self) -> Option<String> {
        if self.is_over {
            return None;
        }
        let end = tokio::select! {
            biased;
            _ = self.stopped.wait_for(|stop| *stop) => Some("stopped"),
            _ = &mut self.seat.taken => Some("crowded"),
            told = self.seat.told.changed() => told.ok().and(None),
        };
        match end {
            Some(why) => {
                self.is_over = true;
                Some(format!("event: end\ndata: {why}\n\n"))
            }
            None => self.event(),
        }
    }

    fn event(&mut self) -> Option<String> {
        let told = self.seat.told.borrow_and_update();
        let (points, known) = self.shared.sampler.points_after(self.known);
        self.known = known;
        let subject = self.shared.subject.load();
        let host = subject.config.server.hosts.first().map(ToString::to_string);
        let event = Event {
            host: host.as_deref().unwrap_or("unibody"),
            now: sampler::milliseconds(OffsetDateTime::now_utc()),
            every: sampler::EVERY.as_secs(),
            keeps: sampler::KEEPS.as_secs(),
            status: told.as_ref()?,
            points,
        };
        // JSON has no line break of its own, so it is one line of data.
        Some(format!("data: {}\n\n", serde_json::to_string(&event).ok()?))
    }
}
