//! When a backup is due.

use time::{Duration, OffsetDateTime, UtcOffset};

use crate::config::Schedule;

/// When the next backup is due, if the last one was made at `last`. A time that has passed means now:
/// whoever was away at 03:15 makes it up. The first is due at once, which also shows whether all is
/// set up.
pub(super) fn due(
    schedule: Schedule,
    last: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> OffsetDateTime {
    // A clock that was wrong must not put backups off until it is right again.
    let Some(last) = last.map(|last| last.min(now).to_offset(UtcOffset::UTC)) else {
        return now;
    };
    match schedule {
        Schedule::Every(every) => last + every,
        Schedule::At(at) => {
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
                Some(datetime!(2030-01-01 00:00 UTC)),
                datetime!(2026-11-22 18:00 UTC),
                "the clock was wrong",
            ),
        ];
        for (schedule, last, expected, why) in table {
            assert_eq!(due(schedule, last, now), expected, "{why}");
        }
    }
}
