//! What the CA says of when to renew, asked for as often as it wants to be asked.

use time::OffsetDateTime;
use tracing::warn;

use super::look::Look;
use super::random;
use crate::certificates::acme::ari::{self, Suggestion};
use crate::certificates::acme::ledger::Ledger;
use crate::certificates::acme::words::shown;
use crate::certificates::pair::Pair;

impl Look<'_> {
    /// Asks the CA when it would like the renewal, if it is time to ask.
    pub(super) async fn ask_the_ca(&self, current: Option<&Pair>, ledger: &mut Ledger) {
        let Some(leaf) = current.and_then(|pair| pair.certified().cert.first()) else {
            return;
        };
        let Some(identifier) = ari::identifier(leaf) else {
            return;
        };
        let certificate = identifier.to_string();
        let now = OffsetDateTime::now_utc();
        let before = ledger.suggestion.take();
        if before
            .as_ref()
            .is_some_and(|before| before.is_fresh(&certificate, now))
        {
            ledger.suggestion = before;
            return;
        }
        let directory = self.shared.directory.apart();
        let answer = directory.renewal_info(&identifier).await;
        let suggestion = match answer {
            Ok(Some((info, retry_after))) if info.window.is_valid() => {
                let suggestion = Suggestion::of(
                    certificate,
                    before.as_ref(),
                    info.window,
                    retry_after,
                    now,
                    random(),
                );
                self.tell_of_suggestion(before.as_ref(), &suggestion, info.explanation.as_deref());
                suggestion
            }
            // No opinion, or no answer: not worth a line; the lifetime says when.
            Ok(_) | Err(_) => Suggestion::unanswered(certificate, before.as_ref(), now),
        };
        ledger.suggestion = Some(suggestion);
        // Lost, it is asked again.
        let _ = self.save(ledger).await;
    }

    fn tell_of_suggestion(
        &self,
        before: Option<&Suggestion>,
        suggestion: &Suggestion,
        explanation: Option<&str>,
    ) {
        let moved = before.is_some_and(|before| {
            before.certificate == suggestion.certificate
                && before.window.is_some()
                && before.window != suggestion.window
        });
        if let (true, Some(chosen)) = (moved, suggestion.chosen) {
            warn!(
                "{}: the CA has moved the time of renewal to {}{}",
                self.keeper.name,
                shown(chosen),
                explanation.map_or(String::new(), |url| format!("; it explains why at {url}"))
            );
        }
    }
}

/// How the CA calls the certificate when it is asked.
pub(super) fn identifier_of(pair: &Pair) -> Option<String> {
    let leaf = pair.certified().cert.first()?;
    Some(ari::identifier(leaf)?.to_string())
}
