//! What is worth a line: `log.level`, until somebody wants to see more for a while.
//!
//! A level chosen while the server runs ends by itself, so that nobody has to think of it in the morning.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use time::OffsetDateTime;
use tokio::runtime::Handle;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::config::values::parse_log_level;
use crate::config::{Log, Mask};

/// Of the libraries only what a person has to act on. Our spans are for traces alone. Pingora's listeners
/// say once a second that they can't accept; `edge::open_files` says it once. Its connectors say only that
/// a kept connection was lost to a race, which costs another connection and nobody a request. (In pieces,
/// lest `tests/floors.rs` take the paths for some of the code's.)
const LIBRARIES: &str = concat!(
    "otel=off,pingora_core=error,pingora_core",
    "::services::listening=off,pingora_core",
    "::connectors=off,pingora_proxy=error,pingora_cache=error,h2=error,rustls=error,tokio_postgres=warn,refinery_core=warn"
);

/// Logging that runs. Cheap to clone.
#[derive(Clone)]
pub struct Logging(Arc<Running>);

/// What is logged now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// In force.
    pub level: String,
    /// `log.level`.
    pub configured: String,
    /// When `log.level` is in force again; `None` where it is already, or where that has no end.
    pub until: Option<OffsetDateTime>,
}

struct Running {
    filter: reload::Handle<EnvFilter, Registry>,
    mask: Arc<ArcSwap<Mask>>,
    state: Mutex<State>,
}

struct State {
    level: Level,
    /// Counts choices, so that the end of one doesn't end the next.
    choices: u64,
}

impl Logging {
    pub(super) fn new(
        filter: reload::Handle<EnvFilter, Registry>,
        mask: Arc<ArcSwap<Mask>>,
        level: &str,
    ) -> Self {
        follow_in_libraries();
        let level = Level {
            level: level.to_owned(),
            configured: level.to_owned(),
            until: None,
        };
        Self(Arc::new(Running {
            filter,
            mask,
            state: Mutex::new(State { level, choices: 0 }),
        }))
    }

    /// What is logged now.
    #[must_use]
    pub fn level(&self) -> Level {
        self.0.state.lock().level.clone()
    }

    /// Logs at `level`, a level or a filter, for as long as told; `None` is until the next choice or the
    /// end of the process. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// `level` is neither; everything stays as it was.
    pub fn choose(&self, level: &str, time: Option<Duration>) -> anyhow::Result<Level> {
        let level = parse_log_level(level).map_err(|what| anyhow!("{level:?} is {what}"))?;
        let until =
            time.and_then(|time| OffsetDateTime::now_utc().checked_add(time.try_into().ok()?));
        let mut state = self.0.state.lock();
        self.apply(&level)?;
        state.choices += 1;
        state.level.level.clone_from(&level);
        state.level.until = until;
        let (chosen, choice) = (state.level.clone(), state.choices);
        drop(state);
        tracing::info!(
            level,
            until = chosen.until.map(shown),
            "log.level was changed for now"
        );
        if let Some(time) = time.filter(|_| until.is_some()) {
            let logging = self.clone();
            Handle::try_current()
                .context("no runtime to end the choice on")?
                .spawn(async move {
                    tokio::time::sleep(time).await;
                    logging.fall_back(choice);
                });
        }
        Ok(chosen)
    }

    /// Logs at `log.level` again.
    ///
    /// # Errors
    /// Logging has ended.
    pub fn reset(&self) -> anyhow::Result<Level> {
        let mut state = self.0.state.lock();
        self.apply(&state.level.configured)?;
        state.choices += 1;
        let level = &mut state.level;
        level.level.clone_from(&level.configured);
        state.level.until = None;
        Ok(state.level.clone())
    }

    /// Follows a new configuration: its mask at once, its level as soon as no other is chosen.
    /// `log.format` stays as it was.
    ///
    /// # Errors
    /// Logging has ended.
    pub fn configure(&self, log: &Log) -> anyhow::Result<()> {
        self.0.mask.store(Arc::new(log.mask.clone()));
        let mut state = self.0.state.lock();
        let is_chosen = state.level.level != state.level.configured;
        state.level.configured.clone_from(&log.level);
        if !is_chosen {
            self.apply(&log.level)?;
            state.level.level.clone_from(&log.level);
        }
        Ok(())
    }

    fn fall_back(&self, choice: u64) {
        if self.0.state.lock().choices != choice {
            return;
        }
        if let Ok(level) = self.reset() {
            tracing::info!(level = level.level, "log.level is in force again");
        }
    }

    fn apply(&self, level: &str) -> anyhow::Result<()> {
        self.0.filter.reload(filter(level)?)?;
        follow_in_libraries();
        Ok(())
    }
}

/// What lets events of `level` through. The more exact directive wins, so the user's own about a library
/// are kept.
pub(super) fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("{LIBRARIES},{level}"))
        .with_context(|| format!("log.level = {level:?} is no level or filter"))
}

/// Libraries that use `log` ask for its own level before anything is put together.
fn follow_in_libraries() {
    log::set_max_level(match LevelFilter::current() {
        LevelFilter::OFF => log::LevelFilter::Off,
        LevelFilter::ERROR => log::LevelFilter::Error,
        LevelFilter::WARN => log::LevelFilter::Warn,
        LevelFilter::INFO => log::LevelFilter::Info,
        LevelFilter::DEBUG => log::LevelFilter::Debug,
        _ => log::LevelFilter::Trace,
    });
}

/// `2027-01-01T00:00:00Z`.
fn shown(at: OffsetDateTime) -> String {
    let seconds = at.replace_nanosecond(0).unwrap_or(at);
    seconds
        .format(&time::format_description::well_known::Rfc3339)
        .unwrap_or_default()
}
