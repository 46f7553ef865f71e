//! `unibody reload`: the running server reads its configuration again.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::ask;
use super::{Failure, Outcome};
use crate::admin::reload::{self, PATH, Wanted};

pub(super) const HELP: &str = "\
Says what has changed, and what waits for a restart. A configuration that can't be put into force \
changes nothing: exit status 78 when it has mistakes, 1 when something it names is wrong, or no \
server answers at server.admin. SIGHUP does the same and tells the log.

Examples:
  unibody reload
  unibody --config /etc/unibody.toml reload";

/// Files on slow disks, and as many certificates as there may be.
const PATIENCE: Duration = Duration::from_mins(1);

pub(super) fn run(config: Option<&Path>) -> Outcome {
    let admin = super::load_admin(config)?;
    let asked = ask::post(admin, PATH, &Wanted {}, PATIENCE);
    let (status, body) = super::small_runtime()?
        .block_on(asked)
        .map_err(|silence| silence.or_by("HUP"))?;
    let outcome: reload::Outcome = serde_json::from_slice(&body)
        .with_context(|| format!("{PATH} answered {status}; the log of the server tells more"))?;
    match outcome {
        reload::Outcome::Reloaded { changed, waiting } => {
            print!("{}", told(&changed, &waiting));
            Ok(())
        }
        reload::Outcome::Mistaken(mistakes) => Err(Failure::Config(mistakes)),
        reload::Outcome::Failed(why) => Err(Failure::Other(anyhow!(why))),
    }
}

fn told(changed: &[String], waiting: &[String]) -> String {
    if changed.is_empty() && waiting.is_empty() {
        return "reloaded; nothing is otherwise in the configuration\n".to_owned();
    }
    let lines = |word: &'static str, keys: &[String]| -> String {
        let each = keys.iter().map(move |key| format!("{word}  {key}\n"));
        each.collect()
    };
    lines("changed", changed) + &lines("restart", waiting)
}
