//! What the status says of certificates.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::shown;
use crate::admin::Subject;
use crate::certificates::Summary;
use crate::certificates::acme::Seen;

/// One certificate. What is stored and what is served are two facts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// Names it is served for.
    pub names: Vec<String>,
    /// `acme`, `self-signed`, or the file it comes from.
    pub source: String,
    /// Who issued the one in service.
    pub issuer: String,
    /// Where it is kept: what the next start would serve.
    pub stored: Option<Held>,
    /// What a handshake with the server got; `None` before the first, and when it failed.
    pub served: Option<Held>,
    /// When the next order is due, or may be tried again.
    #[serde(with = "time::serde::rfc3339::option")]
    pub next_attempt: Option<OffsetDateTime>,
    /// Why the last attempt to renew or reload it failed; `None` when that went well.
    pub last_error: Option<String>,
    /// What comes next, in words.
    #[serde(default)]
    pub next_step: String,
}

/// A certificate somewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Serial number in upper-case hexadecimal.
    pub serial: String,
    /// End of its validity.
    #[serde(with = "time::serde::rfc3339")]
    pub not_after: OffsetDateTime,
}

pub(in crate::admin) fn certificates(subject: &Subject) -> Vec<Certificate> {
    let summary = subject.certificates.summary();
    summary.into_iter().map(Certificate::from).collect()
}

impl Certificate {
    /// What comes next, in words.
    #[must_use]
    pub fn next_step(&self) -> String {
        let day = |at: OffsetDateTime| at.date().to_string();
        match (self.source.as_str(), &self.stored, self.next_attempt) {
            ("acme", None, Some(at)) => format!(
                "the first one is ordered; else tried again at {}",
                shown(at)
            ),
            ("acme", None, None) => "the first one is being ordered".to_owned(),
            ("acme", Some(_), Some(at)) if self.last_error.is_some() => {
                format!("renewal is tried again at {}", shown(at))
            }
            ("acme", Some(_), Some(at)) => format!("is renewed by itself on {}", day(at)),
            ("acme", Some(_), None) => "is being renewed".to_owned(),
            ("self-signed", ..) => "is made anew by itself 30 days before its end".to_owned(),
            (file, ..) => format!("a new one in {file} is taken up by itself"),
        }
    }
}

impl From<Summary> for Certificate {
    fn from(summary: Summary) -> Self {
        let mut certificate = Self {
            names: summary.names,
            source: summary.source.to_string(),
            issuer: summary.issuer,
            stored: summary.stored.map(Held::from),
            served: summary.seen.map(Held::from),
            next_attempt: summary.next_attempt,
            last_error: summary.last_error,
            next_step: String::new(),
        };
        certificate.next_step = certificate.next_step();
        certificate
    }
}

impl From<Seen> for Held {
    fn from(seen: Seen) -> Self {
        Self {
            serial: seen.serial,
            not_after: seen.not_after,
        }
    }
}
