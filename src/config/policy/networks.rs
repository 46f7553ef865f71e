//! `allow` and `deny` of a route.

use ipnet::IpNet;

use crate::config::read::{some, text};
use crate::config::reader::Section;
use crate::config::values::parse_network;

/// Both lists; a network that stands in both is a mistake.
pub(super) fn networks(section: &Section<'_>) -> (Vec<IpNet>, Vec<IpNet>) {
    let list = |key| section.optional(key, some(text(parse_network)));
    let allow = list("allow").unwrap_or_default();
    let deny = list("deny").unwrap_or_default();
    for network in deny.iter().filter(|network| allow.contains(network)) {
        let what = format!("{network} is in allow as well; keep one of them");
        section.note_combination_at("deny", &what);
    }
    (allow, deny)
}
