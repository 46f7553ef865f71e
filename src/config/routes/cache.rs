//! `cache` of a route: which answers of its upstream are given again.

use std::time::Duration;

use crate::config::printer::Printer;
use crate::config::read::{DECADE, body_size, boolean, duration_up_to, unless_empty};
use crate::config::reader::Section;
use crate::config::values::{print_duration, print_size};

/// `cache = { … }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cache {
    /// How long an answer is fresh that says nothing of its own; `None` keeps no such answer. Default
    /// none.
    pub ttl: Option<Duration>,
    /// Bytes of the largest answer that is kept. Default 1 MiB.
    pub max_size: u64,
    /// Whether an answer that says nothing of its own may also be kept, and given, where there are
    /// cookies. Default false.
    pub ignore_cookies: bool,
}

/// Reads `cache` of the route in `section`.
pub(super) fn cache(route: &Section<'_>) -> Option<Cache> {
    let section = route.optional_table("cache")?;
    Some(Cache {
        ttl: section.value("ttl", unless_empty(duration_up_to(DECADE))),
        max_size: section.value("max_size", body_size),
        ignore_cookies: section.value("ignore_cookies", boolean),
    })
}

/// Prints it.
pub(super) fn print(out: &mut Printer, cache: &Cache) {
    out.text(
        "cache.ttl",
        cache.ttl.map_or_else(String::new, print_duration),
    );
    out.text("cache.max_size", print_size(cache.max_size));
    out.plain("cache.ignore_cookies", cache.ignore_cookies);
}
