//! Where account, certificates, ledgers and running orders lie: a seam, and files behind it.
//!
//! ```text
//! acme/HOST_PATH/                      one for each directory: staging and production never meet
//! ├── account-EMAIL.json               the account's key and URL
//! └── NAME/
//!     ├── pair.pem, certificate.pem    the certificate in use (see `store`)
//!     ├── previous/                    the one before, in case that one is damaged
//!     ├── ledger.json                  what was ordered, and how it ended
//!     ├── order.json                   the order that runs, with its key
//!     └── lock                         held while ordering; the system frees it when the process dies
//! ```

mod files;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

pub(in crate::certificates) use self::files::PLACE;
pub(super) use self::files::{Files, LEDGER};
use super::challenge::Proof;
use super::ledger::Ledger;
use crate::certificates::pair::Pair;

/// What several attempts, restarts, and perhaps several instances share. `name` is a DNS name or an
/// address, as certificates write it.
///
/// Errors are for people: each names the place and the remedy.
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// The account's credentials as JSON, or the key that it is about to be registered with.
    async fn account(&self) -> anyhow::Result<Option<String>>;
    /// Keeps or (`None`) forgets them.
    async fn save_account(&self, credentials: Option<&str>) -> anyhow::Result<()>;
    /// The newest certificate for `name` that can be read.
    async fn certificate(&self, name: &str) -> anyhow::Result<Option<Pair>>;
    /// Keeps a certificate (chain and key as PEM), beside the one before.
    async fn save_certificate(&self, name: &str, chain: &str, key: &str) -> anyhow::Result<Pair>;
    /// The ledger of `name`; a new one if there is none.
    async fn ledger(&self, name: &str) -> anyhow::Result<Ledger>;
    /// The ledgers of all names, those that no certificate is wanted for any more among them.
    async fn ledgers(&self) -> anyhow::Result<Vec<(String, Ledger)>>;
    /// Keeps it.
    async fn save_ledger(&self, name: &str, ledger: &Ledger) -> anyhow::Result<()>;
    /// The order for `name` that runs, or ran when a process died.
    async fn order(&self, name: &str) -> anyhow::Result<Option<RunningOrder>>;
    /// Keeps or (`None`) forgets it.
    async fn save_order(&self, name: &str, order: Option<&RunningOrder>) -> anyhow::Result<()>;
    /// Proves that what is written for `name` can be read back and removed.
    async fn probe(&self, name: &str) -> anyhow::Result<()>;
    /// The lock of `name`, unless another holds it. Dropping it frees it, and so does the death of the process.
    async fn try_lock(&self, name: &str) -> anyhow::Result<Option<Lock>>;
    /// Shares a proof with the other instances; answers once those within reach can show it.
    async fn offer(&self, _proof: &Proof) -> anyhow::Result<()> {
        Ok(())
    }
    /// Takes the proofs for `name` back.
    async fn withdraw(&self, _name: &str) -> anyhow::Result<()> {
        Ok(())
    }
}

/// Held while it lives.
pub type Lock = Box<dyn Send>;

/// An order at the CA, and the key of the certificate it will give: with both, a process that comes
/// after a crash finishes what was begun.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningOrder {
    /// The order's URL.
    pub url: String,
    /// PEM.
    pub key: String,
}

/// SECURITY: by hand, because keys must not get into a log.
impl std::fmt::Debug for RunningOrder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("RunningOrder")
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}
