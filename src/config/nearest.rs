//! Keys that nobody knows, and what they were probably meant to be.

use super::keys::{ROOT, Table};
use super::node::one_line;

/// The message for a key that `shape` does not know. The value is left out: under a misspelt name
/// it may be a secret.
pub(super) fn unknown(shape: &'static Table, name: &str) -> String {
    let path = shape.path_of(&one_line(name));
    let known = shape.keys.iter().map(|key| key.name);
    if let Some(nearest) = nearest(name, known) {
        return format!("{path}: unknown key; did you mean {nearest}?");
    }
    let elsewhere: Vec<_> = ROOT
        .walk()
        .into_iter()
        .filter(|table| table.key(name).is_some())
        .map(|table| format!("[{}]", table.path))
        .collect();
    if elsewhere.is_empty() {
        let known: Vec<_> = shape.keys.iter().map(|key| key.name).collect();
        format!("{path}: unknown key; known here are {}", known.join(", "))
    } else {
        format!(
            "{path}: unknown key here; it belongs in {}",
            elsewhere.join(" or ")
        )
    }
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
