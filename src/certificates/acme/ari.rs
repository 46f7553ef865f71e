//! What the CA says about when to renew: ACME Renewal Information
//! ([RFC 9773](https://www.rfc-editor.org/rfc/rfc9773)).

use std::time::Duration as StdDuration;

use instant_acme::CertificateIdentifier;
use rustls::pki_types::{CertificateDer, Der};
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How soon and how late the CA is asked again, whatever it says (RFC 9773, section 4.3.3).
const SOONEST: Duration = Duration::minutes(1);
const LATEST: Duration = Duration::hours(24);
/// How soon it is asked again when it says nothing, or does not answer (the same section).
const UNSAID: Duration = Duration::hours(6);

/// The CA's answer (RFC 9773, section 4.2).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct RenewalInfo {
    #[serde(rename = "suggestedWindow")]
    pub(super) window: Window,
    #[serde(rename = "explanationURL", default)]
    pub(super) explanation: Option<String>,
}

/// From when to when the CA would like the renewal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Its start.
    #[serde(with = "time::serde::rfc3339")]
    pub start: OffsetDateTime,
    /// Its end.
    #[serde(with = "time::serde::rfc3339")]
    pub end: OffsetDateTime,
}

/// What is remembered of it, for one certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The certificate, as RFC 9773, section 4.1 names it.
    pub certificate: String,
    /// The window, if the CA has told one.
    pub window: Option<Window>,
    /// The moment chosen in it.
    #[serde(with = "time::serde::rfc3339::option")]
    pub chosen: Option<OffsetDateTime>,
    /// When to ask again.
    #[serde(with = "time::serde::rfc3339")]
    pub ask_again: OffsetDateTime,
}

impl Window {
    /// Whether it is one: what ends before it begins counts as no answer (RFC 9773, section 4.2).
    pub(super) fn is_valid(self) -> bool {
        self.start < self.end
    }
}

impl Suggestion {
    /// What to remember of an answer. The moment chosen before is kept while the window is the
    /// same: choosing anew at each answer would drift towards the window's start. `random` is uniform in 0..1.
    #[must_use]
    pub fn of(
        certificate: String,
        before: Option<&Self>,
        window: Window,
        retry_after: Option<StdDuration>,
        now: OffsetDateTime,
        random: f64,
    ) -> Self {
        let kept = before
            .filter(|before| before.certificate == certificate && before.window == Some(window))
            .and_then(|before| before.chosen);
        let chosen = kept.unwrap_or_else(|| window.start + (window.end - window.start) * random);
        Self {
            certificate,
            window: Some(window),
            chosen: Some(chosen),
            ask_again: now + pause(retry_after),
        }
    }

    /// Whether it is still what the CA says of `certificate`. One that is to last for longer than any does
    /// was noted by a clock that was ahead.
    #[must_use]
    pub fn is_fresh(&self, certificate: &str, now: OffsetDateTime) -> bool {
        let left = self.ask_again - now;
        self.certificate == certificate && left.is_positive() && left <= LATEST
    }

    /// What to remember when there was no answer: what was known, and to ask again later.
    #[must_use]
    pub fn unanswered(certificate: String, before: Option<&Self>, now: OffsetDateTime) -> Self {
        let before = before.filter(|before| before.certificate == certificate);
        Self {
            window: before.and_then(|before| before.window),
            chosen: before.and_then(|before| before.chosen),
            certificate,
            ask_again: now + UNSAID,
        }
    }
}

fn pause(retry_after: Option<StdDuration>) -> Duration {
    retry_after
        .and_then(|asked| Duration::try_from(asked).ok())
        .map_or(UNSAID, |asked| asked.clamp(SOONEST, LATEST))
}

/// How RFC 9773, section 4.1 names a certificate; `None` if it lacks the key identifier of its authority.
pub(super) fn identifier(leaf: &CertificateDer<'_>) -> Option<CertificateIdentifier<'static>> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let authority =
        certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    authority.key_identifier.as_ref().map(|key| key.0.to_vec())
                }
                _ => None,
            })?;
    let serial = certificate.tbs_certificate.raw_serial();
    Some(
        CertificateIdentifier::new(Der::from_slice(&authority), Der::from_slice(serial))
            .into_owned(),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use time::macros::datetime;

    use super::*;

    const START: OffsetDateTime = datetime!(2027-01-01 00:00 UTC);

    fn window(start: i64, length: i64) -> Window {
        Window {
            start: START + Duration::seconds(start),
            end: START + Duration::seconds(start + length),
        }
    }

    #[test]
    fn a_suggestion_is_fresh_for_as_long_as_the_ca_says() {
        let suggestion = Suggestion::unanswered("AA.01".to_owned(), None, START);
        let table = [
            ("AA.01", Duration::ZERO, true, "just asked"),
            ("AA.02", Duration::ZERO, false, "another certificate"),
            ("AA.01", UNSAID - Duration::SECOND, true, "its last second"),
            ("AA.01", UNSAID, false, "over"),
            (
                "AA.01",
                -Duration::days(365),
                false,
                "the clock was a year ahead",
            ),
        ];
        for (certificate, since, expected, why) in table {
            let fresh = suggestion.is_fresh(certificate, START + since);
            assert_eq!(fresh, expected, "{why}");
        }
    }

    #[test]
    fn the_answer_of_the_rfc_is_read() {
        let text = r#"{"suggestedWindow":{"start":"2025-01-02T04:00:00Z","end":"2025-01-03T04:00:00Z"},
            "explanationURL":"https://acme.example.com/docs/ari"}"#;
        let info: RenewalInfo = serde_json::from_str(text).unwrap();
        assert_eq!(info.window.end - info.window.start, Duration::days(1));
        assert_eq!(
            info.explanation.unwrap(),
            "https://acme.example.com/docs/ari"
        );
    }

    #[test]
    fn a_window_has_a_length() {
        let table = [(1, true), (0, false), (-1, false)];
        for (length, valid) in table {
            assert_eq!(window(0, length).is_valid(), valid, "{length}");
        }
    }

    #[test]
    fn the_ca_is_asked_again_when_it_says_but_within_reason() {
        let table = [
            (Some(21_600), 21_600, "as it says"),
            (Some(1), 60, "not every second"),
            (Some(900_000), 86_400, "at least daily"),
            (None, 21_600, "nothing said: six hours"),
        ];
        for (asked, expected, why) in table {
            let asked = asked.map(StdDuration::from_secs);
            let suggestion = Suggestion::of("a.b".into(), None, window(0, 10), asked, START, 0.0);
            let seconds = (suggestion.ask_again - START).whole_seconds();
            assert_eq!(seconds, expected, "{why}");
        }
    }

    #[test]
    fn without_an_answer_the_moment_chosen_before_stands() {
        let before = Suggestion::of("a.b".into(), None, window(0, 10), None, START, 0.5);
        let later = START + Duration::hours(7);
        let after = Suggestion::unanswered("a.b".into(), Some(&before), later);
        assert_eq!(after.chosen, before.chosen);
        assert_eq!(after.ask_again, later + UNSAID);
        let other = Suggestion::unanswered("c.d".into(), Some(&before), later);
        assert_eq!(other.chosen, None, "it was another certificate's");
    }

    proptest! {
        #[test]
        fn the_moment_lies_in_the_window_and_is_kept_while_the_window_is_unchanged(
            start in -1_000_000_i64..1_000_000,
            length in 1_i64..1_000_000,
            moved in 1_i64..1000,
            randoms in (0.0..1.0_f64, 0.0..1.0_f64),
        ) {
            let suggest = |before: Option<&Suggestion>, window, random| {
                Suggestion::of("a.b".into(), before, window, None, START, random)
            };
            let first = suggest(None, window(start, length), randoms.0);
            let chosen = first.chosen.unwrap();
            prop_assert!(chosen >= START + Duration::seconds(start));
            prop_assert!(chosen <= START + Duration::seconds(start + length));
            let second = suggest(Some(&first), window(start, length), randoms.1);
            prop_assert_eq!(second.chosen, first.chosen);
            let third = suggest(Some(&second), window(start + moved, length), randoms.1);
            prop_assert!(third.chosen.unwrap() >= START + Duration::seconds(start + moved));
        }
    }
}
