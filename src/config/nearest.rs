//! Keys that nobody knows, and what they were probably meant to be.

use super::keys::{Key, Kind, ROOT, Table};
use super::node::one_line;

/// The message for a key that `shape` does not know. The value is left out: under a misspelt name
/// it may be a secret.
pub(super) fn unknown(shape: &'static Table, name: &str) -> String {
    let path = shape.path_of(&one_line(name));
    let known = shape.keys.iter().map(|key| key.name);
    if let Some(nearest) = nearest(name, known) {
        return format!("{path}: unknown key; did you mean {nearest}?");
    }
    let tables = ROOT.walk();
    let everywhere = tables.iter().flat_map(|table| table.keys);
    if let Some(meant) = nearest(name, everywhere.map(|key| key.name)) {
        let homes: Vec<_> = tables
            .iter()
            .filter(|table| table.key(meant).is_some())
            .map(|table| format!("[{}]", table.path))
            .collect();
        return format!(
            "{path}: unknown key here; {meant} belongs in {}",
            homes.join(" or ")
        );
    }
    let is_known = |key: &&Key| !matches!(key.kind, Kind::Planned { .. });
    let known: Vec<_> = shape
        .keys
        .iter()
        .filter(is_known)
        .map(|key| key.name)
        .collect();
    if known.is_empty() {
        return format!("{path}: unknown key; this table has no keys in this version");
    }
    format!("{path}: unknown key; known here are {}", known.join(", "))
}

/// The candidate that `name` most likely means, if any is near enough.
pub(super) fn nearest<'c>(
    name: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    let name = name.to_lowercase();
    candidates
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name, &candidate.to_lowercase()),
                candidate,
            )
        })
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
