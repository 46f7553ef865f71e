//! The ledger: how many certificates may still be ordered for each name.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::finding::{Finding, Grade};
use crate::certificates::acme::inspect::{self, ORDERS_IN_WINDOW, Remembered};
use crate::config::Config;

pub(super) fn check(config: &Config) -> Vec<Finding> {
    let now = OffsetDateTime::now_utc();
    config
        .acme_hosts()
        .into_iter()
        .map(|name| match inspect::remembered(config, &name, now) {
            Ok(remembered) => judge(&name, &remembered, now),
            Err(error) => Finding::of_message(
                Grade::Warn,
                &format!("orders: {error:#}"),
                "the server sets it aside and begins a new one; until then nobody counts orders",
            ),
        })
        .collect()
}

fn judge(name: &str, remembered: &Remembered, now: OffsetDateTime) -> Finding {
    let left = ORDERS_IN_WINDOW.saturating_sub(remembered.issued);
    let has_certificate = remembered.not_after.is_some_and(|end| end > now);
    if left == 0 {
        let grade = if has_certificate {
            Grade::Warn
        } else {
            Grade::Fail
        };
        let free = remembered
            .next_free
            .and_then(|at| at.format(&Rfc3339).ok())
            .unwrap_or_default();
        return Finding::graded(
            grade,
            format!(
                "orders: {name} got {} certificates in seven days, and public CAs refuse the next but one: none is ordered before {free}",
                remembered.issued
            ),
            "keep tls.certs_dir across restarts so that certificates are not ordered anew; `unibody certs renew HOST --force` orders all the same",
        );
    }
    if let Some(error) = &remembered.last_error {
        return Finding::of_message(
            Grade::Warn,
            &format!("orders: the last one for {name} failed: {error}"),
            "cure that; the server tries again by itself",
        );
    }
    Finding::ok(format!(
        "orders: {left} of {ORDERS_IN_WINDOW} left for {name} in these seven days"
    ))
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn nothing_left_is_bad_and_without_a_certificate_it_is_fatal() {
        let now = datetime!(2027-01-08 00:00 UTC);
        let valid = Some(datetime!(2027-03-01 00:00 UTC));
        let expired = Some(datetime!(2027-01-01 00:00 UTC));
        let table = [
            (0, None, None, Grade::Ok, "4 of 4 left"),
            (3, valid, None, Grade::Ok, "1 of 4 left"),
            (4, valid, None, Grade::Warn, "2027-01-09T00:00:00Z"),
            (4, None, None, Grade::Fail, "got 4 certificates"),
            (5, expired, None, Grade::Fail, "got 5 certificates"),
            (1, valid, Some("no route; x"), Grade::Warn, "no route"),
        ];
        for (issued, not_after, last_error, grade, text) in table {
            let remembered = Remembered {
                issued,
                next_free: Some(datetime!(2027-01-09 00:00 UTC)),
                not_after,
                last_error: last_error.map(str::to_owned),
            };
            let finding = judge("a.test", &remembered, now);
            assert_eq!(finding.grade, grade, "{text}");
            assert!(finding.what.contains(text), "{}", finding.what);
        }
    }
}
