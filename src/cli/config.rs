//! `unibody config`: the configuration in effect.

use std::path::Path;

use super::Outcome;

pub(super) const HELP: &str = "\
The output is TOML with every default filled in, variables replaced and secrets masked.

Example:
  unibody --config /etc/unibody.toml config";

pub(super) fn run(config: Option<&Path>) -> Outcome {
    let config = super::load(config)?;
    print!("{}", config.effective_toml());
    Ok(())
}
