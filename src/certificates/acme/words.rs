//! What the log and `status` say of a certificate, as far as the CA has not said it.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::schedule::{Limit, Reason, registered_domain};

/// Why a certificate is ordered.
pub(super) fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::Missing => "there is none yet",
        Reason::Expired => "the last one has expired",
        Reason::Emergency => "the last one is about to expire",
        Reason::Suggested => "the CA suggests it",
        Reason::Due => "the last one has lived long enough",
        Reason::Wished => "as asked for",
    }
}

/// Why none is ordered, until when, and how a person overrides that.
pub(super) fn refusal(
    limit: Limit,
    until: OffsetDateTime,
    name: &str,
    last_error: Option<&str>,
) -> String {
    let until = shown(until);
    let allowed = limit.allowed();
    let why = match limit {
        Limit::SameNames => format!(
            "it would be certificate number {allowed} for this name in 7 days, and public CAs lock a name out then; is tls.certs_dir lost at each start?"
        ),
        Limit::FailedValidations => format!(
            "public CAs allow {allowed} failed proofs of a name in an hour; the last failure: {}",
            last_error.unwrap_or("not known")
        ),
        Limit::Domain => format!(
            "Let's Encrypt gives {allowed} first certificates in 7 days for all names of {} together, and a few are left for other servers; the rest follow one by one.",
            registered_domain(name).unwrap_or(name)
        ),
        Limit::Orders => format!(
            "Let's Encrypt takes {allowed} orders for first certificates from an account in 3 hours; the rest follow one by one."
        ),
    };
    format!(
        "no order before {until}: {why} To order all the same: unibody certs renew {name} --force"
    )
}

/// What a failed order means for those who visit `name`.
pub(super) fn consequence(valid_until: Option<OffsetDateTime>) -> String {
    match valid_until {
        Some(until) => format!("the certificate in service is valid until {}", shown(until)),
        None => "and until then no browser trusts this name".to_owned(),
    }
}

/// `2027-01-01T00:00:00Z`.
pub(super) fn shown(at: OffsetDateTime) -> String {
    let seconds = at.replace_nanosecond(0).unwrap_or(at);
    seconds.format(&Rfc3339).unwrap_or_else(|_| at.to_string())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_refusal_says_until_when_why_and_what_to_do() {
        let until = datetime!(2027-01-01 12:00:00.5 UTC);
        let table = [
            (
                Limit::SameNames,
                "certificate number 5 for this name in 7 days",
            ),
            (
                Limit::FailedValidations,
                "the last failure: port 80 is closed",
            ),
            (Limit::Domain, "all names of example.test together"),
            (Limit::Orders, "300 orders for first certificates"),
        ];
        for (limit, why) in table {
            let words = refusal(limit, until, "a.example.test", Some("port 80 is closed"));
            let all = [
                "2027-01-01T12:00:00Z",
                why,
                "unibody certs renew a.example.test --force",
            ];
            for part in all {
                assert!(words.contains(part), "{words}");
            }
        }
    }
}
