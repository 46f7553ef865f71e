//! `[upstream.health]`: how servers are asked whether they are well.

use std::fmt;
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{HeaderValue, StatusCode};

use super::host;
use crate::config::printer::{Printer, shown};
use crate::config::read::{LONGEST_TIMEOUT, duration_up_to, integer, text, unless_empty};
use crate::config::reader::Section;
use crate::config::values::print_duration;

/// `[upstream.health]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path and query that are asked for.
    pub path: String,
    /// `Host` of the question. Default the upstream's `host`, else the server's address.
    pub host: Option<HeaderValue>,
    /// The answer of a server that is well. Default any 2xx.
    pub status: ExpectedStatus,
    /// Between two questions. Default 10 s.
    pub interval: Duration,
    /// For the whole answer's head. Default 5 s.
    pub timeout: Duration,
    /// Wrong answers in a row after which a server gets no requests. Default 3.
    pub unhealthy_after: u32,
    /// Right answers in a row after which it gets them again. Default 2.
    pub healthy_after: u32,
}

/// `204` or `2xx`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedStatus {
    /// This status only.
    Exactly(StatusCode),
    /// Any of the class: 2 stands for 200 to 299.
    Class(u16),
}

/// Reads `[upstream.health]`.
pub(super) fn health(section: &Section<'_>) -> Option<HealthCheck> {
    let path = section.required("path", r#""/healthz""#, text(parse_path));
    let timeout = |key| section.value(key, duration_up_to(LONGEST_TIMEOUT));
    let times = |key| section.value(key, integer(1..=1000));
    let check = HealthCheck {
        path: path.clone().unwrap_or_default(),
        host: section.value("host", unless_empty(host)),
        status: section.value("status", text(ExpectedStatus::parse)),
        interval: timeout("interval"),
        timeout: timeout("timeout"),
        unhealthy_after: times("unhealthy_after"),
        healthy_after: times("healthy_after"),
    };
    path.is_some().then_some(check)
}

/// Prints it.
pub(super) fn print(out: &mut Printer, health: &HealthCheck) {
    out.heading("[upstream.health]");
    out.text("path", out.mask.covered(&health.path));
    out.text("host", health.host.as_ref().map_or("", shown));
    out.text("status", health.status);
    out.text("interval", print_duration(health.interval));
    out.text("timeout", print_duration(health.timeout));
    out.plain("unhealthy_after", health.unhealthy_after);
    out.plain("healthy_after", health.healthy_after);
}

fn parse_path(path: &str) -> Result<String, &'static str> {
    let is_path = path.starts_with('/') && path.parse::<PathAndQuery>().is_ok();
    if is_path {
        Ok(path.to_owned())
    } else {
        Err("must be a path that starts with /")
    }
}

impl ExpectedStatus {
    fn parse(text: &str) -> Result<Self, &'static str> {
        let class = text.strip_suffix("xx").and_then(|class| class.parse().ok());
        let known = match class {
            Some(class @ 2..=5) => Some(Self::Class(class)),
            Some(_) => None,
            None => text.parse().ok().map(Self::Exactly),
        };
        // What comes before the answer is not the answer.
        known
            .filter(|known| !known.is_met_by(StatusCode::CONTINUE))
            .ok_or(r#"must be a status such as "204", or a class such as "2xx""#)
    }

    /// Whether `status` is an answer that was hoped for.
    #[must_use]
    pub fn is_met_by(self, status: StatusCode) -> bool {
        match self {
            Self::Exactly(expected) => status == expected,
            Self::Class(class) => status.as_u16() / 100 == class,
        }
    }
}

impl fmt::Display for ExpectedStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(status) => write!(f, "{}", status.as_u16()),
            Self::Class(class) => write!(f, "{class}xx"),
        }
    }
}
