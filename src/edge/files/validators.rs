//! `ETag` and `Last-Modified` (RFC 9110, section 8.8): how two versions of a file are told apart.

use std::fs::Metadata;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;

/// The validators of one representation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Validators {
    /// The opaque part of the strong entity tag, without its quotes.
    tag: String,
    /// `Last-Modified` in whole seconds, as HTTP has them; `None` for times before 1970.
    modified: Option<SystemTime>,
    /// The modification as the file system has it.
    modified_exactly: Option<SystemTime>,
}

/// Which version of which file: device, inode, size and the times of the last change of content and
/// of status. So a rewrite of the same size is another, and so is one with a restored time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// File systems stamp changes by a clock that ticks up to this rarely (100 Hz on the slowest
/// kernels, with a margin), so a file touched so recently may change again without a trace.
const CLOCK_TICK: Duration = Duration::from_millis(20);

impl Identity {
    /// The identity of the file that `metadata` describes.
    #[must_use]
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// Bytes.
    #[must_use]
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Whether its content is older than that of `other`.
    #[must_use]
    pub(super) fn is_older_than(&self, other: &Self) -> bool {
        self.modified < other.modified
    }
}

impl Validators {
    /// The validators of the file that `metadata` describes, asked for at `now`.
    ///
    /// The tag stands for its [`Identity`], hashed because an inode number is nobody's business.
    #[must_use]
    pub(super) fn of(metadata: &Metadata, now: SystemTime) -> Self {
        let mut hasher = DefaultHasher::new();
        Identity::of(metadata).hash(&mut hasher);
        if !has_settled(metadata, now) {
            // The next change may show the same times: such a tag validates this very answer only.
            now.hash(&mut hasher);
        }
        let modified_exactly = metadata.modified().ok().filter(|time| *time >= UNIX_EPOCH);
        Self {
            tag: format!("{:016x}", hasher.finish()),
            modified: modified_exactly.map(|time| whole_seconds(time.min(now))),
            modified_exactly,
        }
    }

    /// Those of another representation of the same file: `mark` tells it from the others.
    #[must_use]
    pub(super) fn marked(&self, mark: &str) -> Self {
        Self {
            tag: format!("{}-{mark}", self.tag),
            ..self.clone()
        }
    }

    /// The opaque part of the entity tag, without its quotes.
    #[must_use]
    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// The value of `ETag`.
    #[must_use]
    pub(super) fn etag(&self) -> HeaderValue {
        HeaderValue::try_from(format!("\"{}\"", self.tag)).expect("hexadecimal digits in quotes")
    }

    /// The value of `Last-Modified`, never later than the answer itself (RFC 9110, section 8.8.2.1).
    #[must_use]
    pub(super) fn last_modified(&self) -> Option<HeaderValue> {
        let text = httpdate::fmt_http_date(self.modified?);
        Some(HeaderValue::try_from(text).expect("an HTTP date is ASCII"))
    }

    /// Whether the content changed after `date`; `None` where the file system does not know.
    #[must_use]
    pub(super) fn modified_after(&self, date: SystemTime) -> Option<bool> {
        self.modified_exactly
            .map(|modified| whole_seconds(modified) > date)
    }

    /// Whether `date` is exactly `Last-Modified`.
    #[must_use]
    pub(super) fn modified_at(&self, date: SystemTime) -> bool {
        self.modified_exactly
            .is_some_and(|modified| whole_seconds(modified) == date)
    }
}

/// Whether a further change of the file is sure to show in its times.
#[must_use]
pub(super) fn has_settled(metadata: &Metadata, now: SystemTime) -> bool {
    let (Ok(seconds), Ok(nanoseconds)) = (
        u64::try_from(metadata.ctime()),
        u32::try_from(metadata.ctime_nsec()),
    ) else {
        return true;
    };
    let changed = UNIX_EPOCH + Duration::new(seconds, nanoseconds);
    changed > now + CLOCK_TICK || now > changed + CLOCK_TICK
}

fn whole_seconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    UNIX_EPOCH + Duration::from_secs(since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    /// Much later than anything the test writes, so that the clock's tick plays no part.
    fn later() -> SystemTime {
        SystemTime::now() + HOUR
    }

    fn set_modified(path: &std::path::Path, time: SystemTime) {
        fs::File::options()
            .write(true)
            .open(path)
            .unwrap()
            .set_modified(time)
            .unwrap();
    }

    #[test]
    fn the_tag_stays_while_the_file_does() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let tag = Validators::of(&metadata, later()).etag();
        assert_eq!(Validators::of(&metadata, later() + HOUR).etag(), tag);
        fs::copy(&path, dir.path().join("b")).unwrap();
        let copy = fs::metadata(dir.path().join("b")).unwrap();
        assert_ne!(Validators::of(&copy, later()).etag(), tag, "another inode");
    }

    #[test]
    fn a_rewrite_of_the_same_size_with_its_old_time_changes_the_tag() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let time = UNIX_EPOCH + HOUR;
        fs::write(&path, "one").unwrap();
        set_modified(&path, time);
        let before = fs::metadata(&path).unwrap();
        let mut after = before.clone();
        // Waits for the file system's clock to tick, which is what the test is about.
        while after.ctime_nsec() == before.ctime_nsec() && after.ctime() == before.ctime() {
            fs::write(&path, "two").unwrap();
            set_modified(&path, time);
            after = fs::metadata(&path).unwrap();
        }
        assert_eq!(
            (before.len(), before.modified().unwrap()),
            (after.len(), after.modified().unwrap())
        );
        assert_ne!(
            Validators::of(&before, later()).etag(),
            Validators::of(&after, later()).etag()
        );
    }

    #[test]
    fn within_a_tick_of_the_change_every_tag_is_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        let metadata = fs::metadata(&path).unwrap();
        let changed = UNIX_EPOCH
            + Duration::new(
                metadata.ctime().try_into().unwrap(),
                metadata.ctime_nsec().try_into().unwrap(),
            );
        let millisecond = Duration::from_millis(1);
        let tag = |time| Validators::of(&metadata, time).etag();
        assert_ne!(tag(changed + millisecond), tag(changed + 2 * millisecond));
        assert_eq!(tag(changed + 50 * millisecond), tag(changed + HOUR));
        assert_eq!(
            tag(changed - HOUR),
            tag(changed + HOUR),
            "a clock that was set back"
        );
    }

    #[test]
    fn last_modified_is_a_date_not_in_the_future() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, "one").unwrap();
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (modified, expected) in [
            (
                now - Duration::from_millis(1),
                Some("Sun, 06 Nov 1994 08:49:36 GMT"),
            ),
            (now, Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (now + HOUR, Some("Sun, 06 Nov 1994 08:49:37 GMT")),
            (UNIX_EPOCH - HOUR, None),
        ] {
            set_modified(&path, modified);
            let validators = Validators::of(&fs::metadata(&path).unwrap(), now);
            let expected = expected.map(HeaderValue::from_static);
            assert_eq!(validators.last_modified(), expected, "{modified:?}");
        }
    }
}
