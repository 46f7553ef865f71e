//! One order in the ledger: when it was, and how it ended.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::config::Challenge;

/// One order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it began.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// Whether there was a certificate for the name before: some limits leave renewals out.
    #[serde(default)]
    pub renewal: bool,
    /// How it ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// When the CA found the name unproven, once for each challenge.
    #[serde(default)]
    pub failed_validations: Vec<Moment>,
}

/// A time, as JSON writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Moment(#[serde(with = "time::serde::rfc3339")] pub OffsetDateTime);

/// How an order ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "kebab-case")]
pub enum Outcome {
    /// It runs, or this program ended in the middle of it.
    Begun,
    /// With a certificate.
    Issued {
        /// Its serial number in upper-case hexadecimal.
        serial: String,
        /// Whether it counts towards the CA's limit for the same names.
        counts: bool,
    },
    /// Without.
    Failed {
        /// What a person is told.
        error: String,
    },
}

/// A challenge's name in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProvenBy {
    /// `http-01`.
    #[serde(rename = "http-01")]
    Http01,
    /// `tls-alpn-01`.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
}

impl From<Challenge> for ProvenBy {
    fn from(challenge: Challenge) -> Self {
        match challenge {
            Challenge::Http01 => Self::Http01,
            Challenge::TlsAlpn01 => Self::TlsAlpn01,
        }
    }
}
