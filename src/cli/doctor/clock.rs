//! The clock: a certificate is valid from a time to a time, and that is our time.

use std::time::{Duration, SystemTime};

use super::finding::Finding;

/// A `Date` has whole seconds, and an answer takes a moment.
const UNNOTICED: Duration = Duration::from_secs(30);
/// CAs date certificates back by about this, so that a clock a little behind does no harm.
const HARMFUL: Duration = Duration::from_hours(1);

/// Our clock against the one of `who`.
pub(super) fn judge(ours: SystemTime, theirs: SystemTime, who: &str) -> Finding {
    let (skew, direction) = match ours.duration_since(theirs) {
        Ok(ahead) => (ahead, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if skew <= UNNOTICED {
        return Finding::ok(format!("clock: agrees with {who}"));
    }
    let what = format!("clock: {} s {direction} {who}", skew.as_secs());
    let remedy =
        "set the time and keep it set (systemd-timesyncd or chrony; in a container, the host's)";
    if skew <= HARMFUL {
        Finding::warn(what, remedy)
    } else {
        Finding::fail(
            format!("{what}: certificates seem expired, or not valid yet"),
            remedy,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Grade;
    use super::*;

    #[test]
    fn a_clock_is_judged_by_its_distance_in_either_direction() {
        let theirs = SystemTime::UNIX_EPOCH + Duration::from_hours(500_000);
        let table = [
            (0, Grade::Ok, "agrees"),
            (30, Grade::Ok, "agrees"),
            (-30, Grade::Ok, "agrees"),
            (31, Grade::Warn, "31 s ahead of the CA"),
            (-3600, Grade::Warn, "3600 s behind the CA"),
            (3601, Grade::Fail, "3601 s ahead of the CA"),
            (-86_400, Grade::Fail, "86400 s behind the CA"),
        ];
        for (seconds, grade, text) in table {
            let distance = Duration::from_secs(i64::unsigned_abs(seconds));
            let ours = if seconds < 0 {
                theirs - distance
            } else {
                theirs + distance
            };
            let finding = judge(ours, theirs, "the CA");
            assert_eq!(finding.grade, grade, "{seconds}");
            assert!(finding.what.contains(text), "{}", finding.what);
        }
    }
}
