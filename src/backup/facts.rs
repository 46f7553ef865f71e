//! How the backups go that the server makes by itself, as status and metrics tell.

use time::OffsetDateTime;

use super::record::Last;

/// What is known of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// By whichever instance.
    pub last: Option<Last>,
    /// When the next one is due.
    pub next: Option<OffsetDateTime>,
    /// One is being made by this instance.
    pub running: bool,
    /// Attempts of this process that failed.
    pub failures: u64,
    /// Why the last attempt failed; `None` when it went well, or another's has since.
    pub last_error: Option<String>,
    /// It can't be seen whether one is due, so none is made.
    pub due_unknown: Option<DueUnknown>,
}

/// That the database can't be asked for the last backup.
#[derive(Debug, Clone, PartialEq)]
pub struct DueUnknown {
    /// Since when.
    pub since: OffsetDateTime,
    /// Why not.
    pub reason: String,
}

impl Facts {
    /// The newest is `last`, the next is due at `next`.
    pub(super) fn look(&mut self, last: Option<Last>, next: OffsetDateTime) {
        // One that went well, whoever made it.
        if name(self.last.as_ref()) != name(last.as_ref()) {
            self.last_error = None;
        }
        self.last = last;
        self.next = Some(next);
    }

    /// An attempt failed; `next` is when the next one begins.
    pub(super) fn fail(&mut self, error: String, next: OffsetDateTime) {
        self.failures += 1;
        self.last_error = Some(error);
        self.next = Some(next);
    }

    /// It can't be seen whether one is due. Says whether this reason is news.
    pub(super) fn see_nothing(&mut self, reason: String, now: OffsetDateTime) -> bool {
        let unknown = self.due_unknown.get_or_insert_with(|| DueUnknown {
            since: now,
            reason: String::new(),
        });
        let is_news = unknown.reason != reason;
        unknown.reason = reason;
        is_news
    }
}

fn name(last: Option<&Last>) -> Option<&str> {
    last.map(|last| last.name.as_str())
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;

    #[test]
    fn what_cannot_be_seen_is_told_since_it_began() {
        let began = datetime!(2026-11-22 03:15 UTC);
        let mut facts = Facts::default();
        let table = [
            ("refused", true, "the first"),
            ("refused", false, "again"),
            ("no such table", true, "another reason"),
        ];
        for (minutes, (reason, is_news, why)) in (0..).zip(table) {
            let now = began + Duration::minutes(minutes);
            assert_eq!(facts.see_nothing(reason.to_owned(), now), is_news, "{why}");
            let unknown = facts.due_unknown.clone().unwrap();
            assert_eq!(unknown.since, began, "{why}");
            assert_eq!(unknown.reason, reason, "{why}");
        }
        assert_eq!(facts.failures, 0);
    }
}
