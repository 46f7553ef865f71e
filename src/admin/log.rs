//! `/log`: what is logged, and more or less of it for a while.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::Subject;
use crate::config::values::parse_duration;
use crate::telemetry;

/// Where it is asked for.
pub const PATH: &str = "/log";

/// How long a chosen level lasts where nothing else is said.
pub const USUAL: Duration = Duration::from_mins(10);

/// What is asked for. It must come as `application/json`, which no form of a web page can send.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Wanted {
    /// A level or a filter; `None` is `log.level` again.
    pub level: Option<String>,
    /// For how long, such as `1h`; `forever` is until the process ends. Ten minutes if left out.
    #[serde(rename = "for")]
    pub time: Option<String>,
}

/// What is logged now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// In force.
    pub level: String,
    /// `log.level`.
    pub configured: String,
    /// When `log.level` is in force again; `null` where it is, or where that has no end.
    #[serde(with = "time::serde::rfc3339::option")]
    pub until: Option<OffsetDateTime>,
}

/// Why nothing was changed.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refusal {
    /// In words.
    pub message: String,
}

pub(super) async fn answer(State(subject): State<Arc<Subject>>) -> Json<Level> {
    Json(subject.logging.level().into())
}

/// 200 and what is logged from now on, 422 where that can't be understood.
pub(super) async fn change(
    State(subject): State<Arc<Subject>>,
    Json(wanted): Json<Wanted>,
) -> Response {
    match apply(&subject.logging, &wanted) {
        Ok(level) => Json(Level::from(level)).into_response(),
        Err(message) => {
            (StatusCode::UNPROCESSABLE_ENTITY, Json(Refusal { message })).into_response()
        }
    }
}

fn apply(logging: &telemetry::Logging, wanted: &Wanted) -> Result<telemetry::Level, String> {
    let time = match wanted.time.as_deref() {
        None => Some(USUAL),
        Some("forever") => None,
        Some(text) => {
            Some(parse_duration(text).map_err(|what| format!("for = {text:?} is {what}"))?)
        }
    };
    let chosen = match &wanted.level {
        Some(level) => logging.choose(level, time),
        None => logging.reset(),
    };
    chosen.map_err(|error| format!("{error:#}"))
}

impl From<telemetry::Level> for Level {
    fn from(level: telemetry::Level) -> Self {
        Self {
            level: level.level,
            configured: level.configured,
            until: level.until,
        }
    }
}
