//! How the backups go that the server makes by itself.

use super::exposition::Exposition;
use crate::admin::status::Backup;

/// Nothing where no backups are asked for. What is not known yet is left out, so that `absent()` tells
/// of backups that were never made.
pub(super) fn all(out: &mut Exposition, backup: Option<&Backup>) {
    let Some(backup) = backup else { return };
    out.counter(
        "unibody_backup_failures_total",
        "Backups that could not be made, verified or delivered.",
    );
    out.sample(&[], backup.failures);
    out.family(
        "unibody_backup_due_unknown",
        "1 while the database does not tell whether a backup is due, so that none is made.",
    );
    out.sample(&[], u8::from(backup.due_unknown.is_some()));
    let Some(last) = &backup.last else { return };
    out.family(
        "unibody_backup_last_success_timestamp_seconds",
        "When the last backup of those that [backup] asks for was whole, and verified unless backup.verify is false, in seconds since 1970.",
    );
    out.sample(&[], last.finished.unix_timestamp());
    out.family(
        "unibody_backup_last_size_bytes",
        "Length of the last backup.",
    );
    out.sample(&[], last.bytes);
    out.family(
        "unibody_backup_last_duration_seconds",
        "How long the last backup took.",
    );
    out.sample(&[], last.seconds);
}
