//! When a backup is due.

use time::{Duration, OffsetDateTime, UtcOffset};

use crate::config::Schedule;

/// How far ahead of ours the clock of whoever made a backup may be: machines that ask for the time differ
/// by seconds. Farther, it was wrong and was put right, or is wrong still, and to wait until that time comes
/// may be to wait for years.
const AHEAD: Duration = Duration::minutes(5);

/// Whether `moment` has passed at `now`, as far as clocks agree.
pub(super) fn has_been(moment: OffsetDateTime, now: OffsetDateTime) -> bool {
    moment - now <= AHEAD
}

/// When the next backup is due, if the last one was made at `last`. A time that has passed means now:
/// whoever was away at 03:15 makes it up. The first is due at once, which also shows whether all is
/// set up; so is the next after one of times to come, which tells nothing.
pub(super) fn due(
    schedule: Schedule,
    last: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> OffsetDateTime {
    let Some(last) = last.filter(|last| has_been(*last, now)) else {
        return now;
    };
    match schedule {
        Schedule::Every(every) => last + every,
        Schedule::At(at) => {
            let last = last.to_offset(UtcOffset::UTC);
            let same_day = last.replace_time(at);
            if same_day > last {
                same_day
            } else {
                same_day + Duration::DAY
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration as Std;

    use time::macros::{datetime, time};

    use super::*;

    #[test]
    fn a_missed_time_is_made_up_and_none_is_made_twice() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let at = Schedule::At(time!(03:15));
        let every = Schedule::Every(Std::from_hours(6));
        let table = [
            (at, None, now, "the first at once"),
            (
                at,
                Some(datetime!(2026-11-22 03:16 UTC)),
                datetime!(2026-11-23 03:15 UTC),
                "made today: tomorrow",
            ),
            (
                at,
                Some(datetime!(2026-11-21 03:16 UTC)),
                datetime!(2026-11-22 03:15 UTC),
                "missed this morning: now",
            ),
            (
                at,
                Some(datetime!(2026-11-22 02:00 UTC)),
                datetime!(2026-11-22 03:15 UTC),
                "by hand before its time: still at its time",
            ),
            (
                at,
                Some(datetime!(2026-11-22 03:15 UTC)),
                datetime!(2026-11-23 03:15 UTC),
                "to the second",
            ),
            (
                at,
                Some(datetime!(2026-11-22 04:16 +01:00)),
                datetime!(2026-11-23 03:15 UTC),
                "whatever zone it was told in",
            ),
            (
                every,
                Some(datetime!(2026-11-22 09:00 UTC)),
                datetime!(2026-11-22 15:00 UTC),
                "later",
            ),
            (
                every,
                Some(datetime!(2026-11-20 09:00 UTC)),
                datetime!(2026-11-20 15:00 UTC),
                "long ago: once, now",
            ),
            (
                every,
                Some(datetime!(2026-11-22 12:05 UTC)),
                datetime!(2026-11-22 18:05 UTC),
                "by a clock that is a little ahead",
            ),
            (
                every,
                Some(datetime!(2026-11-22 12:05:01 UTC)),
                now,
                "by one that was wrong",
            ),
            (
                at,
                Some(datetime!(2030-01-01 00:00 UTC)),
                now,
                "by one that was very wrong",
            ),
        ];
        for (schedule, last, expected, why) in table {
            assert_eq!(due(schedule, last, now), expected, "{why}");
        }
    }

    /// How many are made in the day after `now`, by who looks every minute; each is made at once.
    fn made_in_a_day(
        schedule: Schedule,
        mut last: Option<OffsetDateTime>,
        now: OffsetDateTime,
    ) -> usize {
        let looks = (0..24 * 60).map(|minutes| now + Duration::minutes(minutes));
        let made = looks.filter(|look| {
            let is_due = due(schedule, last, *look) <= *look;
            if is_due {
                last = Some(*look);
            }
            is_due
        });
        made.count()
    }

    #[test]
    fn whatever_the_clock_was_a_day_has_its_backups() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let ahead = |ahead: Duration| Some(now + ahead);
        let table = [
            (None, 5, 2, "none yet: now, then as ever"),
            (ahead(Duration::ZERO), 4, 1, "just made"),
            (ahead(Duration::minutes(4)), 4, 1, "the clocks disagree"),
            (ahead(Duration::minutes(6)), 5, 2, "the clock was put right"),
            (ahead(Duration::hours(3)), 5, 2, "by hours"),
            (ahead(Duration::days(2)), 5, 2, "by days"),
            (ahead(Duration::days(4000)), 5, 2, "by years"),
        ];
        for (last, every, at, why) in table {
            // In the day after 12:00 there are 17:00, 22:00, 03:00 and 08:00 besides.
            let of = Schedule::Every(Std::from_hours(5));
            assert_eq!(made_in_a_day(of, last, now), every, "every: {why}");
            let of = Schedule::At(time!(03:15));
            assert_eq!(made_in_a_day(of, last, now), at, "at: {why}");
        }
    }
}
