//! `[[rate_limit]]`: how often one client may ask, and the routes that say so.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};

use crate::config::nearest::nearest;
use crate::config::node::Node;
use crate::config::printer::Printer;
use crate::config::read::{integer, some, string, text};
use crate::config::reader::Section;
use crate::config::values::Invalid;

/// Most tokens of a bucket, and most requests that a rate counts.
const MOST: u32 = 1_000_000;
/// Longest time in which a bucket may fill: beyond it clocks overflow.
const LONGEST: Duration = Duration::from_hours(24 * 366);
/// Longest name: it travels with every answer.
const LONGEST_NAME: usize = 64;

/// `[[rate_limit]]`: a bucket of tokens for each client; a request takes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RateLimit {
    /// The name routes refer to, and clients see in `RateLimit`.
    pub name: String,
    /// How fast tokens come back.
    pub rate: Rate,
    /// Tokens of a full bucket: so many requests may come at once.
    pub burst: u32,
    /// What tells clients apart. Default the address.
    pub key: LimitKey,
}

/// `10/s`, `300/m`, `1000/h`, `5000/d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests in each period.
    pub count: u32,
    /// A second, a minute, an hour or a day.
    pub period: Duration,
}

/// What tells one client of a rate limit from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LimitKey {
    /// The client's address, IPv6 by its /64.
    Ip,
    /// The bearer token of `Authorization`; without one the address.
    Token,
    /// This header's value; without it the address.
    Header(HeaderName),
}

/// Rate limits by their names.
pub(in crate::config) type RateLimits = HashMap<String, Arc<RateLimit>>;

/// Every `[[rate_limit]]`, in the order of the file.
pub(in crate::config) fn rate_limits(root: &Section<'_>) -> RateLimits {
    let mut lines: HashMap<String, usize> = HashMap::new();
    let mut limits = RateLimits::new();
    for section in root.tables("rate_limit") {
        let Some(limit) = rate_limit(&section) else {
            continue;
        };
        if let Some(line) = lines.get(&limit.name) {
            let what = format!(
                "\"{}\" is the name of the rate limit of line {line}",
                limit.name
            );
            section.note_combination_at("name", &what);
        }
        lines.insert(limit.name.clone(), section.line());
        limits.insert(limit.name.clone(), Arc::new(limit));
    }
    limits
}

/// The limits that a route names and the methods that count.
pub(super) fn of_route(
    section: &Section<'_>,
    limits: &RateLimits,
) -> (Vec<Arc<RateLimit>>, Vec<Method>) {
    let named = |node: &Node<'_>| {
        let name = string(node)?;
        let limit = limits.get(&name);
        // It may stand in the piece that could not be read.
        if limit.is_none() && section.reader.broken.is_empty() {
            let hint = match nearest(&name, limits.keys().map(String::as_str)) {
                Some(nearest) => format!("did you mean \"{nearest}\"?"),
                None => "add [[rate_limit]] with this name".to_owned(),
            };
            node.wrong(&format!("no rate limit has this name; {hint}"));
        }
        limit.cloned()
    };
    let named = section.optional("rate_limit", some(named));
    let methods = section.optional("methods", some(text(method)));
    if section.has("methods") && !section.has("rate_limit") {
        section.note_combination_at("methods", "belongs to a route with rate_limit");
    }
    let mut once: Vec<Arc<RateLimit>> = Vec::new();
    for limit in named.unwrap_or_default() {
        if once.contains(&limit) {
            let what = format!("\"{}\" is written twice; once is enough", limit.name);
            section.note_combination_at("rate_limit", &what);
        } else {
            once.push(limit);
        }
    }
    (once, methods.unwrap_or_default())
}

/// A method as requests write it.
pub(super) fn method(text: &str) -> Result<Method, Invalid> {
    let is_written_so = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase());
    let method = Method::from_bytes(text.as_bytes()).ok();
    method
        .filter(|_| is_written_so)
        .ok_or_else(|| Invalid::new(r#"not a method; write for example "POST", in upper case"#))
}

fn rate_limit(section: &Section<'_>) -> Option<RateLimit> {
    let name = section.required("name", r#""writes""#, text(limit_name));
    let rate = section.required("rate", r#""10/s""#, text(Rate::parse));
    let burst = section.optional("burst", integer(1..=MOST));
    let key = section.value("key", text(LimitKey::parse));
    // Without its rate it still has its name, so that its routes are not blamed as well.
    let rate = rate.unwrap_or(Rate {
        count: 1,
        period: Duration::from_secs(1),
    });
    let burst = burst.unwrap_or(rate.count);
    if rate.interval().saturating_mul(burst) > LONGEST {
        let what = "the bucket would take more than a year to fill; lower it or raise rate";
        section.note_combination_at("burst", what);
    }
    Some(RateLimit {
        name: name?,
        rate,
        burst,
        key,
    })
}

fn limit_name(text: &str) -> Result<String, &'static str> {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(1..=LONGEST_NAME).contains(&text.len()) || !text.bytes().all(inside) {
        return Err("a name is 1 to 64 letters, digits, \"-\", \"_\" and \".\"; clients see it");
    }
    Ok(text.to_owned())
}

impl RateLimit {
    /// Prints it.
    pub(in crate::config) fn print(&self, out: &mut Printer) {
        out.heading("[[rate_limit]]");
        out.text("name", &self.name);
        out.text("rate", self.rate);
        out.plain("burst", self.burst);
        out.text("key", &self.key);
    }
}

impl Rate {
    /// Reads `10/s`.
    ///
    /// # Errors
    /// Says how to write a rate.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid = || {
            Invalid::new(r#"not a rate; write for example "10/s", "300/m", "1000/h" or "5000/d""#)
        };
        let (count, period) = text.split_once('/').ok_or_else(invalid)?;
        let count = count.trim();
        if !count.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid());
        }
        let count: u32 = count.parse().map_err(|_| invalid())?;
        if !(1..=MOST).contains(&count) {
            return Err(Invalid::new(format!("a rate counts from 1 to {MOST}")));
        }
        let period = match period.trim() {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            "d" => Duration::from_hours(24),
            _ => return Err(invalid()),
        };
        Ok(Self { count, period })
    }

    /// How long one token takes to come back.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.period / self.count
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let period = match self.period.as_secs() {
            1 => 's',
            60 => 'm',
            3600 => 'h',
            _ => 'd',
        };
        write!(f, "{}/{period}", self.count)
    }
}

impl LimitKey {
    /// Reads `ip`, `token` or `header:X-Api-Key`.
    ///
    /// # Errors
    /// Says what can be a key.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let invalid =
            || Invalid::new(r#"not a key; write "ip", "token" or for example "header:X-Api-Key""#);
        match text {
            "ip" => Ok(Self::Ip),
            "token" => Ok(Self::Token),
            text => {
                let name = text.strip_prefix("header:").ok_or_else(invalid)?;
                name.trim().parse().map(Self::Header).map_err(|_| invalid())
            }
        }
    }
}

impl fmt::Display for LimitKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip => f.write_str("ip"),
            Self::Token => f.write_str("token"),
            Self::Header(name) => write!(f, "header:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_read_and_print_the_same() {
        for (text, count, seconds, why) in [
            ("10/s", 10, 1, "a second"),
            ("300/m", 300, 60, "a minute"),
            ("1/h", 1, 3600, "an hour"),
            ("1000000/d", 1_000_000, 86_400, "a day, and the most"),
        ] {
            let rate = Rate::parse(text).unwrap();
            let period = Duration::from_secs(seconds);
            assert_eq!(rate, Rate { count, period }, "{why}");
            assert_eq!(rate.to_string(), text, "{why}");
        }
        for (text, why) in [
            ("10", "no period"),
            ("10r/s", "nginx's way"),
            ("0/s", "none at all"),
            ("1000001/s", "too many"),
            ("+1/s", "a sign"),
            ("/s", "no count"),
            ("1.5/s", "a fraction"),
            ("1/week", "no such period"),
            ("1/s/s", "two periods"),
        ] {
            assert!(Rate::parse(text).is_err(), "{text}: {why}");
        }
    }

    #[test]
    fn keys_read_and_print_the_same() {
        for text in ["ip", "token", "header:x-api-key"] {
            assert_eq!(LimitKey::parse(text).unwrap().to_string(), text);
        }
        for text in ["", "IP", "address", "header:", "header:a b", "cookie:a"] {
            assert!(LimitKey::parse(text).is_err(), "{text}");
        }
    }
}
