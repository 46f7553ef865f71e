//! What systemd's journal is told besides the words: how urgent a line is (`sd-daemon(3)`), so that
//! `journalctl -p warning` finds what somebody should see.

use std::env;
use std::fmt::Write as _;
use std::io;

use nix::sys::stat::fstat;
use tracing::Level;

/// Whether it is the journal that reads standard output: systemd tells the device and the inode of the
/// stream that it has made (`systemd.exec(5)`), and a redirection leaves the variable as it is.
pub(super) fn reads_stdout() -> bool {
    let Ok(stream) = env::var("JOURNAL_STREAM") else {
        return false;
    };
    fstat(io::stdout()).is_ok_and(|stdout| is(&stream, stdout.st_dev, stdout.st_ino))
}

fn is(stream: &str, device: u64, inode: u64) -> bool {
    let Some((its_device, its_inode)) = stream.split_once(':') else {
        return false;
    };
    its_device.parse() == Ok(device) && its_inode.parse() == Ok(inode)
}

/// What stands before a line of this level. The journal takes it away.
pub(super) fn mark(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Says on standard error why this process ends, one line or several.
pub fn last_words(text: &str) {
    if reads_stdout() {
        eprintln!("{}", marked(text, mark(Level::ERROR)));
    } else {
        eprintln!("{text}");
    }
}

fn marked(text: &str, mark: &str) -> String {
    let mut marked = String::with_capacity(text.len() + 64);
    for line in text.lines() {
        // Writing to a string does not fail.
        let _ = writeln!(marked, "{mark}{line}");
    }
    marked.truncate(marked.trim_end_matches('\n').len());
    marked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_known_by_device_and_inode() {
        for (stream, expected, why) in [
            ("8:4711", true, "the one that systemd has made"),
            ("8:4712", false, "another: standard output was redirected"),
            ("9:4711", false, "of another file system"),
            ("", false, "nothing"),
            ("8", false, "half of it"),
            ("a:b", false, "no numbers"),
        ] {
            assert_eq!(is(stream, 8, 4711), expected, "{stream:?}: {why}");
        }
    }

    #[test]
    fn each_line_is_marked() {
        for (text, expected) in [
            ("one", "<3>one"),
            ("one\ntwo", "<3>one\n<3>two"),
            ("one\n", "<3>one"),
        ] {
            assert_eq!(marked(text, mark(Level::ERROR)), expected);
        }
    }
}
