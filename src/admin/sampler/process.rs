//! What the process takes of its machine, as Linux tells it.

use nix::sys::resource::{Resource, getrlimit};

/// Bytes in RAM.
pub(in crate::admin) fn memory() -> Option<u64> {
    resident(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Open files, and how many there may be.
pub(in crate::admin) fn open_files() -> Option<(u64, u64)> {
    let (most, _) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    // The directory that is read is one of them.
    let open = std::fs::read_dir("/proc/self/fd")
        .ok()?
        .count()
        .saturating_sub(1);
    Some((u64::try_from(open).ok()?, most))
}

fn resident(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_the_resident_set_is_read() {
        let table = [
            (
                "VmPeak:\t  9 kB\nVmRSS:\t   56320 kB\nRssAnon:\t 1 kB\n",
                Some(57_671_680),
            ),
            ("VmPeak:\t  9 kB\n", None),
            ("VmRSS:\t   many kB\n", None),
        ];
        for (status, expected) in table {
            assert_eq!(resident(status), expected, "{status:?}");
        }
    }
}
