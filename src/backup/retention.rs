//! Names of backups in a directory, and which of them may go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

use super::due::has_been;
use crate::config::Keep;

const NAME: &[BorrowedFormatItem<'_>] =
    format_description!("unibody-[year][month][day]T[hour][minute][second]Z");
const PLAIN: &str = ".dump";
const ENCRYPTED: &str = ".dump.age";

/// All of these stay, whatever else is kept: `every = "1h"` is for somebody's bad afternoon.
const RECENT: Duration = Duration::DAY;

/// `unibody-20261122T031500Z.dump`, with `.age` where it is encrypted.
pub(super) fn name(made: OffsetDateTime, encrypted: bool) -> String {
    // A format of numbers has no reason to fail.
    let stem = made.format(NAME).unwrap_or_default();
    format!("{stem}{}", if encrypted { ENCRYPTED } else { PLAIN })
}

/// When the backup of this name was made; `None` for what is not ours.
pub(super) fn made(name: &str) -> Option<OffsetDateTime> {
    let stem = name.strip_suffix(ENCRYPTED).or(name.strip_suffix(PLAIN))?;
    let made = PrimitiveDateTime::parse(stem, NAME).ok()?;
    Some(made.assume_utc())
}

/// Backups in `directory`, the newest first.
///
/// # Errors
/// What the file system says.
pub(super) fn list(directory: &Path) -> std::io::Result<Vec<(OffsetDateTime, PathBuf)>> {
    let mut backups = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(made) = entry.file_name().to_str().and_then(made) {
            backups.push((made, entry.path()));
        }
    }
    backups.sort_unstable();
    backups.reverse();
    Ok(backups)
}

/// Which of `backups` (the newest first) nothing keeps. What a clock that was ahead has dated stays until its
/// day, and takes no other's place.
pub(super) fn superfluous<T>(
    backups: &[(OffsetDateTime, T)],
    keep: Keep,
    now: OffsetDateTime,
) -> Vec<&T> {
    let mut days = Periods::new(keep.daily);
    let mut weeks = Periods::new(keep.weekly);
    let mut months = Periods::new(keep.monthly);
    let mut gone = Vec::new();
    let past = backups.iter().filter(|(made, _)| has_been(*made, now));
    for (index, (made, backup)) in past.enumerate() {
        let date = made.date();
        let (year, week, _) = date.to_iso_week_date();
        // Each counts the backup, whether or not another keeps it already.
        let kept = [
            days.keep((date.year(), u32::from(date.ordinal()))),
            weeks.keep((year, u32::from(week))),
            months.keep((date.year(), u32::from(u8::from(date.month())))),
            index == 0,
            now - *made < RECENT,
        ];
        if !kept.contains(&true) {
            gone.push(backup);
        }
    }
    gone
}

/// The last backup of each of so many periods.
struct Periods {
    most: usize,
    seen: BTreeSet<(i32, u32)>,
}

impl Periods {
    fn new(most: usize) -> Self {
        Self {
            most,
            seen: BTreeSet::new(),
        }
    }

    fn keep(&mut self, period: (i32, u32)) -> bool {
        !self.seen.contains(&period) && self.seen.len() < self.most && self.seen.insert(period)
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn names_tell_when_and_only_ours_do() {
        let at = datetime!(2026-11-22 03:15:07 UTC);
        for encrypted in [false, true] {
            assert_eq!(made(&name(at, encrypted)), Some(at));
        }
        assert_eq!(name(at, true), "unibody-20261122T031507Z.dump.age");
        for other in [
            "unibody-20261122T031507Z.dump.partial-1",
            "unibody-20261122T031507Z.sql",
            "notes-20261122T031507Z.dump",
            "unibody-20261322T031507Z.dump",
            "before-upgrade.dump",
        ] {
            assert_eq!(made(other), None, "{other}");
        }
    }

    /// Which of one backup a day (at 03:15, `days` of them, the last one today) stay.
    fn kept_of_daily(days: i64, keep: Keep) -> Vec<String> {
        let now = datetime!(2026-11-22 12:00 UTC);
        let backups: Vec<_> = (0..days)
            .map(|ago| datetime!(2026-11-22 03:15 UTC) - Duration::days(ago))
            .map(|made| (made, made.date().to_string()))
            .collect();
        let gone = superfluous(&backups, keep, now);
        let kept = backups.iter().filter(|(_, date)| !gone.contains(&date));
        kept.map(|(_, date)| date.clone()).collect()
    }

    #[test]
    fn the_last_of_each_period_stays() {
        let keep = |daily, weekly, monthly| Keep {
            daily,
            weekly,
            monthly,
        };
        // 22 November 2026 is a Sunday, the last day of its ISO week.
        let table: [(i64, Keep, &[&str], &str); 5] = [
            (5, keep(2, 0, 0), &["2026-11-22", "2026-11-21"], "days"),
            (
                20,
                keep(0, 3, 0),
                &["2026-11-22", "2026-11-15", "2026-11-08"],
                "weeks end on Sunday",
            ),
            (
                70,
                keep(0, 0, 3),
                &["2026-11-22", "2026-10-31", "2026-09-30"],
                "months",
            ),
            (
                40,
                keep(2, 2, 2),
                &["2026-11-22", "2026-11-21", "2026-11-15", "2026-10-31"],
                "one backup may be kept for several reasons",
            ),
            (
                3,
                keep(0, 0, 1),
                &["2026-11-22"],
                "the rest of the month goes",
            ),
        ];
        for (days, keep, expected, why) in table {
            assert_eq!(kept_of_daily(days, keep), expected, "{why}");
        }
    }

    #[test]
    fn the_newest_and_the_last_day_always_stay() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let keep = Keep {
            daily: 0,
            weekly: 0,
            monthly: 1,
        };
        let hourly: Vec<_> = (0..30)
            .map(|ago| (now - Duration::hours(ago), ago))
            .collect();
        let gone = superfluous(&hourly, keep, now);
        assert_eq!(
            gone,
            (24..30).collect::<Vec<_>>().iter().collect::<Vec<_>>()
        );
        // A clock that jumped years ahead, and a directory nobody has written to for as long.
        let old = [
            (datetime!(2020-01-01 00:00 UTC), 'a'),
            (datetime!(2019-12-31 00:00 UTC), 'b'),
        ];
        let keep = Keep {
            monthly: 0,
            daily: 0,
            weekly: 0,
        };
        assert_eq!(superfluous(&old, keep, now), [&'b']);
    }

    #[test]
    fn one_of_times_to_come_takes_nobodys_place() {
        let now = datetime!(2026-11-22 12:00 UTC);
        let keep = Keep {
            daily: 1,
            weekly: 0,
            monthly: 0,
        };
        let backups = [
            (datetime!(2028-01-02 03:15 UTC), "ahead"),
            (datetime!(2028-01-01 03:15 UTC), "ahead"),
            (datetime!(2026-11-20 03:15 UTC), "newest"),
            (datetime!(2026-11-19 03:15 UTC), "old"),
        ];
        assert_eq!(superfluous(&backups, keep, now), [&"old"]);
    }
}
