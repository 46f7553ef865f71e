//! What the system knows of a process (Linux's `/proc`).

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;

/// Ticks of `/proc/PID/stat` in a second: the kernel tells user space this number everywhere.
const TICKS: u64 = 100;

/// Its soft limit of open files.
pub fn open_files_allowed(process: Pid) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let soft = line.unwrap().split_whitespace().nth(3).unwrap();
    soft.parse().unwrap()
}

/// Lets it have so many open files from now on.
pub fn allow_open_files(process: Pid, soft: u64) {
    let done = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--nofile={soft}:")])
        .status();
    assert!(done.unwrap().success(), "prlimit");
}

/// The processor time it has used.
pub fn cpu(process: Pid) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // The name in parentheses may have spaces in it.
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap()
        .split_whitespace()
        .collect();
    let ticks: u64 = [fields[11], fields[12]]
        .map(|field| field.parse::<u64>().unwrap())
        .iter()
        .sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// Lets it write files of so many bytes from now on, and no larger ones; `None` for any size. What it writes
/// beyond fails as on a full disk (with EFBIG), if it ignores SIGXFSZ.
pub fn allow_file_size(process: Pid, bytes: Option<u64>) {
    let soft = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let done = Command::new("prlimit")
        .args(["--pid", &process.to_string(), &format!("--fsize={soft}:")])
        .status();
    assert!(done.unwrap().success(), "prlimit");
}
