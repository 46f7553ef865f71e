//! The current second as HTTP and the access log write it: formatted once a second in each thread.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use time::OffsetDateTime;
use time::macros::format_description;

/// One second, in words.
pub(super) struct Second {
    since_epoch: u64,
    /// As `Date` has it (RFC 9110, section 5.6.7); always 29 bytes.
    pub(super) http: String,
    /// As nginx's logs have it, in UTC.
    pub(super) log: String,
}

thread_local! {
    static SECOND: RefCell<Second> = RefCell::new(Second::new(SystemTime::now()));
}

/// Calls `read` with the current second.
pub(super) fn with_second<T>(read: impl FnOnce(&Second) -> T) -> T {
    let now = SystemTime::now();
    SECOND.with_borrow_mut(|second| {
        if second.since_epoch != since_epoch(now) {
            *second = Second::new(now);
        }
        read(second)
    })
}

impl Second {
    fn new(now: SystemTime) -> Self {
        let format =
            format_description!("[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000");
        Self {
            since_epoch: since_epoch(now),
            http: httpdate::fmt_http_date(now),
            // The clock is never outside the years that a date can have.
            log: OffsetDateTime::from(now).format(format).unwrap_or_default(),
        }
    }
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_second_reads_as_http_and_logs_have_it() {
        let second = Second::new(UNIX_EPOCH + Duration::from_millis(784_111_777_999));
        assert_eq!(second.http, "Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(second.log, "06/Nov/1994:08:49:37 +0000");
    }
}
