//! `POST /upgrade`: another process in the place of this one, and how that went.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Subject;
use crate::handover::Program;
use crate::telemetry::redacted;

/// Where it is asked for.
pub const PATH: &str = "/upgrade";

/// How long a new process may take to be ready, where nobody says otherwise: it may have migrations to
/// apply.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// For how long the old process stays ready to go on once the new one serves, where nobody says otherwise:
/// what crashes with its first requests has crashed by then.
pub const WATCH: Duration = Duration::from_secs(5);

/// What is asked for. It must come as `application/json`, which no form of a web page can send.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// How long the new process may take, in seconds; at least 1.
    pub patience: u64,
    /// For how long the old process stays ready to go on once the new one serves, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch_ms: Option<u64>,
}

/// How it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// In words.
    pub message: String,
    /// The process that was asked.
    pub old: Program,
    /// The one that serves now; `None` where that is still the old one.
    pub new: Option<Program>,
}

/// Where a wish for a new process is left. Whoever comes while somebody waits is sent away.
#[derive(Debug, Clone)]
pub struct Desk {
    wishes: mpsc::Sender<Wish>,
    place: Arc<Semaphore>,
}

/// A wish for a new process, and where to say how it went.
#[derive(Debug)]
pub struct Wish {
    /// How long the new process may take to be ready.
    pub patience: Duration,
    /// For how long this one stays ready to go on once that serves.
    pub watch: Duration,
    /// Takes the new process, or why there is none.
    pub reply: oneshot::Sender<Result<Program, String>>,
}

impl Desk {
    /// A desk, and where its wishes arrive.
    #[must_use]
    pub fn open() -> (Self, mpsc::Receiver<Wish>) {
        let (sender, wishes) = mpsc::channel(1);
        let desk = Self {
            wishes: sender,
            place: Arc::new(Semaphore::new(1)),
        };
        (desk, wishes)
    }
}

/// 200 when another process serves, 502 when it didn't come to that and this one goes on, 409 while somebody else
/// waits for one, or when this process leaves before.
pub(super) async fn answer(
    State(subject): State<Arc<Subject>>,
    Json(wanted): Json<Wanted>,
) -> Response {
    let (reply, answered) = oneshot::channel();
    let patience = Duration::from_secs(wanted.patience.max(1));
    let watch = wanted.watch_ms.map_or(WATCH, Duration::from_millis);
    let wish = Wish {
        patience,
        watch,
        reply,
    };
    let desk = &subject.upgrades;
    let Ok(_mine) = desk.place.try_acquire() else {
        let message = "this server is being upgraded already".to_owned();
        return told(StatusCode::CONFLICT, message, None);
    };
    if desk.wishes.try_send(wish).is_err() {
        let message = "this server is about to leave: ask again".to_owned();
        return told(StatusCode::CONFLICT, message, None);
    }
    match answered.await {
        Ok(Ok(new)) => {
            let message = format!(
                "unibody {} (process {}) serves now, in the place of {} (process {})",
                new.version,
                new.pid,
                Program::this().version,
                Program::this().pid,
            );
            told(StatusCode::OK, message, Some(new))
        }
        Ok(Err(reason)) => {
            // SECURITY: the new process may have said it in the words of others.
            let reason = redacted(&reason, &subject.config.log.mask);
            told(StatusCode::BAD_GATEWAY, reason, None)
        }
        Err(_) => {
            let message =
                "the server was stopped, or another process has taken over meanwhile".to_owned();
            told(StatusCode::CONFLICT, message, None)
        }
    }
}

fn told(status: StatusCode, message: String, new: Option<Program>) -> Response {
    let outcome = Outcome {
        message,
        old: Program::this(),
        new,
    };
    (status, Json(outcome)).into_response()
}
