//! Stored and served are two facts: what does a handshake with ourselves get?

use tracing::{error, info, warn};

use super::look::Look;
use crate::certificates::acme::verify::Seen;
use crate::certificates::pair::Pair;

impl Look<'_> {
    /// Asks our own listener, and says so when it does not serve what is stored.
    pub(super) async fn verify(&self, stored: Option<&Pair>) {
        let before = self.keeper.status.lock().served.clone();
        let answer = self.observe().await;
        let (Some(stored), Some(answer)) = (stored.map(|pair| Seen::of(pair.facts())), answer)
        else {
            return;
        };
        let name = &self.keeper.name;
        if answer.serial == stored.serial {
            if before.as_ref() != Some(&answer) {
                info!(
                    "{name}: a handshake with this server got the stored certificate, serial {}",
                    answer.serial
                );
            }
        } else {
            error!(
                "{name}: certificate {} is stored, but a handshake with this server got {}; restart it, and report this as a mistake of unibody",
                stored.serial, answer.serial
            );
        }
    }

    /// What a handshake with ourselves gets, noted as served.
    async fn observe(&self) -> Option<Seen> {
        let listener = *self.https.first()?;
        match listener.served(&self.keeper.name).await {
            Ok(seen) => {
                self.keeper.status.lock().served = Some(seen.clone());
                Some(seen)
            }
            Err(error) => {
                warn!(
                    "{}: a handshake with this server at {listener} failed: {error}",
                    self.keeper.name
                );
                self.keeper.status.lock().served = None;
                None
            }
        }
    }
}
