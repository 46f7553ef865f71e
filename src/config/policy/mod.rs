//! What a route asks of a request before it answers: who may come, how often, and from which pages.
//!
//! Each policy has its file: its types, how they are read and how they are printed.

mod accounts;
mod cors;
mod networks;
mod rate_limit;

use std::fmt::Display;
use std::sync::Arc;

use http::Method;
use ipnet::IpNet;

pub use self::accounts::{Account, PasswordHash};
pub use self::cors::{Cors, Origins};
pub use self::rate_limit::{LimitKey, Rate, RateLimit};
pub(super) use self::rate_limit::{RateLimits, rate_limits};
use super::reader::Section;

/// The policies of one route. By default it asks nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoutePolicy {
    /// Networks that are let in; empty lets in all that are not denied.
    pub allow: Vec<IpNet>,
    /// Networks that are not let in.
    pub deny: Vec<IpNet>,
    /// How often a client may ask.
    pub rate_limits: Vec<Arc<RateLimit>>,
    /// Methods that count for the rate limits; empty counts all. GET stands for HEAD, too.
    pub methods: Vec<Method>,
    /// Who may sign in; empty asks nobody to.
    pub accounts: Vec<Account>,
    /// Which pages of other origins may ask; `None` leaves that to whoever answers.
    pub cors: Option<Cors>,
}

/// Reads the policies of the route in `section`.
pub(super) fn policy(section: &Section<'_>, limits: &RateLimits) -> RoutePolicy {
    let (allow, deny) = networks::networks(section);
    let (rate_limits, methods) = rate_limit::of_route(section, limits);
    RoutePolicy {
        allow,
        deny,
        rate_limits,
        methods,
        accounts: accounts::accounts(section),
        cors: cors::cors(section),
    }
}

impl RoutePolicy {
    /// The keys that are written, each with the texts of its list.
    pub(super) fn lists(&self) -> Vec<(&'static str, Vec<String>)> {
        fn texts<T: Display>(items: &[T]) -> Vec<String> {
            items.iter().map(ToString::to_string).collect()
        }
        let names: Vec<_> = self.rate_limits.iter().map(|limit| &limit.name).collect();
        let mut lists = vec![
            ("allow", texts(&self.allow)),
            ("deny", texts(&self.deny)),
            ("rate_limit", texts(&names)),
            ("methods", texts(&self.methods)),
        ];
        lists.retain(|(_, items)| !items.is_empty());
        lists
    }
}
