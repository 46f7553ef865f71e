//! `POST /reload`: the configuration is read again, and how that went.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};

use super::Subject;
use crate::config::Mask;
use crate::telemetry::{redacted, redacted_mistakes};

/// Where it is asked for.
pub const PATH: &str = "/reload";

/// Nothing more than that it is wanted. It must come as `application/json`, which no form of a web page
/// can send.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {}

/// How a reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Another configuration is in force, or the same again.
    Reloaded {
        /// What has changed.
        changed: Vec<String>,
        /// What is otherwise in the file and waits for a restart.
        waiting: Vec<String>,
    },
    /// The file has mistakes, one line each. Nothing has changed.
    Mistaken(String),
    /// What the file asks for can't be had. Nothing has changed.
    Failed(String),
}

/// Where a reload is asked for and how those before went.
#[derive(Debug)]
pub struct Reloads {
    wishes: mpsc::Sender<Wish>,
    history: Mutex<History>,
}

/// Somebody waits for a reload.
#[derive(Debug)]
pub struct Wish(oneshot::Sender<Outcome>);

/// How reloads went since the start. Times are RFC 3339.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Since when the configuration is in force.
    #[serde(with = "time::serde::rfc3339")]
    pub loaded: OffsetDateTime,
    /// Reloads that went well.
    pub reloads: u64,
    /// Reloads that failed.
    pub failed: u64,
    /// Why the last one failed; `None` where it went well, or there was none.
    pub last_error: Option<String>,
    /// What the file had otherwise and waits for a restart.
    pub waiting: Vec<String>,
}

impl Reloads {
    /// None yet; the wishes come out at the other end.
    #[must_use]
    pub fn new(started: OffsetDateTime) -> (Arc<Self>, mpsc::Receiver<Wish>) {
        // More than a few at once are no use to anybody.
        let (wishes, ahead) = mpsc::channel(8);
        let history = History {
            loaded: started,
            reloads: 0,
            failed: 0,
            last_error: None,
            waiting: Vec::new(),
        };
        let reloads = Self {
            wishes,
            history: Mutex::new(history),
        };
        (Arc::new(reloads), ahead)
    }

    /// How they went so far.
    #[must_use]
    pub fn history(&self) -> History {
        self.history.lock().clone()
    }

    /// Notes how one went.
    pub fn note(&self, outcome: &Outcome) {
        let mut history = self.history.lock();
        match outcome {
            Outcome::Reloaded { waiting, .. } => {
                history.loaded = OffsetDateTime::now_utc();
                history.reloads += 1;
                history.last_error = None;
                history.waiting.clone_from(waiting);
            }
            Outcome::Mistaken(why) | Outcome::Failed(why) => {
                history.failed += 1;
                history.last_error = Some(why.clone());
            }
        }
    }

    /// Wishes for one and waits until it is over; `None` where the server stops before.
    async fn ask(&self) -> Option<Outcome> {
        let (answer, answered) = oneshot::channel();
        self.wishes.send(Wish(answer)).await.ok()?;
        answered.await.ok()
    }
}

impl Wish {
    /// Tells who waits.
    pub fn answer(self, outcome: Outcome) {
        // Who has gone away takes nothing back.
        let _ = self.0.send(outcome);
    }
}

/// 200 with the configuration in force, 422 for one with mistakes, 409 where what it asks for can't be had,
/// 503 while the server stops.
pub(super) async fn answer(
    State(subject): State<Arc<Subject>>,
    Json(Wanted {}): Json<Wanted>,
) -> Response {
    let Some(outcome) = subject.reloads.ask().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response();
    };
    let status = match outcome {
        Outcome::Reloaded { .. } => StatusCode::OK,
        Outcome::Mistaken(_) => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::Failed(_) => StatusCode::CONFLICT,
    };
    let outcome = without_secrets(outcome, &subject.config.log.mask);
    (status, Json(outcome)).into_response()
}

/// SECURITY: what can't be had is told in the words of a library, or of PostgreSQL.
fn without_secrets(outcome: Outcome, mask: &Mask) -> Outcome {
    match outcome {
        Outcome::Mistaken(mistakes) => Outcome::Mistaken(redacted_mistakes(&mistakes, mask)),
        Outcome::Failed(why) => Outcome::Failed(redacted(&why, mask)),
        reloaded @ Outcome::Reloaded { .. } => reloaded,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_what_is_wrong_and_no_secret() {
        let mask = Mask::new(["token".to_owned()]);
        for (outcome, told) in [
            (
                Outcome::Failed("the CA said {'token': 's'}".to_owned()),
                Outcome::Failed("the CA said {'token': '***'}".to_owned()),
            ),
            (
                Outcome::Mistaken(
                    "c.toml:1: route.redirect = \"htp://a/?token=s\": must be a URL\n\
                     c.toml:2: acme.token: unknown key"
                        .to_owned(),
                ),
                Outcome::Mistaken(
                    "c.toml:1: route.redirect = \"htp://a/?token=***\": must be a URL\n\
                     c.toml:2: acme.token: unknown key"
                        .to_owned(),
                ),
            ),
        ] {
            assert_eq!(without_secrets(outcome, &mask), told);
        }
    }
}
