//! What went wrong, in words that a person understands, and what can be done about it.

use std::error::Error as _;
use std::time::Duration;

use instant_acme::{Error, Problem};

use super::client::Client;
use crate::config::Challenge;

/// What every error type of RFC 8555, section 6.7 begins with.
const URN: &str = "urn:ietf:params:acme:error:";

/// How CAs refuse the registration of a customer.
const ABOUT_CUSTOMERS: [&str; 3] = ["malformed", "unauthorized", "externalAccountRequired"];

/// Why an order gave no certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{words}")]
pub struct Failure {
    /// One line for people, with the CA's own words in it.
    pub words: String,
    /// What follows from it.
    pub kind: Kind,
    /// How long the CA asks to wait.
    pub retry_after: Option<Duration>,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The CA found the name unproven; the other kind of challenge may do better.
    Unproven,
    /// The CA found the name unproven, for a reason that no kind of challenge changes.
    Hopeless,
    /// The CA has forgotten the account.
    AccountGone,
    /// The CA did not like a part of the order that may be left out.
    Replaces,
    /// The CA refused for a reason that this order will not outlive.
    Refused,
    /// Everything else: try again later. The order itself may still be good.
    Later,
}

impl Failure {
    /// One of our own: the disk, or a wrong answer of the CA.
    pub(super) fn ours(words: impl Into<String>) -> Self {
        Self {
            words: words.into(),
            kind: Kind::Later,
            retry_after: None,
        }
    }

    /// What `error` means that the CA at `client` answered, or that kept it from answering.
    pub(super) fn of(error: &Error, client: &Client) -> Self {
        let ca = client.host();
        match error {
            Error::Api(problem) => Self::of_problem(problem, ca, client.retry_after()),
            Error::Timeout(_) => Self::ours(format!(
                "the CA ({ca}) did not finish in time; this is tried again"
            )),
            Error::Json(error) => Self::ours(format!(
                "the CA ({ca}) answered something that is not ACME ({error}); check acme.directory"
            )),
            error => Self::ours(format!(
                "the CA ({ca}) gave no answer: {}; check this machine's network and name resolution, and acme.directory",
                with_causes(error)
            )),
        }
    }

    /// What `error` means in the answer to a customer's registration. CAs tell in different ways that
    /// they do not know a customer (RFC 8555, section 7.3.4, leaves it to them).
    pub(super) fn of_customer(error: &Error, client: &Client) -> Self {
        match error {
            Error::Api(problem) if ABOUT_CUSTOMERS.contains(&short(problem)) => Self {
                words: format!(
                    "the CA ({}) does not accept acme.eab_kid with acme.eab_hmac_key: {}; copy both again as your account there shows them",
                    client.host(),
                    verbatim(problem)
                ),
                kind: Kind::Refused,
                retry_after: client.retry_after(),
            },
            error => Self::of(error, client),
        }
    }

    fn of_problem(problem: &Problem, ca: &str, retry_after: Option<Duration>) -> Self {
        let detail = verbatim(problem);
        let (words, kind) = match short(problem) {
            "rateLimited" => (
                format!("the CA ({ca}) refuses more orders for a while: {detail}"),
                Kind::Later,
            ),
            "accountDoesNotExist" => (
                format!("the CA ({ca}) does not know the account any more: {detail}"),
                Kind::AccountGone,
            ),
            "externalAccountRequired" => (
                format!(
                    "the CA ({ca}) serves known customers only; set acme.eab_kid and acme.eab_hmac_key as your account there shows them: {detail}"
                ),
                Kind::Refused,
            ),
            "userActionRequired" => (
                format!("the CA ({ca}) wants you to do something first: {detail}"),
                Kind::Refused,
            ),
            "invalidContact" | "unsupportedContact" => (
                format!("the CA ({ca}) does not accept acme.email: {detail}"),
                Kind::Refused,
            ),
            "invalidProfile" => (
                format!("the CA ({ca}) does not offer acme.profile: {detail}"),
                Kind::Refused,
            ),
            "rejectedIdentifier" | "unsupportedIdentifier" => (
                format!("the CA ({ca}) gives no certificate for this name: {detail}"),
                Kind::Refused,
            ),
            "alreadyReplaced" => (
                format!("the CA ({ca}) has replaced this certificate already: {detail}"),
                Kind::Replaces,
            ),
            _ if problem.status.is_some_and(|status| status >= 500) => (
                format!("the CA ({ca}) has trouble of its own: {detail}"),
                Kind::Later,
            ),
            _ => (format!("the CA ({ca}) refused: {detail}"), Kind::Refused),
        };
        Self {
            words,
            kind,
            retry_after,
        }
    }

    /// What `error` means in the answer to "the proof is ready". Some CAs look at once, and answer what they found.
    pub(super) fn of_challenge(
        error: &Error,
        client: &Client,
        name: &str,
        challenge: Challenge,
    ) -> Self {
        const FOUND: [&str; 6] = [
            "connection",
            "dns",
            "tls",
            "unauthorized",
            "incorrectResponse",
            "caa",
        ];
        match error {
            Error::Api(problem) if FOUND.contains(&short(problem)) => {
                Self::unproven(name, challenge, Some(problem))
            }
            error => Self::of(error, client),
        }
    }

    /// What it means that the CA found `name` unproven.
    pub(super) fn unproven(name: &str, challenge: Challenge, problem: Option<&Problem>) -> Self {
        let port = match challenge {
            Challenge::Http01 => 80,
            Challenge::TlsAlpn01 => 443,
        };
        let detail = problem.map_or_else(|| "it gave no reason".to_owned(), verbatim);
        let (words, kind) = match problem.map_or("", short) {
            "connection" => (
                format!(
                    "the CA could not connect to port {port} of {name}: {detail}; let that port through firewall and router to this server, and let A and AAAA records lead here and nowhere else"
                ),
                Kind::Unproven,
            ),
            "dns" => (
                format!(
                    "the CA could not find {name} in DNS: {detail}; make an A or AAAA record that leads to this server"
                ),
                Kind::Unproven,
            ),
            "tls" => (
                format!(
                    "the CA reached port {port} of {name}, but did not get this server's answer in the TLS handshake: {detail}; a proxy or CDN in front may end TLS itself"
                ),
                Kind::Unproven,
            ),
            "unauthorized" | "incorrectResponse" => (
                format!(
                    "the CA asked port {port} of {name} and got another answer than this server's: {detail}; A or AAAA records may lead elsewhere, or a proxy or CDN answers"
                ),
                Kind::Unproven,
            ),
            "caa" => (
                format!(
                    "the CAA records of {name} do not allow this CA: {detail}; add the CA to them"
                ),
                Kind::Hopeless,
            ),
            "serverInternal" => (
                format!("the CA failed at checking {name}: {detail}"),
                Kind::Unproven,
            ),
            "rejectedIdentifier" | "unsupportedIdentifier" => (
                format!("the CA gives no certificate for {name}: {detail}"),
                Kind::Hopeless,
            ),
            _ => (
                format!("the CA did not accept the proof for {name}: {detail}"),
                Kind::Hopeless,
            ),
        };
        Self {
            words,
            kind,
            retry_after: None,
        }
    }
}

/// Whether the CA only wants the request again with a fresh nonce (RFC 8555, section 6.5).
pub(super) fn is_bad_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if short(problem) == "badNonce")
}

/// `rateLimited` of `urn:ietf:params:acme:error:rateLimited`; empty for types that are not ACME's.
fn short(problem: &Problem) -> &str {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    kind.strip_prefix(URN).unwrap_or_default()
}

/// What the CA said, with what it said of each name, on one line.
fn verbatim(problem: &Problem) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(problem.detail.clone());
    for sub in &problem.subproblems {
        parts.extend(sub.detail.clone());
    }
    if parts.is_empty() {
        parts.extend(problem.r#type.clone());
        parts.extend(problem.status.map(|status| format!("status {status}")));
    }
    // What a foreign server says goes into our log: one line, and not endlessly.
    let text = parts.join("; ");
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\"{}\"", line.chars().take(600).collect::<String>())
}

fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: &str) -> Problem {
        let json = serde_json::json!({"type": format!("{URN}{kind}"), "detail": detail});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn failed_challenges_say_what_to_do_and_whether_the_other_one_may_help() {
        use Challenge::{Http01, TlsAlpn01};
        let table = [
            (
                "connection",
                Http01,
                "could not connect to port 80 of a.test",
                Kind::Unproven,
            ),
            (
                "connection",
                TlsAlpn01,
                "could not connect to port 443 of a.test",
                Kind::Unproven,
            ),
            (
                "dns",
                Http01,
                "could not find a.test in DNS",
                Kind::Unproven,
            ),
            ("tls", TlsAlpn01, "TLS handshake", Kind::Unproven),
            (
                "unauthorized",
                Http01,
                "another answer than this server's",
                Kind::Unproven,
            ),
            (
                "serverInternal",
                Http01,
                "failed at checking a.test",
                Kind::Unproven,
            ),
            ("caa", Http01, "CAA records", Kind::Hopeless),
            (
                "rejectedIdentifier",
                Http01,
                "no certificate for a.test",
                Kind::Hopeless,
            ),
            (
                "malformed",
                Http01,
                "did not accept the proof",
                Kind::Hopeless,
            ),
        ];
        for (kind, challenge, words, expected) in table {
            let failure = Failure::unproven("a.test", challenge, Some(&problem(kind, "why not")));
            assert!(failure.words.contains(words), "{kind}: {}", failure.words);
            assert!(failure.words.contains("\"why not\""), "the CA's own words");
            assert_eq!(failure.kind, expected, "{kind}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let table = [
            ("rateLimited", "refuses more orders", Kind::Later),
            (
                "accountDoesNotExist",
                "does not know the account",
                Kind::AccountGone,
            ),
            ("externalAccountRequired", "acme.eab_kid", Kind::Refused),
            ("alreadyReplaced", "replaced", Kind::Replaces),
            ("malformed", "refused", Kind::Refused),
        ];
        for (kind, words, expected) in table {
            let failure = Failure::of_problem(&problem(kind, "x"), "ca.test", None);
            assert!(failure.words.contains(words), "{kind}: {}", failure.words);
            assert!(failure.words.contains("ca.test"));
            assert_eq!(failure.kind, expected, "{kind}");
        }
    }

    #[test]
    fn a_foreign_server_cannot_write_lines_into_our_log() {
        let problem = problem(
            "malformed",
            &format!("a\n2027 ERROR fake\r\n{}", "x".repeat(9000)),
        );
        let words = Failure::of_problem(&problem, "ca.test", None).words;
        assert!(!words.contains('\n') && words.len() < 1000, "{words}");
    }
}
