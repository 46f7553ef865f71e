//! Keys that nobody knows, and what they were probably meant to be.

use super::keys::{Key, Kind, ROOT, Table};
use super::node::one_line;

/// The message for a key that `shape` does not know. The value is left out: under a misspelt name
/// it may be a secret.
pub(super) fn unknown(shape: &'static Table, name: &str) -> String {
    let path = shape.path_of(&one_line(name));
    if let Some((theirs, ours)) = OF_NGINX.iter().find(|(theirs, _)| *theirs == name) {
        return format!("{path}: unknown key; here nginx's {theirs} is {ours}");
    }
    let known = shape.keys.iter().map(|key| key.name);
    if let Some(nearest) = nearest(name, known) {
        return format!("{path}: unknown key; did you mean {nearest}?");
    }
    let tables = ROOT.walk();
    let everywhere = tables.iter().flat_map(|table| table.keys);
    // Elsewhere more words are near by chance.
    if let Some(meant) = within(6, name, everywhere.map(|key| key.name)) {
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

/// Words of nginx's site files (`docs/from-nginx.md`), and what says the same here.
const OF_NGINX: [(&str, &str); 25] = [
    ("add_header", "[headers], or set in headers of a [[route]]"),
    ("alias", "files of a [[route]]"),
    ("auth_basic", "basic_auth of a [[route]]"),
    (
        "client_max_body_size",
        "max_body of [server] or of a [[route]]",
    ),
    ("error_page", "[error_pages]"),
    ("expires", "cache_control of a [[route]] with files"),
    ("fail_timeout", "eject_for of an [[upstream]]"),
    ("gzip", "[compression]"),
    ("least_conn", "balance of an [[upstream]]"),
    (
        "limit_req",
        "rate_limit of a [[route]], which names a [[rate_limit]]",
    ),
    ("listen", "http and https of [server]"),
    ("location", "a [[route]] with a path"),
    ("max_fails", "eject_after of an [[upstream]]"),
    ("proxy_cache", "cache of a [[route]]"),
    (
        "proxy_connect_timeout",
        "connect_timeout of an [[upstream]]",
    ),
    (
        "proxy_pass",
        "upstream of a [[route]], which names an [[upstream]]",
    ),
    ("proxy_read_timeout", "read_timeout of an [[upstream]]"),
    ("proxy_send_timeout", "send_timeout of an [[upstream]]"),
    ("proxy_set_header", "set in request_headers of a [[route]]"),
    ("return", "redirect or respond of a [[route]]"),
    ("root", "files of a [[route]]"),
    ("server_name", "hosts of [server], or host of a [[route]]"),
    ("ssl_certificate", "cert of a [[tls.files]]"),
    ("ssl_certificate_key", "key of a [[tls.files]]"),
    ("try_files", "files of a [[route]], with spa or fallback"),
];

/// The candidate that `name` most likely means, if any is near enough.
pub(super) fn nearest<'c>(
    name: &str,
    candidates: impl Iterator<Item = &'c str>,
) -> Option<&'c str> {
    within(3, name, candidates)
}

/// The nearest candidate from which no more than one letter in `every` differs.
fn within<'c>(
    every: usize,
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
        .filter(|(distance, candidate)| {
            *distance <= (candidate.len() / every).max(usize::from(every == 3))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
