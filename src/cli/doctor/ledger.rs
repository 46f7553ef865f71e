//! The ledger: how many certificates may still be ordered for each name.

use time::OffsetDateTime;

use super::finding::{Finding, Grade};
use crate::admin::status::shown;
use crate::certificates::acme::inspect::{self, Remembered};
use crate::certificates::acme::schedule::Limit;
use crate::config::{Ca, Config};

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let now = OffsetDateTime::now_utc();
    let ca = config.acme.ca();
    let shared = inspect::shared(config).await;
    let remembered = |name: &str| match &shared {
        Some(shared) => Ok(shared.get(name).cloned().unwrap_or_default()),
        None => inspect::remembered(config, name),
    };
    let names = config.acme_hosts().into_iter();
    names
        .map(|name| match remembered(&name) {
            Ok(remembered) => judge(&name, &remembered, ca, now),
            Err(error) => Finding::of_message(
                Grade::Warn,
                &format!("orders: {error:#}"),
                "the server sets it aside and begins a new one; until then nobody counts orders",
            ),
        })
        .collect()
}

fn judge(name: &str, remembered: &Remembered, ca: Ca, now: OffsetDateTime) -> Finding {
    let ledger = &remembered.ledger;
    let issued = ledger.history(now).issued;
    let left = Limit::SameNames.left(now, &issued);
    let counts = Limit::SameNames.is_of(ca);
    if counts && left == 0 {
        let has_certificate = remembered.not_after.is_some_and(|end| end > now);
        let grade = if has_certificate {
            Grade::Warn
        } else {
            Grade::Fail
        };
        let free = Limit::SameNames.free_at(now, &issued, 1).map(shown);
        return Finding::graded(
            grade,
            format!(
                "orders: {name} got too many certificates of late, and public CAs refuse the next but one: none is ordered before {}",
                free.unwrap_or_default()
            ),
            "keep tls.certs_dir across restarts so that certificates are not ordered anew; `unibody certs renew HOST --force` orders all the same",
        );
    }
    if let Some(error) = ledger.last_error() {
        return Finding::of_message(
            Grade::Warn,
            &format!("orders: the last one for {name} failed: {error}"),
            "cure that; the server tries again by itself",
        );
    }
    if !counts {
        return Finding::ok(format!(
            "orders: {name} may be ordered as often as you like"
        ));
    }
    let whole = Limit::SameNames.left(now, &[]);
    Finding::ok(format!(
        "orders: {left} of {whole} left for {name} in these seven days"
    ))
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::certificates::acme::ledger::Ledger;
    use crate::certificates::acme::schedule::Lifetime;

    #[test]
    fn nothing_left_is_bad_and_without_a_certificate_it_is_fatal() {
        let now = datetime!(2027-01-08 00:00 UTC);
        let valid = Some(datetime!(2027-03-01 00:00 UTC));
        let expired = Some(datetime!(2027-01-01 00:00 UTC));
        let (own, staging) = (Ca::Other, Ca::LetsEncryptStaging);
        let table = [
            (0, None, None, own, Grade::Ok, "4 of 4 left"),
            (3, valid, None, own, Grade::Ok, "1 of 4 left"),
            (4, valid, None, own, Grade::Warn, "2027-01-09T09:36:00Z"),
            (4, None, None, own, Grade::Fail, "too many certificates"),
            (5, expired, None, own, Grade::Fail, "too many certificates"),
            (1, valid, Some("no route; x"), own, Grade::Warn, "no route"),
            (9, None, None, staging, Grade::Ok, "as often as you like"),
        ];
        for (issued, not_after, error, ca, grade, text) in table {
            let lifetime = Lifetime {
                not_before: now,
                not_after: now + Duration::days(90),
            };
            let mut ledger = Ledger::new();
            for _ in 0..issued {
                ledger.begin(now);
                ledger.issued("01", lifetime);
            }
            if let Some(error) = error {
                ledger.begin(now);
                ledger.failed(error, now, None, None, 0.5);
            }
            let remembered = Remembered { ledger, not_after };
            let finding = judge("a.test", &remembered, ca, now);
            assert_eq!(finding.grade, grade, "{text}");
            assert!(finding.line(false).contains(text), "{finding:?}");
        }
    }
}
