//! The user's own certificates: are they pairs, and for how long?

use time::{Duration, OffsetDateTime};

use super::finding::{Finding, Grade};
use crate::certificates::files;
use crate::config::TlsFiles;

/// A renewal that has not come by now will not come by itself.
const SOON: Duration = Duration::days(14);

pub(super) fn check(files: &[TlsFiles]) -> Vec<Finding> {
    let now = OffsetDateTime::now_utc();
    files.iter().flat_map(|files| examine(files, now)).collect()
}

fn examine(files: &TlsFiles, now: OffsetDateTime) -> Vec<Finding> {
    let cert = files.cert.display();
    let loaded = files::read(files).and_then(|contents| {
        files::parse(files, &contents, now).map_err(|error| error.to_string())
    });
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            return vec![Finding::of_message(
                Grade::Fail,
                &format!("certificate: {error}"),
                "install the two files again from where they were issued",
            )];
        }
    };
    let facts = loaded.pair.facts();
    let time = judge(&cert.to_string(), facts.not_before, facts.not_after, now);
    // Of a certificate out of its time the first warning says just that, and so does `time`.
    let said = usize::from(now < facts.not_before || now > facts.not_after);
    let others = loaded.warnings.iter().skip(said).map(|warning| {
        Finding::of_message(
            Grade::Warn,
            &format!("certificate: {warning}"),
            "have it issued again",
        )
    });
    std::iter::once(time).chain(others).collect()
}

fn judge(
    cert: &str,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
    now: OffsetDateTime,
) -> Finding {
    let renew = "put the renewed pair into its place; the server takes it up without a restart";
    if now > not_after {
        return Finding::fail(
            format!("certificate: {cert} expired on {}", not_after.date()),
            renew,
        );
    }
    if now < not_before {
        return Finding::fail(
            format!("certificate: {cert} is not valid before {not_before}"),
            "set this machine's clock right, or wait until then",
        );
    }
    let days = (not_after - now).whole_days();
    let what = format!("certificate: {cert} has {days} days left");
    if not_after - now < SOON {
        return Finding::warn(what, renew);
    }
    Finding::ok(what)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn days_left_decide() {
        let (from, to) = (
            datetime!(2027-01-01 00:00 UTC),
            datetime!(2027-04-01 00:00 UTC),
        );
        let table = [
            (datetime!(2026-12-31 23:59 UTC), Grade::Fail, "not valid"),
            (from, Grade::Ok, "90 days"),
            (datetime!(2027-03-18 00:00 UTC), Grade::Ok, "14 days"),
            (datetime!(2027-03-18 00:01 UTC), Grade::Warn, "13 days"),
            (to, Grade::Warn, "0 days"),
            (datetime!(2027-04-01 00:01 UTC), Grade::Fail, "expired"),
        ];
        for (now, grade, text) in table {
            let finding = judge("a.pem", from, to, now);
            assert_eq!(finding.grade, grade, "{now}");
            assert!(finding.what.contains(text), "{}", finding.what);
        }
    }
}
