//! What is wrong with the backups that the server makes.

use time::{Duration, OffsetDateTime};

use super::{Trouble, warning};
use crate::admin::status::{Backup, Status, shown};

/// How long it may not be seen whether one is due: PostgreSQL that is restarted or moved is back by then.
const UNKNOWN_FOR: Duration = Duration::minutes(15);

pub(super) fn all(status: &Status, now: OffsetDateTime) -> impl Iterator<Item = Trouble> {
    let backup = status.backup.as_ref();
    let unseen = backup.and_then(|backup| unseen(backup, now));
    unseen.into_iter().chain(backup.and_then(failed))
}

fn unseen(backup: &Backup, now: OffsetDateTime) -> Option<Trouble> {
    let unknown = backup.due_unknown.as_ref()?;
    // Either way: clocks are set back, too.
    if (now - unknown.since).abs() < UNKNOWN_FOR {
        return None;
    }
    let (since, reason) = (shown(unknown.since), &unknown.reason);
    Some(warning(
        format!(
            "no backup is made, as it can't be seen since {since} whether one is due: {reason}"
        ),
        "`unibody doctor` looks at the database; where the table last_backup is missing run `unibody migrate`, \
         where it is denied GRANT SELECT, INSERT, UPDATE ON last_backup to unibody's role; it is looked at again every minute",
    ))
}

fn failed(backup: &Backup) -> Option<Trouble> {
    let error = backup.last_error.as_ref()?;
    let last = match &backup.last {
        Some(last) => format!("the newest is of {}", shown(last.finished)),
        None => "there is none".to_owned(),
    };
    let next = match backup.next {
        Some(next) => format!("it is tried again at {}; ", shown(next)),
        None => String::new(),
    };
    Some(warning(
        format!("the last backup failed, {last}: {error}"),
        format!(
            "{next}`unibody backup` (without a file) makes one now and says what stands in the way"
        ),
    ))
}
