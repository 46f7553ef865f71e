//! What is worth a line in the log.

use tracing_subscriber::EnvFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Reads a level, or a filter such as `info,unibody=debug`. The filter's own parser takes any word for
/// the name of a module, so that `"inof"` would silence everything; here a word alone is a level.
///
/// # Errors
/// What to write instead.
pub fn parse_log_level(text: &str) -> Result<String, &'static str> {
    const WHAT: &str = r#"not a level; write error, warn, info, debug or trace, or for example "info,unibody=debug""#;
    let is_level = |word: &str| LEVELS.contains(&word.to_ascii_lowercase().as_str());
    let named = |directive: &str| match directive.rsplit_once('=') {
        Some((target, level)) => !target.is_empty() && is_level(level),
        None => is_level(directive),
    };
    let is_known = text.split(',').map(str::trim).all(named);
    if !is_known || EnvFilter::try_new(text).is_err() {
        return Err(WHAT);
    }
    Ok(text.to_owned())
}
