//! What is told of each certificate while the server runs, for `certs list` and `status`.

use std::fmt;
use std::path::PathBuf;

use time::OffsetDateTime;

use super::acme::Seen;
use super::{Certificates, Origin, Served, files};

/// One certificate as it is served, for `certs list` and `status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Names it is served for, as the configuration writes them.
    pub names: Vec<String>,
    /// End of its validity.
    pub not_after: OffsetDateTime,
    /// Who issued it.
    pub issuer: String,
    /// Serial number in upper-case hexadecimal.
    pub serial: String,
    /// Where it comes from.
    pub source: Source,
    /// Why the last attempt to renew or reload it failed; `None` when that went well.
    pub last_error: Option<String>,
    /// What is in storage; `None` while a throwaway stands in for a CA's certificate.
    pub stored: Option<Seen>,
    /// What a handshake with this server got; `None` before the first, and when it failed.
    pub seen: Option<Seen>,
    /// Of a CA's certificate: when the next order is due, or may be tried again.
    pub next_attempt: Option<OffsetDateTime>,
}

/// Where a certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Our own making.
    SelfSigned,
    /// A CA's.
    Acme,
    /// The user's file (the chain's).
    File(PathBuf),
}

impl Certificates {
    /// What is served now, in the order of the configuration.
    #[must_use]
    pub fn summary(&self) -> Vec<Summary> {
        let served = self.served.load();
        let summaries = served.iter().map(Served::summary);
        let Origin::Acme(managed) = &self.origin else {
            let seen = self.seen.lock();
            let mut seen = seen.iter().cloned();
            return summaries
                .map(|summary| Summary {
                    seen: seen.next().flatten(),
                    ..summary
                })
                .collect();
        };
        summaries
            .enumerate()
            .map(|(index, summary)| {
                let status = managed.status(index);
                Summary {
                    last_error: status.last_error,
                    stored: status.stored,
                    seen: status.served,
                    next_attempt: status.next_attempt,
                    ..summary
                }
            })
            .collect()
    }
}

impl Served {
    fn summary(&self) -> Summary {
        let facts = self.pair.facts();
        Summary {
            names: self.hosts.iter().map(files::text).collect(),
            not_after: facts.not_after,
            issuer: facts.issuer.clone(),
            serial: facts.serial.clone(),
            source: self.source.clone(),
            last_error: self.last_error.clone(),
            stored: Some(Seen::of(facts)),
            seen: None,
            next_attempt: None,
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SelfSigned => formatter.write_str("self-signed"),
            Self::Acme => formatter.write_str("acme"),
            Self::File(path) => write!(formatter, "{}", path.display()),
        }
    }
}
